"""Pseudo labels on disk: where each case's are, and reading them when they are asked for."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atso_bench.benchmark.store.cache import ByteCache


class DamagedError(ValueError):
    """A file of the store is not what was written."""

    def __init__(self, file: Path, why: object) -> None:
        super().__init__(f"{file} is damaged ({why})")


UNREADABLE = (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What reading a damaged archive raises; a disk that does not answer is an OSError, and another matter."""


@dataclass(frozen=True)
class StoredLabel:
    """A case's pseudo labels on disk.

    Attributes:
        file: where they are: a pack of all cases, or in phases from before there were packs a file of their own.
        digest: hash of the labels.
        check: hash of their bytes in the file; empty in manifests from before there were any.
        start: of these bytes in the file.
        size: how many they are; -1 for all that follow.
    """

    file: Path
    digest: str
    check: str = ""
    start: int = 0
    size: int = -1

    def content(self) -> bytes:
        """The bytes, an array file of NumPy's."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)

    def whole(self) -> bool:
        """Whether the bytes are there, as they were written."""
        try:
            return self.check in ("", content_hash(self.content()))
        except FileNotFoundError:
            return False


_read_labels: ByteCache[np.ndarray] = ByteCache(budget=1 << 30, size=lambda label: label.nbytes)


def read_label(stored: StoredLabel) -> np.ndarray:
    """What ``Stages.write_label`` wrote.

    Raises:
        DamagedError: if the file is not what was written.
    """
    try:
        with np.load(io.BytesIO(stored.content()), allow_pickle=False) as archive:
            label: np.ndarray = archive["label"]
    except UNREADABLE as error:
        raise DamagedError(stored.file, error) from error
    return label


def content_hash(content: bytes | memoryview) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class PseudoLabels(Mapping[str, np.ndarray]):
    """Pseudo labels by case id, read from disk when they are asked for."""

    def __init__(self, files: Mapping[str, StoredLabel]) -> None:
        self._files = dict(files)

    def __getitem__(self, case_id: str) -> np.ndarray:
        stored = self._files[case_id]
        return _read_labels.get((stored.file, stored.digest), lambda: read_label(stored))

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
