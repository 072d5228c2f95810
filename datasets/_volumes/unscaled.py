"""CT as it was before its intensities were scaled: one copy serves every labelled set, and is scaled when it is read.

nnU-Net clips CT to a range that it takes from labels, shifts and scales it, and resamples it by splines. The range is
that of the labelled cases, and the clipping comes first: nothing behind it is the same for two labelled sets. So images
are kept as they are before it. What is read of them is clipped, scaled and resampled then, as nnU-Net does it, to the
last bits of a float32. Splines are linear and go axis by axis, so that each axis is a matrix; a voxel of the result
depends on some thirty voxels along it, so that a patch needs little more than itself.

A voxel has the same bits whatever part it is read with, in any number of threads, so that a run's weights do not depend
on what fitted into memory: values and weights are multiples of powers of two, so small that float64 holds each sum of
their products exactly, in any order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atso_bench.datasets._volumes.plan import Plans, configuration_of
from atso_bench.datasets._volumes.restore import coarse_axis, nearest

UNSCALED = "unscaled"
"""Where a case's ``Facts`` stand in its file of geometry."""

WEIGHT_BITS, VALUE_BITS = 26, 25
"""Bits behind the point of a weight, and of a value as a share of its channel's largest: with a bit each for the sign,
and one for sums of weights, which are below 2, products of both fit into the 53 bits of a float64."""

ROWS = 64
"""Rows of a matrix that are multiplied at once: they have few columns."""

PIECE = 1 << 25
"""Bytes of the stored image that are scaled at once, of which a whole image is put together; at least one plane."""


@dataclass(frozen=True)
class Scaling:
    """nnU-Net's scaling of a channel of CT: to within ``low`` and ``high``, less ``mean``, by ``std``."""

    low: float
    high: float
    mean: float
    std: float

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Scale a float32 array in place, in nnU-Net's own order."""
        np.clip(image, self.low, self.high, out=image)
        image -= self.mean
        image /= max(self.std, 1e-8)
        return image


def scalings(plans: Plans, configuration: str) -> tuple[Scaling | None, ...]:
    """What is left to do to each channel: nothing where its normalisation needs no labels."""
    found = plans["foreground_intensity_properties_per_channel"]
    names = ("percentile_00_5", "percentile_99_5", "mean", "std")
    schemes = configuration_of(plans, configuration)["normalization_schemes"]
    return tuple(
        Scaling(*(found[str(channel)][name] for name in names)) if scheme == "CTNormalization" else None
        for channel, scheme in enumerate(schemes)
    )


@dataclass(frozen=True)
class Facts:
    """What reading an unscaled image takes, beside its voxels.

    Attributes:
        shape: ``(*spatial)`` after resampling.
        order: of the splines.
        coarse: the axis along which the nearest plane is taken, and planes are resampled one by one; None for none.
        ranges: least and largest stored value ``(2, C, planes)``, of every plane along ``coarse``, or of all.
    """

    shape: tuple[int, ...]
    order: int
    coarse: int | None
    ranges: list[Any]

    @classmethod
    def of(cls, image: np.ndarray, plan: Mapping[str, Any], spacing: Sequence[float]) -> Facts:
        """Of an image ``(C, *spatial)`` with these millimetres by axis, under a plan."""
        from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

        target = [*spacing[: len(spacing) - len(plan["spacing"])], *plan["spacing"]]  # 2d leaves the first axis alone
        shape = tuple(int(size) for size in compute_new_shape(image.shape[1:], spacing, target))
        options = plan["resampling_fn_data_kwargs"]
        coarse = coarse_axis(options, spacing, target)
        others = tuple(axis + 1 for axis in range(image.ndim - 1) if axis != coarse)
        ranges = [side(image, axis=others).reshape(len(image), -1).tolist() for side in (np.min, np.max)]
        return cls(shape, int(options.get("order", 3)), coarse, ranges)


