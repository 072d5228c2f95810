"""Volumes in a device's memory, from which patches are cut there: no loader, no copy to the device in a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atso_bench.benchmark.machine.sending import constant
from atso_bench.benchmark.task import Pool
from atso_bench.datasets._volumes.patches import outside_of
from atso_bench.datasets._volumes.transforms import OUTSIDE


class Laid:
    """Arrays ``(K, *spatial)`` of several cases, voxel by voxel one after the other in a tensor of a device.

    Attributes:
        values: ``(K, voxels + 1)``; the last one is what lies beyond an array.
    """

    def __init__(self, arrays: Sequence[np.ndarray], device: torch.device, beyond: float) -> None:
        layers, sizes = len(arrays[0]), [array[0].size for array in arrays]
        kind = torch.from_numpy(arrays[0]).dtype
        self.values = torch.full((layers, sum(sizes) + 1), beyond, dtype=kind, device=device)
        for room, array in zip(self.values[:, :-1].split(sizes, 1), arrays, strict=True):
            room.copy_(torch.from_numpy(array).view(layers, -1))

    def cut(self, voxels: Tensor) -> Tensor:
        """The values ``(N, K, *size)`` of voxels with these numbers ``(N, *size)``."""
        found = self.values.index_select(1, voxels.view(-1)).view(len(self.values), *voxels.shape)
        return found.transpose(0, 1).contiguous()  # which is a view where K is 1


class Grid:
    """Where the voxels of patches lie in what is ``Laid``, for cases of these shapes in this order."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], device: torch.device) -> None:
        starts = np.cumsum([0, *map(math.prod, shapes)]).tolist()
        rows = [[*shape, shape[1] * shape[2], shape[2], 1] for shape in shapes]
        self.total = starts.pop()
        self.starts = torch.tensor(starts).to(device)
        self.fulls, self.strides = torch.tensor(rows).to(device).split(3, 1)

    def voxels(self, cases: Tensor, lower: Tensor, size: tuple[int, ...]) -> Tensor:
        """Numbers of voxels ``(N, *size)``; ``total`` is the number of what lies beyond a case.

        All axes are computed as one line after the other in a row, for each operation costs a launch.

        Args:
            cases: numbers ``(N)``.
            lower: where the patches begin ``(N, 3)``.
            size: of a patch, of three axes.
        """
        axis, step = _lines(size, lower.device)
        place = lower.index_select(1, axis) + step
        full, stride = (part.index_select(0, cases).index_select(1, axis) for part in (self.fulls, self.strides))
        lines = torch.where((place >= 0) & (place < full), place * stride, _NOWHERE)
        deep, high, wide = lines.split(size, 1)
        found = deep[:, :, None, None] + high[:, None, :, None] + wide[:, None, None, :]
        found = found + self.starts.index_select(0, cases)[:, None, None, None]
        return torch.where(found < 0, self.total, found)


@lru_cache(maxsize=64)
def _lines(size: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The axis and the step of each place in the lines of a patch, those of all axes in a row."""
    axes = tuple(axis for axis, length in enumerate(size) for _ in range(length))
    steps = tuple(step for length in size for step in range(length))
    return constant(axes, device, torch.int64), constant(steps, device, torch.int64)


_NOWHERE = -(1 << 40)
"""A place so far before all voxels that no sum with it reaches them."""


class Held:
    """What a pool's patches are cut from, on a device."""

    def __init__(self, pool: Pool, device: torch.device, shelf: dict[Any, Any]) -> None:
        """Bring it there; images that another pool of the run has brought are on its ``shelf``."""
        self.numbers = {name: number for number, name in enumerate(pool.ids)}
        self.grid = Grid([pool.images[name].array.shape[1:] for name in pool.ids], device)
        key = (id(pool.images), pool.ids)
        if key not in shelf:
            shelf[key] = Laid([_floats(pool.images[name].array[:], np.float32) for name in pool.ids], device, 0.0)
        self.parts: dict[str, Laid] = {"image": shelf[key]}
        if _is_soft(pool):
            assert pool.labels is not None
            soft = [_floats(pool.labels[name][:], np.float16) for name in pool.ids]
            self.parts["soft"] = Laid(soft, device, 0.0)
        if _has_classes(pool):
            self.parts["label"] = Laid([_classes(pool, name)[None] for name in pool.ids], device, OUTSIDE)

    @property
    def channels(self) -> int:
        """Of an image."""
        return len(self.parts["image"].values)

    def numbered(self, places: Sequence[tuple[str, list[int]]]) -> dict[str, Tensor]:
        """Names of cases and where patches begin in them, as ``cuts`` wants them."""
        cases = torch.tensor([self.numbers[name] for name, _ in places])
        return {"cases": cases, "lower": torch.tensor([lower for _, lower in places])}

    def cuts(self, cases: Tensor, lower: Tensor, size: Sequence[int]) -> dict[str, Tensor]:
        """``image`` float32 and, where there are any, ``soft`` float32 and ``label`` int16 patches.

        Args:
            cases: numbers in ``numbers`` ``(N)``, on the device.
            lower: where the patches begin ``(N, 3)``.
            size: of a patch; one of two axes is a slice.
        """
        voxels = self.grid.voxels(cases, lower, (*[1] * (3 - len(size)), *size))
        found = {name: part.cut(voxels) for name, part in self.parts.items()}
        shaped = {name: part.reshape(*part.shape[:2], *size) for name, part in found.items()}
        return {name: part[:, 0] if name == "label" else part.float() for name, part in shaped.items()}


def weight(pool: Pool, most: int) -> int:
    """Bytes that a pool takes on a device; what is beyond ``most`` is not counted to its end."""
    total = 0
    for size in _sizes(pool):
        total += size
        if total > most:
            break
    return total


def _sizes(pool: Pool) -> Iterator[int]:
    for name in pool.ids:
        shape = pool.images[name].array.shape
        yield 4 * math.prod(shape)
        if _is_soft(pool):
            assert pool.labels is not None
            yield 2 * math.prod(pool.labels[name].shape)
        if _has_classes(pool):
            yield 2 * math.prod(shape[1:])


def _is_soft(pool: Pool) -> bool:
    first = pool.ids[0]
    return pool.labels is not None and pool.labels[first].ndim == pool.images[first].array.ndim


def _has_classes(pool: Pool) -> bool:
    hard = pool.labels is not None and not _is_soft(pool)
    return hard or outside_of(pool.images[pool.ids[0]]) is not None


def _classes(pool: Pool, name: str) -> np.ndarray:
    """Hard labels int16, ``OUTSIDE`` where normalisation left out what is background or has no label."""
    image, outside = pool.images[name], outside_of(pool.images[name])
    hard = pool.labels is not None and not _is_soft(pool)
    label = (pool.labels or {})[name][:] if hard else np.zeros(image.array.shape[1:])
    classes: np.ndarray = np.asarray(label).astype(np.int16)
    if outside is not None:
        classes[outside[:].astype(bool) & (classes == 0)] = OUTSIDE
    return classes


def _floats(array: np.ndarray, kind: type) -> np.ndarray:
    """A copy: what a task keeps in memory may not be written to, which torch asks for."""
    return np.array(array, kind, order="C")
