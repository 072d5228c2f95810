"""A medical task's preprocessed images and true labels, opened when they are asked for."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.task import Image
from atso_bench.datasets._shared.opened import Opened
from atso_bench.datasets._volumes.arrays import open_array
from atso_bench.datasets._volumes.unscaled import UNSCALED, Facts, Scaled, Scaling

CACHE_BYTES = 4 << 30
"""Of images that a process keeps, and as many of labels; what does not fit is read from its file by the slice."""


@dataclass(frozen=True)
class MaskedImage(Image):
    """An image whose normalisation left out the voxels in ``outside``, a boolean ``(*spatial)`` array."""

    outside: Any = None


class InMemory(Opened):
    """Base of what is read when it is first asked for, and kept in memory while that has room."""

    def __init__(self, folder: Path, ids: tuple[str, ...], dataset: str) -> None:
        super().__init__(folder, ids, dataset)
        self._cache: dict[str, Any] = {}
        self._bytes = 0

    def __getitem__(self, case_id: str) -> Any:
        self.must_hold(case_id)
        if case_id not in self._cache:
            with self.whole(case_id):
                self._cache[case_id] = self._load(case_id)
        return self._cache[case_id]

    def __getstate__(self) -> dict[str, Any]:
        """A process that is started anew reads the cases itself."""
        return {**self.__dict__, "_cache": {}, "_bytes": 0}

    @abstractmethod
    def _load(self, case_id: str) -> Any:
        """What is handed out for a case, from its files."""

    def _array(self, path: Path) -> Any:
        return self._kept(open_array(path))

    def _kept(self, array: Any) -> Any:
        """The whole of an array that is read by the slice, while there is room."""
        size = int(np.prod(array.shape)) * array.dtype.itemsize
        if self._bytes + size > CACHE_BYTES:
            return array
        self._bytes += size
        whole = array[:]
        whole.setflags(write=False)
        return whole


class Images(InMemory):
    """Preprocessed images by case id; those that were kept unscaled are scaled by ``scaling``, channel by channel."""

    def __init__(
        self, folder: Path, ids: tuple[str, ...], dataset: str, scaling: Sequence[Scaling | None] = ()
    ) -> None:
        super().__init__(folder, ids, dataset)
        self._scaling = scaling

    def _load(self, case_id: str) -> Image:
        properties = json.loads((self._folder / f"{case_id}.json").read_text(encoding="utf-8"))
        stored = open_array(self._folder / f"{case_id}.b2nd")
        facts = properties.pop(UNSCALED, None)
        array = self._kept(stored if facts is None else Scaled(stored, Facts(**facts), self._scaling))
        outside = self._folder / f"{case_id}.outside.b2nd"
        return MaskedImage(array, properties, self._array(outside)) if outside.is_file() else Image(array, properties)


class TrueLabels(InMemory):
    """Labels of the labelled cases by id, and of no other case."""

    what = "labelled cases of this task"

    def _load(self, case_id: str) -> Any:
        return self._array(self._folder / f"{case_id}.b2nd")
