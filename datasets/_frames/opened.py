"""Decoded frames and their labels, mapped from disk at each access and only for the cases that they were opened for."""

from __future__ import annotations

import numpy as np

from atso_bench.benchmark.task import Image
from atso_bench.datasets._shared.opened import Opened


class _Arrays(Opened):
    """Arrays in ``<folder>/<frame>.npy``, of these frames and of no other.

    Nothing stays open between accesses: a frame costs as much as the pixels that are cut out of it, and
    20,000 frames need no 20,000 file handles.
    """

    what = "frames that this task was opened for"

    def _array(self, case_id: str) -> np.ndarray:
        self.must_hold(case_id)
        with self.whole(case_id):
            array: np.ndarray = np.load(self._folder / f"{case_id}.npy", mmap_mode="r")
        return array


class FrameImages(_Arrays):
    """Images by frame id: uint8 RGB ``(3, H, W)``, read-only memory maps of ``(H, W, 3)`` seen colours first."""

    def __getitem__(self, case_id: str) -> Image:
        array = self._array(case_id)
        return Image(array.transpose(2, 0, 1), {"size": list(array.shape[:2])})


class FrameLabels(_Arrays):
    """Labels of the labelled frames by id, uint8 train ids ``(H, W)``, 255 where nothing counts; read-only maps."""

    def __getitem__(self, case_id: str) -> np.ndarray:
        return self._array(case_id)
