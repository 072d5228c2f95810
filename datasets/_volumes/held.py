"""Volumes in a device's memory, from which patches are cut there: no loader, no copy to the device in a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atso_bench.benchmark.task import Pool
from atso_bench.datasets._volumes.patches import outside_of
from atso_bench.datasets._volumes.transforms import OUTSIDE


class Laid:
    """Arrays ``(K, *spatial)`` of several cases, one after the other in one tensor of a device.

    Attributes:
        values: all voxels.
        beyond: the value of what lies beyond an array.
    """

    def __init__(self, arrays: Sequence[np.ndarray], device: torch.device, beyond: float) -> None:
        self.layers, self.beyond = len(arrays[0]), beyond
        shapes = [array.shape[1:] for array in arrays]
        *starts, total = np.cumsum([0, *(array.size for array in arrays)]).tolist()
        self.values = torch.empty(total, dtype=torch.from_numpy(arrays[0]).dtype, device=device)
        for start, array in zip(starts, arrays, strict=True):
            self.values[start : start + array.size].view(array.shape).copy_(torch.from_numpy(array))
        self.table = torch.tensor([[start, *shape] for start, shape in zip(starts, shapes, strict=True)]).to(device)

    def cut(self, cases: Tensor, lower: Tensor, size: Sequence[int]) -> Tensor:
        """Patches ``(N, K, *size)`` that begin at ``lower`` ``(N, 3)`` in the cases with these numbers ``(N)``."""
        start, *shape = self.table.index_select(0, cases).unbind(1)
        strides = [shape[1] * shape[2], shape[2], torch.ones_like(shape[2])]
        layer = torch.arange(self.layers, device=lower.device) * (shape[0] * strides[0])[:, None]
        place = (start[:, None] + layer)[..., None, None, None]
        within = torch.ones((), dtype=torch.bool, device=lower.device)
        for axis, (length, full, stride) in enumerate(zip(size, shape, strides, strict=True)):
            line = lower[:, axis, None] + torch.arange(length, device=lower.device)
            view = (len(cases), 1, *(length if other == axis else 1 for other in range(3)))
            within = within & ((line >= 0) & (line < full[:, None])).view(view)
            place = place + (line.clamp_min(0).minimum(full[:, None] - 1) * stride[:, None]).view(view)
        return torch.where(within, self.values[place], self.beyond)


class Held:
    """What a pool's patches are cut from, on a device."""

    def __init__(self, pool: Pool, device: torch.device, shelf: dict[Any, Any]) -> None:
        """Bring it there; images that another pool of the run has brought are on its ``shelf``."""
        self.numbers = {name: number for number, name in enumerate(pool.ids)}
        key = (id(pool.images), pool.ids)
        if key not in shelf:
            arrays = [_floats(pool.images[name].array[:], np.float32) for name in pool.ids]
            shelf[key] = Laid(arrays, device, 0.0)
        self.parts: dict[str, Laid] = {"image": shelf[key]}
        if _is_soft(pool):
            assert pool.labels is not None
            soft = [_floats(pool.labels[name][:], np.float16) for name in pool.ids]
            self.parts["soft"] = Laid(soft, device, 0.0)
        if _has_classes(pool):
            self.parts["label"] = Laid([_classes(pool, name)[None] for name in pool.ids], device, OUTSIDE)

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
        deep = (*[1] * (3 - len(size)), *size)
        found = {name: part.cut(cases, lower, deep) for name, part in self.parts.items()}
        shaped = {name: part.view(*part.shape[:2], *size) for name, part in found.items()}
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
