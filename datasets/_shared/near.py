"""Images that are nearly the same: scaled, shifted, mirrored, resampled or with a little noise.

nnU-Net normalises each image, so that the first two are one and the same to a network; `_twins` sees what is identical.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

Small = NDArray[np.float32]
"""A thumbnail ``(C, *small)`` with mean 0 and standard deviation 1 in each channel."""

BLOCKS = {2: 16, 3: 8}
"""Blocks along an axis of an image with so many axes."""
ALIKE = 0.9995
"""Correlation of two thumbnails from which on they are of one image; noise of 1 % leaves more, other cases far less."""
WINDOW = 0.05
"""So much the skewness of such two differs at most; it is the same for a mirrored image, and few others have it."""
SHOWN = 5


def thumbnail(image: NDArray[np.generic]) -> Small | None:
    """Means of blocks of an image ``(C, *spatial)``, normalised; None where a channel has one value throughout."""
    most = BLOCKS[3 if sum(size > 1 for size in image.shape[1:]) > 2 else 2]
    small = np.stack([_reduced(channel, most) for channel in image])  # one at a time: no copy of a large image
    axes = tuple(range(1, small.ndim))
    centred = small - small.mean(axis=axes, keepdims=True)
    spread = centred.std(axis=axes, keepdims=True)
    if not (spread > 1e-6 * (1 + np.abs(small).max())).all():
        return None
    found: Small = (centred / spread).astype(np.float32)
    return found


def _reduced(channel: NDArray[np.generic], most: int) -> NDArray[np.float32]:
    """Means of at most so many blocks along each axis of ``(*spatial)``."""
    small = channel.astype(np.float32, copy=False)
    for axis, size in enumerate(channel.shape):
        small = np.moveaxis(np.tensordot(_blocks(size, most), small, axes=(1, axis)), 0, axis)
    return small


def _blocks(size: int, most: int) -> NDArray[np.float32]:
    """``(blocks, size)``: the share of each element in each block's mean; mirrored it is the same."""
    count = min(size, most)
    edges = np.arange(count + 1) * size / count
    elements = np.arange(size)
    overlap = np.minimum(edges[1:, None], elements + 1) - np.maximum(edges[:-1, None], elements)
    shares: NDArray[np.float32] = (np.clip(overlap, 0, None) * count / size).astype(np.float32)
    return shares


def near_copies(smalls: Mapping[str, Small | None], divisible: Callable[[str, str], bool]) -> list[str]:
    """A note that names the pairs of cases which nearly share an image; none where there is no pair.

    Args:
        smalls: thumbnail of each case; cases with the very same image count once.
        divisible: whether a split could put two cases into different parts.
    """
    pairs = [pair for pair in _pairs(smalls) if divisible(*pair)]
    if not pairs:
        return []
    named = ", ".join(f"{one} and {other}" for one, other in pairs[:SHOWN]) + (" ..." if len(pairs) > SHOWN else "")
    return [
        f"{len(pairs)} pair(s) look like one image (scaled, shifted, mirrored or with noise) and a split could divide "
        f"them; if so, keep only one of them: {named}"
    ]


def _pairs(smalls: Mapping[str, Small | None]) -> Iterator[tuple[str, str]]:
    shapes: dict[tuple[int, ...], list[str]] = {}
    for name, small in smalls.items():
        if small is not None:
            shapes.setdefault(small.shape, []).append(name)
    for names in shapes.values():
        stack = np.stack([small for name in names if (small := smalls[name]) is not None])
        skew = (stack.reshape(len(stack), -1) ** 3).mean(axis=1)
        order = np.argsort(skew, kind="stable")
        ends = np.searchsorted(skew[order], skew[order] + WINDOW, side="right")
        for place, end in enumerate(ends):
            others = order[place + 1 : end]
            alike = _alike(stack[order[place]], stack[others])
            for other in others[alike]:
                one, two = sorted((names[order[place]], names[other]))
                yield one, two


def _alike(one: Small, others: Small) -> NDArray[np.bool_]:
    """Which of ``others`` are the thumbnail, mirrored along some axes or none."""
    flat, axes = others.reshape(len(others), one.size), range(1, one.ndim)
    flips = chain.from_iterable(combinations(axes, count) for count in range(one.ndim))
    found = np.zeros(len(others), dtype=bool)
    for flip in flips:
        found |= flat @ np.flip(one, flip).ravel() >= ALIKE * one.size
    return found
