"""The stage store: every finished phase by the hash of all that determines it.

A phase that is found here is not computed again. That is how a killed run goes on where it was, and how supervised
training, self-learning and ATSO share M0 where it is the same phase.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from atso_bench.benchmark.store import leases
from atso_bench.benchmark.store.files import atomic, flush, jsonable, write_json, write_text
from atso_bench.benchmark.store.packs import UNREADABLE, DamagedError, StoredLabel, content_hash
from atso_bench.benchmark.store.packs import PseudoLabels as PseudoLabels  # a method's import of it is in its hash
from atso_bench.benchmark.store.record import Phase


def weights_digest(*models: nn.Module) -> str:
    """Hash of all parameters and buffers, bit for bit."""
    total = hashlib.blake2b(digest_size=16)
    for model in models:
        for name, tensor in model.state_dict().items():
            total.update(name.encode())
            total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


class Stages:
    """A folder of phases by key; safe to share between processes, also of several machines.

    Attributes:
        root: the folder.
        fresh: the name of a command that began with ``--fresh``; phases of other commands are computed again. Empty for
            a command that takes what there is.
    """

    saved: ClassVar[int] = 0
    """Checkpoints and phases that this process has written; with none, all that it has done is lost if it ends."""

    def __init__(self, root: Path, fresh: str = "") -> None:
        self.root, self.fresh = root, fresh

    def folder(self, key: str) -> Path:
        """The phase's; below the first letters of its key, as a folder of a million is slow. Older ones are beside."""
        older = self.root / key
        return older if older.exists() else self.root / key[:2] / key

    @contextmanager
    def claim(self, key: str) -> Iterator[Path]:
        """The phase's folder, for this process alone; another process that wants it waits.

        Raises:
            LostError: by what writes into the folder, if another process took the phase over.
        """
        folder = self.folder(key)
        with leases.leased(folder / _LOCK):
            if self.fresh and _read_text(folder / _FRESH) != self.fresh:
                _clear(folder, lambda file: True)
                write_text(folder / _FRESH, self.fresh)
            _clear(folder, lambda file: file.name.endswith(".partial"))  # of a process that is dead, or counts as dead
            yield folder

    @staticmethod
    def finished(folder: Path) -> Phase | None:
        """The phase's facts if it was finished: they are written last.

        Raises:
            DamagedError: if they are not what was written.
        """
        raw = _read_checked(folder / "phase.json")
        return None if raw is None else Phase(**{**raw["phase"], "reused": True})

    @staticmethod
    def finish(folder: Path, phase: Phase) -> None:
        leases.confirm(folder / _LOCK)
        _write_checked(folder / "phase.json", {"phase": asdict(phase)})
        Stages.saved += 1
        for name in _PROGRESS:
            (folder / name).unlink(missing_ok=True)

    @staticmethod
    def forget(folder: Path) -> None:
        """The phase counts as not finished."""
        (folder / "phase.json").unlink(missing_ok=True)

    @staticmethod
    def save(file: Path, state: Any, predecessor: Path | None = None) -> None:
        """Write tensors and plain values by rename; the file that was there before becomes ``predecessor``."""
        buffer = io.BytesIO()  # torch.save to a full disk raises an error without errno; a plain write does not
        torch.save(state, buffer)
        leases.confirm(file.with_name(_LOCK))
        with atomic(file) as partial:
            partial.write_bytes(buffer.getbuffer())
            if predecessor is not None and file.exists():
                file.replace(predecessor)

    @staticmethod
    def load(file: Path) -> Any:
        """Read what ``save`` wrote, on the CPU; None where there is nothing.

        Raises:
            DamagedError: if the file is not what was written. torch itself does not look at the checksums in it.
        """
        if not file.exists():
            return None
        try:
            with zipfile.ZipFile(file) as archive:
                wrong = archive.testzip()
            if wrong is None:
                return torch.load(file, map_location="cpu", weights_only=True)
        except (*UNREADABLE, UnpicklingError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # it looks before the file's beginning
                raise
            raise DamagedError(file, error) from error
        raise DamagedError(file, f"the checksum of {wrong} does not match")

    @staticmethod
    def learnt(folder: Path) -> dict[str, Any]:
        """The weights of a finished training.

        Raises:
            DamagedError: if they are not what was written, or gone.
        """
        state = Stages.load(folder / "model.pt")
        if state is None:
            raise DamagedError(folder / "model.pt", "it is missing")
        found: dict[str, Any] = state
        return found

    @staticmethod
    def save_progress(folder: Path, state: Any) -> None:
        """Write a checkpoint; the one before stays as well."""
        newest, previous = (folder / name for name in _PROGRESS)
        Stages.save(newest, state, previous)
        Stages.saved += 1

    @staticmethod
    def load_progress(folder: Path, warn: Callable[[str], object]) -> Any:
        """The last checkpoint, or the one before if that is damaged; None if there is no good one."""
        for name in _PROGRESS:
            try:
                state = Stages.load(folder / name)
            except DamagedError as error:  # noqa: PERF203 - there are two
                warn(f"{error}; the training continues from an earlier step")
            else:
                if state is not None:
                    return state
        return None

    @staticmethod
    def steps_done(folder: Path) -> int:
        """Steps of an unfinished training up to its last checkpoint."""
        state = Stages.load_progress(folder, lambda text: None)
        return 0 if state is None else int(state["done"])

    @staticmethod
    def write_label(folder: Path, label: np.ndarray) -> StoredLabel:
        """Append to the phase's pack: a file for each of a hundred thousand runs' labels is more than disks allow."""
        leases.confirm(folder / _LOCK)
        written = io.BytesIO()
        np.savez_compressed(written, label=label)
        with (folder / _PACK).open("ab") as pack:
            start = pack.tell()
            pack.write(written.getbuffer())
        content = hashlib.blake2b(f"{label.dtype}{label.shape}".encode(), digest_size=16)
        content.update(np.ascontiguousarray(label).reshape(-1).view(np.uint8).data)
        size = written.getbuffer().nbytes
        return StoredLabel(folder / _PACK, content.hexdigest(), content_hash(written.getbuffer()), start, size)

    @staticmethod
    def trim(folder: Path, labels: Mapping[str, StoredLabel]) -> None:
        """Take from the pack's end what a killed process had written behind the labels that are known."""
        pack = folder / _PACK
        if pack.exists():
            end = max((stored.start + stored.size for stored in labels.values() if stored.file == pack), default=0)
            os.truncate(pack, end)

    @staticmethod
    def write_manifest(
        folder: Path,
        labels: Mapping[str, StoredLabel],
        seconds: float,
        joules: float | None,
        cpu_seconds: float | None = None,
    ) -> None:
        """Say where the labels are, now on disk, and the seconds, joules and processor time that they took."""
        leases.confirm(folder / _LOCK)
        if (folder / _PACK).exists():
            flush(folder / _PACK)
        rows = {
            case_id: [stored.file.name, stored.digest, stored.check, stored.start, stored.size]
            for case_id, stored in labels.items()
        }
        spent = {"seconds": seconds, "joules": joules, "cpu_seconds": cpu_seconds}
        _write_checked(folder / "labels.json", {**spent, "labels": rows})
        Stages.saved += 1

    @staticmethod
    def read_labels(
        folder: Path, warn: Callable[[str], object] = lambda text: None
    ) -> tuple[dict[str, StoredLabel], float, float | None, float | None]:
        """Labels that were written so far and are whole, none at first, and what a `Stopwatch` goes on from."""
        try:
            raw = _read_checked(folder / "labels.json")
        except DamagedError as error:
            warn(f"{error}; all of its labels are made again")
            raw = None
        if raw is None:
            return {}, 0.0, 0.0, 0.0
        labels = {case_id: StoredLabel(_pack(folder, row[0]), *row[1:]) for case_id, row in raw["labels"].items()}
        for case_id in [case_id for case_id, stored in labels.items() if not stored.whole()]:
            warn(f"{labels.pop(case_id).file}, the labels of {case_id}, is damaged; it is made again")
        return labels, raw["seconds"], raw.get("joules"), raw.get("cpu_seconds")  # older ones have only the first


_PROGRESS = ("progress.pt", "progress-before.pt")
_LOCK, _FRESH, _PACK = "lock", "fresh", "labels.pack"


def _pack(folder: Path, name: str) -> Path:
    """Where a manifest's labels are; before there were packs they had files of their own, in a folder."""
    return folder / name if name == _PACK else folder / "labels" / name


def _clear(folder: Path, whether: Callable[[Path], bool]) -> None:
    """Remove files of a phase, but none of those that say whose it is."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.relative_to(folder).parts[0].startswith(_LOCK) and whether(file):
            file.unlink(missing_ok=True)


def _read_text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _write_checked(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with a hash of itself."""
    write_json(file, {**content, "check": _check(content)})


def _read_checked(file: Path) -> dict[str, Any] | None:
    """What ``_write_checked`` wrote, None where there is nothing; files from before there were hashes have none.

    Raises:
        DamagedError: if the file is not what was written.
    """
    if not file.exists():
        return None
    try:
        raw: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        found = raw.pop("check", None)
    except (ValueError, AttributeError) as error:
        raise DamagedError(file, error) from error
    if found is not None and found != _check(raw):
        raise DamagedError(file, "its checksum does not match")
    return raw


def _check(content: Mapping[str, Any]) -> str:
    return content_hash(json.dumps(jsonable(content), sort_keys=True).encode())
