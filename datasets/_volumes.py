"""A medical task's preprocessed images and true labels, opened when they are asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.task import Image
from atso_bench.datasets._opened import Opened
from atso_bench.datasets._prepare import open_array

CACHE_BYTES = 4 << 30


@dataclass(frozen=True)
class MaskedImage(Image):
    """An image whose normalisation left out the voxels in ``outside``, a boolean ``(*spatial)`` array."""

    outside: Any = None


class Images(Opened):
    """Preprocessed images by case id; kept in memory while they fit into ``CACHE_BYTES``, else read by the slice."""

    def __init__(self, folder: Path, ids: tuple[str, ...], dataset: str) -> None:
        super().__init__(folder, ids, dataset)
        self._cache: dict[str, Image] = {}
        self._bytes = 0

    def __getitem__(self, case_id: str) -> Image:
        self.check(case_id)
        if case_id not in self._cache:
            with self.whole(case_id):
                self._cache[case_id] = self._load(case_id)
        return self._cache[case_id]

    def __getstate__(self) -> dict[str, Any]:
        """A process that is started anew reads the images itself."""
        return {**self.__dict__, "_cache": {}, "_bytes": 0}

    def _load(self, case_id: str) -> Image:
        properties = json.loads((self._folder / f"{case_id}.json").read_text(encoding="utf-8"))
        array = self._array(self._folder / f"{case_id}.b2nd")
        outside = self._folder / f"{case_id}.outside.b2nd"
        return MaskedImage(array, properties, self._array(outside)) if outside.is_file() else Image(array, properties)

    def _array(self, path: Path) -> Any:
        array = open_array(path)
        size = int(np.prod(array.shape)) * array.dtype.itemsize
        if self._bytes + size > CACHE_BYTES:
            return array
        self._bytes += size
        return _read_only(array[:])


class TrueLabels(Opened):
    """Labels of S by case id, and of no other case."""

    what = "labelled cases of this task"

    def __init__(self, folder: Path, ids: tuple[str, ...], dataset: str) -> None:
        super().__init__(folder, ids, dataset)
        self._cache: dict[str, np.ndarray] = {}

    def __getitem__(self, case_id: str) -> np.ndarray:
        self.check(case_id)
        if case_id not in self._cache:
            with self.whole(case_id):
                self._cache[case_id] = _read_only(open_array(self._folder / f"{case_id}.b2nd")[:])
        return self._cache[case_id]


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
