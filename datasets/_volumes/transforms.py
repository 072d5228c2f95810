"""nnU-Net's training transforms for whole batches, as tensor operations on any device.

Each function is one transform of batchgeneratorsv2, given its parameters; ``chances.py`` draws those. Given the same
parameters they give the same values (``tests/datasets/test_transforms.py``), but nnU-Net goes sample by sample, channel
by channel. Nothing here waits for a device.

A *row* is one channel of one sample: ``(*spatial)``. Functions of rows take and give ``(R, *spatial)``, and a parameter
by row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from atso_bench.benchmark.machine.sending import constant

OUTSIDE = -1
"""Label of what lies beyond the image, or was left out when it was normalised."""

_SHARPNESS = 1000  # of shares: in half precision near ties become ties, as nnU-Net has them
_DOUBT = 0.2
"""Variance of the labels around a place below which their rounded mean is the label with the largest share.

Let labels other than ``w``, the one nearest to the mean, have the share ``q``. They lie 1 or more from ``w``, so the
variance is at least ``q`` less the square of the mean's distance from ``w``, which is at most 1/4: ``q`` is below 0.45.
"""
_AT_ONCE = ("cpu",)  # devices that have a result when they are asked for it
_LEAST = 1e-7  # of a range or a deviation that is divided by


def turn(image: Tensor, grid: Tensor) -> Tensor:
    """Bilinear values at the places of ``grid``, zero beyond the image; ``(N, C, *wide)`` to ``(N, C, *patch)``."""
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def turn_labels(label: Tensor, grid: Tensor) -> Tensor:
    """The label with the largest bilinear share at each place; beyond the image that is ``OUTSIDE``.

    A tie goes to the nearest voxel's label if that is among the first, else to the smallest of them.

    Args:
        label: ``(N, Z, *wide)`` integers; the ``Z`` layers are turned alike.
        grid: ``(N, *patch, axes)``, as ``places`` gives it.

    Returns:
        ``(N, Z, *patch)`` of the same type.
    """
    shape = (*label.shape[:2], *grid.shape[1:-1])
    if label.device.type not in _AT_ONCE:  # every place costs less than to wait for the number of those in doubt
        return _elected(label, grid, torch.arange(math.prod(shape), device=label.device)).view(shape)
    both = grid.new_empty((label.shape[0], 2 * label.shape[1], *label.shape[2:]))
    above, squared = both.chunk(2, 1)
    above.copy_(label).sub_(OUTSIDE)  # 0 beyond the image, as turn has it
    torch.mul(above, above, out=squared)
    mean, square = turn(both, grid).chunk(2, 1)
    clear = mean.round().add_(OUTSIDE).to(label.dtype)
    doubtful = (square.addcmul_(mean, mean, value=-1).flatten() > _DOUBT).nonzero()[:, 0]
    clear.view(-1)[doubtful] = _elected(label, grid, doubtful)
    return clear


def _elected(label: Tensor, grid: Tensor, numbers: Tensor) -> Tensor:
    """The label with the most shares, ``(P)``, at the places of ``turn_labels``' result with these ``numbers``."""
    wide, axes = label.shape[2:], grid.shape[-1]
    layers, size = label.shape[1], math.prod(grid.shape[1:-1])
    sample, layer = numbers.div(layers * size, rounding_mode="floor"), numbers.div(size, rounding_mode="floor")
    sizes = constant(tuple(reversed(wide)), grid.device)  # as in grid, the last axis comes first
    at = grid.view(-1, axes).index_select(0, sample * size + numbers % size)
    at = torch.minimum((((at + 1) * sizes - 1) / 2).clamp_min_(-1), sizes)  # voxels; beyond a margin all is alike
    low = at.floor()
    steps = [math.prod(length + 3 for length in wide[axis + 1 :]) for axis in range(-1, axes)]
    first = layer * steps.pop(0)
    shares, nearest = [torch.full_like(at[:, 0], _SHARPNESS)], torch.zeros_like(first)
    for start, part, step in zip(low.unbind(1), (at - low).unbind(1), reversed(steps), strict=True):
        first += (start.long() + 1) * step
        shares = [share * more for share in shares for more in (1 - part, part)]
        nearest = 2 * nearest + (start + part).round().sub_(start).long()
    padded = label.new_full((*label.shape[:2], *(length + 3 for length in wide)), OUTSIDE)
    padded[(slice(None), slice(None), *[slice(1, -2)] * axes)] = label
    corners = [sum(chosen) for chosen in itertools.product(*[(0, step) for step in reversed(steps)])]
    found, share = torch.stack([padded.view(-1)[first + corner] for corner in corners]), torch.stack(shares)
    winner, most = found[0], torch.zeros_like(share[0], dtype=torch.half)
    for candidate in (*found, found.gather(0, nearest[None])[0]):
        score = ((found == candidate) * share).sum(0).half()
        better = (score > most) | ((score == most) & (candidate < winner))
        winner, most = torch.where(better, candidate, winner), torch.maximum(score, most)
    return torch.where(score == most, candidate, winner)  # the nearest voxel's, if no other has more


