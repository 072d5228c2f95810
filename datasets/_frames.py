"""Decoded frames and their labels, mapped from disk at each access and only for the cases that they were opened for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from atso_bench.benchmark.task import Image


class Frames(Mapping[str, Image]):
    """Images by frame id: uint8 RGB ``(3, H, W)``, a read-only memory map seen with the colours first.

    Nothing stays open between accesses: a frame costs as much as the pixels that are cut out of it, and
    20,000 frames need no 20,000 file handles.

    Args:
        folder: holds ``<frame>.npy``, uint8 ``(H, W, 3)``.
        ids: the frames that may be looked at.
    """

    def __init__(self, folder: Path, ids: tuple[str, ...]) -> None:
        self.folder = folder
        self.ids = dict.fromkeys(ids)

    def __getitem__(self, case_id: str) -> Image:
        if case_id not in self.ids:
            raise KeyError(f"{case_id!r} is not among the {len(self.ids)} frames that this task was opened for")
        array = np.load(self.folder / f"{case_id}.npy", mmap_mode="r")
        return Image(array.transpose(2, 0, 1), {"size": list(array.shape[:2])})

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self.ids


class FrameLabels(Mapping[str, np.ndarray]):
    """Labels of S by frame id, uint8 train ids ``(H, W)`` with 255 where nothing counts; read-only memory maps.

    Args:
        folder: holds ``<frame>.npy``.
        ids: the labelled frames.
    """

    def __init__(self, folder: Path, ids: tuple[str, ...]) -> None:
        self.folder = folder
        self.ids = dict.fromkeys(ids)

    def __getitem__(self, case_id: str) -> np.ndarray:
        if case_id not in self.ids:
            raise KeyError(f"{case_id!r} is not among the {len(self.ids)} labelled frames of this task")
        label: np.ndarray = np.load(self.folder / f"{case_id}.npy", mmap_mode="r")
        return label

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self.ids
