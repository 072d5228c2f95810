"""The stage store: every finished phase by the hash of all that determines it.

A phase that is found here is not computed again. That is how a killed run goes on where it was, and how supervised
training, self-learning and ATSO share M0 where it is the same phase.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atso_bench.benchmark.cache import ByteCache
from atso_bench.benchmark.record import Phase, atomic, write_json


def weights_digest(*models: nn.Module) -> str:
    """Hash of all parameters and buffers, bit for bit."""
    total = hashlib.blake2b(digest_size=16)
    for model in models:
        for name, tensor in model.state_dict().items():
            total.update(name.encode())
            total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


@dataclass(frozen=True)
class StoredLabel:
    """A case's pseudo labels on disk."""

    file: Path
    digest: str


_read_labels: ByteCache[np.ndarray] = ByteCache(budget=1 << 30, size=lambda label: label.nbytes)


def read_label(file: Path) -> np.ndarray:
    """What ``Stages.write_label`` wrote."""
    with np.load(file, allow_pickle=False) as archive:
        label: np.ndarray = archive["label"]
    return label


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
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when the process ends, however it ends
            for file in folder.rglob("*"):
                stale = file.name.endswith(".partial") or file.stat().st_mtime < self.since  # of a killed process; old
                if file.is_file() and file.name != "lock" and stale:
                    file.unlink()
            try:
                yield folder
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough while a loader's process has the file too

    @staticmethod
    def finished(folder: Path) -> Phase | None:
        """The phase's facts if it was finished: they are written last."""
        file = folder / "phase.json"
        if not file.exists():
            return None
        return Phase(**{**json.loads(file.read_text(encoding="utf-8"))["phase"], "reused": True})

    @staticmethod
    def finish(folder: Path, phase: Phase) -> None:
        write_json(folder / "phase.json", {"phase": asdict(phase)})
        (folder / "progress.pt").unlink(missing_ok=True)

    @staticmethod
    def save(file: Path, state: Any) -> None:
        """Write tensors and plain values by rename."""
        buffer = io.BytesIO()  # torch.save to a full disk raises an error without errno; a plain write does not
        torch.save(state, buffer)
        with atomic(file) as partial:
            partial.write_bytes(buffer.getbuffer())

    @staticmethod
    def load(file: Path) -> Any:
        """Read what ``save`` wrote, on the CPU; None where there is nothing."""
        if not file.exists():
            return None
        return torch.load(file, map_location="cpu", weights_only=True)

    @staticmethod
    def load_models(folder: Path, models: Sequence[nn.Module]) -> None:
        """Give ``models`` the weights of a finished training."""
        state = Stages.load(folder / "model.pt")
        for module, weights in zip(models, state["models"], strict=True):
            module.load_state_dict(weights)

    @staticmethod
    def steps_done(folder: Path) -> int:
        """Steps of an unfinished training up to its last checkpoint."""
        state = Stages.load(folder / "progress.pt")
        return 0 if state is None else int(state["done"])

    @staticmethod
    def write_label(folder: Path, index: int, label: np.ndarray) -> StoredLabel:
        file = folder / "labels" / f"{index:06d}.npz"
        with atomic(file) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, label=label)
        content = hashlib.blake2b(f"{label.dtype}{label.shape}".encode(), digest_size=16)
        content.update(np.ascontiguousarray(label).reshape(-1).view(np.uint8).data)
        return StoredLabel(file, content.hexdigest())

    @staticmethod
    def write_manifest(folder: Path, labels: Mapping[str, StoredLabel], seconds: float, joules: float | None) -> None:
        """Name the label files that are whole, and the seconds and joules that they took."""
        rows = {case_id: [stored.file.name, stored.digest] for case_id, stored in labels.items()}
        write_json(folder / "labels.json", {"seconds": seconds, "joules": joules, "labels": rows})

    @staticmethod
    def read_labels(folder: Path) -> tuple[dict[str, StoredLabel], float, float | None]:
        """Labels that were written so far, none at first, and the seconds and joules that they took."""
        file = folder / "labels.json"
        if not file.exists():
            return {}, 0.0, 0.0
        raw = json.loads(file.read_text(encoding="utf-8"))
        rows = raw["labels"].items()
        labels = {case_id: StoredLabel(folder / "labels" / name, digest) for case_id, (name, digest) in rows}
        return labels, raw["seconds"], raw.get("joules")  # older manifests have no joules
