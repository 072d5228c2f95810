"""Decoded frames and their labels, mapped from disk at each access and only for the cases that they were opened for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.task import Image


class _Opened(Mapping[str, Any]):
    """Arrays in ``<folder>/<frame>.npy``, of these frames and of no other.

    Nothing stays open between accesses: a frame costs as much as the pixels that are cut out of it, and
    20,000 frames need no 20,000 file handles.
    """

    def __init__(self, folder: Path, ids: tuple[str, ...]) -> None:
        self._folder = folder
        self.ids = dict.fromkeys(ids)

    def _array(self, case_id: str) -> np.ndarray:
        if case_id not in self.ids:
            raise KeyError(f"{case_id!r} is not among the {len(self.ids)} frames that this task was opened for")
        path = self._folder / f"{case_id}.npy"
        try:
            array: np.ndarray = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise OSError(f"{path} is missing or damaged ({error}); `atso-bench prepare` makes it anew") from error
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self.ids


class Frames(_Opened):
    """Images by frame id: uint8 RGB ``(3, H, W)``, read-only memory maps of ``(H, W, 3)`` seen colours first."""

    def __getitem__(self, case_id: str) -> Image:
        array = self._array(case_id)
        return Image(array.transpose(2, 0, 1), {"size": list(array.shape[:2])})


class FrameLabels(_Opened):
    """Labels of S by frame id, uint8 train ids ``(H, W)`` with 255 where nothing counts; read-only memory maps."""

    def __getitem__(self, case_id: str) -> np.ndarray:
        return self._array(case_id)