def places(matrices: Tensor, patch: Sequence[int], wide: Sequence[int]) -> Tensor:
    """Where each voxel of a patch lies in the wider patch that it is taken from, as ``grid_sample`` wants it.

    Args:
        matrices: ``(N, axes, axes)``, which turn and scale about the centre.
        patch: its size.
        wide: the size of the wider one.

    Returns:
        ``(N, *patch, axes)``, from -1 to 1 over the wider patch, the last axis first.
    """
    axes = len(patch)
    grid = _centred(tuple(patch), matrices.device).reshape(1, -1, axes)
    half = constant(tuple(size / 2 for size in reversed(wide)), matrices.device)
    turned = torch.matmul(grid, matrices.flip(1).transpose(1, 2)).div_(half)  # as nnU-Net does, to the last bits
    return turned.view(len(matrices), *patch, axes)


@lru_cache(maxsize=8)
def _centred(patch: tuple[int, ...], device: torch.device) -> Tensor:
    """Places of a patch's voxels from its centre, ``(*patch, axes)``; too large to go to a GPU with each batch."""
    lines = [torch.linspace((1 - size) / 2, (size - 1) / 2, size) for size in patch]
    return torch.stack(torch.meshgrid(lines, indexing="ij"), dim=-1).to(device)


def blur(rows: Tensor, sigmas: Tensor) -> Tensor:
    """Gaussian filters, one axis after the other; ``sigmas`` ``(R, axes)`` in voxels, each at least a third."""
    for axis in range(rows.ndim - 1):
        kernels = gaussians(sigmas[:, axis])
        reach = kernels.shape[1] // 2
        margin = [0, 0] * (rows.ndim - 1)
        margin[2 * (rows.ndim - 2 - axis)] = margin[2 * (rows.ndim - 2 - axis) + 1] = reach
        padded, length = F.pad(rows[None], margin, mode="reflect")[0], rows.shape[axis + 1]
        shifted = [padded.narrow(axis + 1, start, length) for start in range(kernels.shape[1])]
        weights = [_by_row(kernel, rows) for kernel in kernels.unbind(1)]
        rows = shifted[0] * weights[0]
        for part, weight in zip(shifted[1:], weights[1:], strict=True):
            rows.addcmul_(part, weight)
    return rows


_REACH = 3  # of the widest kernel, for a sigma of 1


def gaussians(sigmas: Tensor) -> Tensor:
    """Kernels ``(R, 7)`` whose length, 3, 5 or 7, is the odd number nearest to ``6 sigma + 0.5``; zeros beyond it."""
    place = torch.arange(-_REACH, _REACH + 1, device=sigmas.device, dtype=sigmas.dtype)
    wanted = 6 * sigmas + 0.5
    length = torch.round(wanted)
    odd = torch.where(length % 2 == 1, length, torch.where(wanted >= length, length + 1, length - 1))
    kernels = torch.exp(-0.5 * (place / sigmas[:, None]) ** 2)
    kernels = torch.where(place.abs() <= (odd[:, None] - 1) / 2, kernels, 0)
    return kernels / kernels.sum(1, keepdim=True)