class Scaled:
    """``(C, *spatial)`` float32, as nnU-Net's preprocessing gives it; what is sliced is computed."""

    dtype = np.dtype(np.float32)

    def __init__(self, stored: Any, facts: Facts, scaling: Sequence[Scaling | None]) -> None:
        self._stored, self._facts, self._scaling = stored, facts, scaling
        self.shape = (int(stored.shape[0]), *facts.shape)
        self.ndim = len(self.shape)
        lower, upper = (self._scaled(np.array(side, np.float32)) for side in facts.ranges)
        self._range = torch.from_numpy(np.stack([lower, upper])).double()
        largest = self._range.abs().amax((0, 2)).clamp_min(1e-30)
        quantum = torch.exp2(largest.log2().ceil() - VALUE_BITS)
        self._quantum = quantum.view(-1, *[1] * len(facts.shape))

    def __getitem__(self, key: Any) -> np.ndarray:
        """The part within slices without steps, one for each axis or for all; all channels."""
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *[slice(None)] * (self.ndim - len(keys)))
        bounds = [one.indices(size)[:2] for one, size in zip(keys, self.shape, strict=True)]
        (first, last), *rest = bounds[1:]
        result = np.empty([max(0, end - begin) for begin, end in bounds], np.float32)
        for begin, end in self._pieces(first, last):
            part = self._part([(begin, end), *rest])[slice(*bounds[0])]
            result[:, begin - first : end - first] = part
        return result

    def _pieces(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        plane = 8 * int(np.prod(self._stored.shape)) // max(1, int(self._stored.shape[1]))
        step = max(1, PIECE // max(1, plane))
        return ((begin, min(begin + step, last)) for begin in range(first, last, step))

    def _part(self, bounds: Sequence[tuple[int, int]]) -> np.ndarray:
        before = tuple(int(size) for size in self._stored.shape[1:])
        if before == self._facts.shape:
            return self._scaled(self._read_windows([slice(*bound) for bound in bounds]))
        axes = [
            self._axis(axis, *sizes, *bounds[axis])
            for axis, sizes in enumerate(zip(before, self.shape[1:], strict=True))
        ]
        part = self._rounded(
            torch.from_numpy(self._scaled(self._read_windows([window for window, _ in axes]))).double()
        )
        for axis, (_, weights) in enumerate(axes):
            part = self._rounded(_along(part, axis + 1, weights))
        lower, upper = (self._within(side, axes) for side in self._range)
        return torch.clamp(part, lower, upper).float().numpy()  # scikit-image lets no spline overshoot

    def _rounded(self, part: Tensor) -> Tensor:
        return part.div_(self._quantum).round_().mul_(self._quantum)

    def _axis(self, axis: int, before: int, after: int, begin: int, end: int) -> tuple[slice, Tensor | None]:
        """The stored voxels that a part needs along an axis, and their weights: a matrix, places, or None for as is."""
        if axis == self._facts.coarse:
            places = torch.from_numpy(nearest(before, after)[begin:end])
            window = slice(int(places.min()), int(places.max()) + 1)
            return window, places - window.start
        if before == after:
            return slice(begin, end), None
        weights = spline(before, after, self._facts.order)[begin:end]
        window = _used(weights)
        return window, weights[:, window]

    def _within(self, side: Tensor, axes: Sequence[tuple[slice, Tensor | None]]) -> Tensor:
        """The least or largest values of the planes that the part comes from, for broadcasting."""
        shape = [1] * len(axes)
        if (coarse := self._facts.coarse) is not None:
            window, places = axes[coarse]
            assert places is not None
            side, shape[coarse] = side[:, window][:, places], len(places)
        return side.reshape(len(side), *shape)

    def _read_windows(self, windows: Sequence[slice]) -> np.ndarray:
        read: np.ndarray = np.asarray(self._stored[(slice(None), *windows)]).astype(np.float32)
        return read

    def _scaled(self, image: np.ndarray) -> np.ndarray:
        for channel, scaling in zip(image, self._scaling, strict=True):
            if scaling is not None:
                scaling(channel)
        return image


def compact(image: np.ndarray) -> np.ndarray:
    """The same numbers as int16 where they are that, as most of CT is."""
    small = image.astype(np.int16)
    return small if np.array_equal(small, image) else image


@functools.lru_cache(maxsize=64)
def spline(before: int, after: int, order: int) -> Tensor:
    """Float64 ``(after, before)``: how scikit-image's ``resize``, as nnU-Net calls it, makes a row of another.

    Weights are rounded to ``WEIGHT_BITS``; those of a row add up to 1.
    """
    from skimage.transform import resize

    columns = [resize(row, (after,), order, mode="edge", anti_aliasing=False, clip=False) for row in np.eye(before)]
    weights = np.round(np.stack(columns, axis=1) * 2.0**WEIGHT_BITS) / 2.0**WEIGHT_BITS
    weights[np.arange(after), weights.argmax(1)] += 1 - weights.sum(1)
    return torch.from_numpy(weights)


def _along(part: Tensor, axis: int, weights: Tensor | None) -> Tensor:
    if weights is None:
        return part
    if weights.ndim == 1:
        return part.index_select(axis, weights)
    rows = []
    for some in weights.split(ROWS):
        window = _used(some)
        rows.append(
            torch.tensordot(
                part.narrow(axis, window.start, window.stop - window.start), some[:, window], dims=([axis], [1])
            )
        )
    return torch.cat(rows, -1).movedim(-1, axis)


def _used(weights: Tensor) -> slice:
    """The columns in which a matrix is not 0."""
    used = weights.any(0).nonzero()
    return slice(int(used.min()), int(used.max()) + 1)
