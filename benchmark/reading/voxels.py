"""Iterates over the voxels of a large volume: block by block, and all classes in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from numpy.typing import NDArray

BLOCK = 1 << 22
"""Voxels that are counted at once, for which NumPy makes 8 bytes each."""


def blocks(shape: Sequence[int]) -> Iterator[slice]:
    """Cut an array along its first axis into parts of at most ``BLOCK`` elements, or of one plane if that is larger."""
    step = max(1, BLOCK // max(1, math.prod(shape[1:])))
    return (slice(begin, begin + step) for begin in range(0, shape[0], step))


def class_boxes(prediction: NDArray, reference: NDArray, classes: int) -> list[tuple[slice, ...]]:
    """Return for each class but the background the smallest box that holds it in both, of size 0 where it is in none.

    One pass over the voxels finds them all.
    """
    from scipy.ndimage import find_objects

    if classes < 2:
        return []
    nowhere = (slice(0, 0),) * prediction.ndim
    boxes = []
    for pair in zip(*(find_objects(labels, classes - 1) for labels in (prediction, reference)), strict=True):
        sides = zip(*filter(None, pair), strict=True)
        box = tuple(slice(min(side.start for side in both), max(side.stop for side in both)) for both in sides)
        boxes.append(box or nowhere)
    return boxes