def brighten(rows: Tensor, factors: Tensor) -> Tensor:
    """Multiply each row."""
    return rows * _by_row(factors, rows)


def contrast(rows: Tensor, factors: Tensor) -> Tensor:
    """Stretch each row about its mean, within its range."""
    low, high, mean = *_range(rows), _mean(rows)
    return torch.clamp((rows - mean) * _by_row(factors, rows) + mean, low, high)


def coarsen(rows: Tensor, sizes: Tensor) -> Tensor:
    """Take fewer voxels of each row and interpolate between them; ``sizes`` ``(R, axes)`` integers, how many."""
    for axis in range(rows.ndim - 1):
        length, few = rows.shape[axis + 1], sizes[:, axis, None].float()
        place = torch.arange(length, device=rows.device) + 0.5
        at = (place * (few / length) - 0.5).clamp_min(0)
        below = torch.minimum(at.floor(), few - 1)
        above = torch.minimum(below + 1, few - 1)
        step = torch.full_like(few, length) / few  # length / few would multiply by a rounded 1 / few
        taken = [((number + 0.5) * step).floor().clamp_max(length - 1).long() for number in (below, above)]
        lower, upper = (rows.gather(axis + 1, _along(index, rows, axis)) for index in taken)
        rows = torch.lerp(lower, upper, _along(at - below, rows, axis))
    return rows


def gamma(rows: Tensor, exponents: Tensor, *, inverted: bool) -> Tensor:
    """Raise each row, as a share of its range, to a power; its mean and deviation stay."""
    if inverted:
        return -gamma(-rows, exponents, inverted=False)
    mean, deviation = _mean(rows), _deviation(rows)
    low, high = _range(rows)
    raised = ((rows - low) / (high - low).clamp_min(_LEAST)) ** _by_row(exponents, rows) * (high - low) + low
    return (raised - _mean(raised)) * (deviation / _deviation(raised).clamp_min(_LEAST)) + mean


def mirror(part: Tensor, flips: Tensor) -> Tensor:
    """Flip samples ``(N, ..., *patch)`` along the axes that ``flips`` ``(N, axes)``, booleans, name."""
    if part.device.type not in _AT_ONCE:  # both ways of every sample cost less than to wait for who is mirrored
        for axis in range(flips.shape[1]):
            chosen = flips[:, axis].view(-1, *[1] * (part.ndim - 1))
            part = torch.where(chosen, part.flip(axis - flips.shape[1]), part)
        return part
    mirrored = torch.empty_like(part)
    for flipped in flips.unique(dim=0):
        samples = (flips == flipped).all(1).nonzero()[:, 0]
        axes = [axis - flips.shape[1] for axis in flipped.nonzero()[:, 0].tolist()]
        mirrored.index_copy_(0, samples, part.index_select(0, samples).flip(axes))
    return mirrored


def _by_row(values: Tensor, rows: Tensor) -> Tensor:
    """``(R)`` as ``(R, 1, ...)``."""
    return values.to(rows.dtype).view(-1, *[1] * (rows.ndim - 1))


def _along(values: Tensor, rows: Tensor, axis: int) -> Tensor:
    """``(R, length)`` as values of all voxels, the same across the other axes."""
    shape = [len(rows), *[1] * (rows.ndim - 1)]
    shape[axis + 1] = rows.shape[axis + 1]
    return values.view(shape).expand_as(rows)


def _mean(rows: Tensor) -> Tensor:
    return _by_row(rows.flatten(1).mean(1), rows)


def _deviation(rows: Tensor) -> Tensor:
    flat = rows.flatten(1)
    apart = torch.linalg.vector_norm(flat - flat.mean(1, keepdim=True), dim=1)  # twice as fast as std
    return _by_row(apart / max(1, flat.shape[1] - 1) ** 0.5, rows)


def _range(rows: Tensor) -> tuple[Tensor, Tensor]:
    flat = rows.flatten(1)
    return _by_row(flat.amin(1), rows), _by_row(flat.amax(1), rows)
