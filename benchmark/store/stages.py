"""The stage store: every finished phase by the hash of all that determines it.

A phase that is found here is not computed again. That is how a killed run goes on where it was, and how supervised
training, self-learning and ATSO share M0 where it is the same phase.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn

from atso_bench.benchmark.store.cache import ByteCache
from atso_bench.benchmark.store.files import atomic, jsonable, write_json
from atso_bench.benchmark.store.locks import locked
from atso_bench.benchmark.store.record import Phase


def weights_digest(*models: nn.Module) -> str:
    """Hash of all parameters and buffers, bit for bit."""
    total = hashlib.blake2b(digest_size=16)
    for model in models:
        for name, tensor in model.state_dict().items():
            total.update(name.encode())
            total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


class DamagedError(ValueError):
    """A file of the store is not what was written."""

    def __init__(self, file: Path, why: object) -> None:
        super().__init__(f"{file} is damaged ({why})")


_UNREADABLE = (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What reading a damaged archive raises; a disk that does not answer is an OSError, and another matter."""


@dataclass(frozen=True)
class StoredLabel:
    """A case's pseudo labels on disk.

    Attributes:
        file: where they are.
        digest: hash of the labels.
        check: hash of the file; empty in manifests from before there were any.
    """

    file: Path
    digest: str
    check: str = ""

    def whole(self) -> bool:
        """Whether the file is there, as it was written."""
        try:
            return self.check in ("", _hash(self.file.read_bytes()))
        except FileNotFoundError:
            return False


_read_labels: ByteCache[np.ndarray] = ByteCache(budget=1 << 30, size=lambda label: label.nbytes)


def read_label(file: Path) -> np.ndarray:
    """What ``Stages.write_label`` wrote.

    Raises:
        DamagedError: if the file is not what was written.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            label: np.ndarray = archive["label"]
    except _UNREADABLE as error:
        raise DamagedError(file, error) from error
    return label


def _hash(content: bytes | memoryview) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class PseudoLabels(Mapping[str, np.ndarray]):
    """Pseudo labels by case id, read from disk when they are asked for."""

    def __init__(self, files: Mapping[str, StoredLabel]) -> None:
        self._files = dict(files)

    def __getitem__(self, case_id: str) -> np.ndarray:
        stored = self._files[case_id]
        return _read_labels.get((stored.file, stored.digest), lambda: read_label(stored.file))

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self._files  # the mapping's own way would read the labels

    def __or__(self, newer: PseudoLabels) -> PseudoLabels:
        """These labels, with the newer ones in their place where there are any."""
        return PseudoLabels({**self._files, **newer._files})

    def digest(self, ids: Sequence[str]) -> str:
        """Hash of the labels of these cases."""
        return hashlib.sha256(json.dumps([(i, self._files[i].digest) for i in ids]).encode()).hexdigest()[:16]


def hard(label: np.ndarray) -> np.ndarray:
    """Classes ``(*spatial)`` of hard labels (integers) or of soft ones ``(K, *spatial)`` (floats)."""
    return label.argmax(0) if np.issubdtype(label.dtype, np.floating) else label


class Stages:
    """A folder of phases by key; safe to share between processes on one machine.

    Attributes:
        root: the folder.
        since: phases that were stored before this time (seconds of the epoch) are computed again.
    """

    def __init__(self, root: Path, since: float = 0.0) -> None:
        self.root, self.since = root, since

    @contextmanager
    def claim(self, key: str) -> Iterator[Path]:
        """The phase's folder, for this process alone; another process that wants it waits."""
        folder = self.root / key
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            for file in folder.rglob("*"):
                stale = file.name.endswith(".partial") or file.stat().st_mtime < self.since  # of a killed process; old
                if file.is_file() and file.name != "lock" and stale:
                    file.unlink()
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
        _write_checked(folder / "phase.json", {"phase": asdict(phase)})
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
        except (*_UNREADABLE, UnpicklingError, OSError) as error:
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
    def write_label(folder: Path, index: int, label: np.ndarray) -> StoredLabel:
        file = folder / "labels" / f"{index:06d}.npz"
        written = io.BytesIO()
        np.savez_compressed(written, label=label)
        with atomic(file) as partial:
            partial.write_bytes(written.getbuffer())
        content = hashlib.blake2b(f"{label.dtype}{label.shape}".encode(), digest_size=16)
        content.update(np.ascontiguousarray(label).reshape(-1).view(np.uint8).data)
        return StoredLabel(file, content.hexdigest(), _hash(written.getbuffer()))

    @staticmethod
    def write_manifest(
        folder: Path,
        labels: Mapping[str, StoredLabel],
        seconds: float,
        joules: float | None,
        cpu_seconds: float | None = None,
    ) -> None:
        """Name the label files that are whole, and the seconds, joules and processor time that they took."""
        rows = {case_id: [stored.file.name, stored.digest, stored.check] for case_id, stored in labels.items()}
        spent = {"seconds": seconds, "joules": joules, "cpu_seconds": cpu_seconds}
        _write_checked(folder / "labels.json", {**spent, "labels": rows})

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
        labels = {case_id: StoredLabel(folder / "labels" / row[0], *row[1:]) for case_id, row in raw["labels"].items()}
        for case_id in [case_id for case_id, stored in labels.items() if not stored.whole()]:
            warn(f"{labels.pop(case_id).file}, the labels of {case_id}, is damaged; it is made again")
        return labels, raw["seconds"], raw.get("joules"), raw.get("cpu_seconds")  # older ones have only the first


_PROGRESS = ("progress.pt", "progress-before.pt")


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
    return _hash(json.dumps(jsonable(content), sort_keys=True).encode())
