"""Checks that a user's plan suits these images, before anything is made with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from atso_bench.datasets._volumes.examine import Look

FAR = 8
"""So many times finer or coarser than the images' median no plan of nnU-Net's is."""
IMPOSSIBLE = 100
"""So many times, and it is a mistake."""
PADDED = 8
"""So many times the median image's voxels hold nothing but padding for most of a patch."""
_VOXEL = 8  # bytes: nnU-Net resamples in float64


def doubts(
    configuration: Mapping[str, Any], transpose: Sequence[int], looks: Mapping[str, Look], channels: int, available: int
) -> list[str]:
    """What is implausible about a configuration, and may be meant all the same.

    Args:
        configuration: with what it inherits.
        transpose: nnU-Net's ``transpose_forward``.
        looks: what each case showed; shapes and spacings (mm) in the reader's order of axes.
        channels: of the images.
        available: bytes of memory.

    Raises:
        ValueError: if nothing can come of it: no voxel is left of a case, one does not fit into memory, the spacing is
            in another unit, or every feature is dropped.
    """
    _check_dropout(configuration)
    axes = len(configuration["spacing"])
    sizes = {}
    for name, look in looks.items():
        spacing, shape = [look.spacing[axis] for axis in transpose], [look.shape[axis] for axis in transpose]
        target = [*spacing[: len(spacing) - axes], *configuration["spacing"]]
        sizes[name] = [round(n * one / other) for n, one, other in zip(shape, spacing, target, strict=True)]
        _check_size(name, shape, sizes[name], configuration["spacing"], channels, available)
    if not looks:
        return []
    between = np.array([[look.spacing[axis] for axis in transpose][-axes:] for look in looks.values()])
    after = np.array(list(sizes.values()))
    patches = int(after[:, :-axes].prod(axis=1).sum())  # the planes of a 2D plan; volumes
    return [*_odd_spacing(configuration, np.median(between, axis=0)), *_odd_patch(configuration, after, patches)]


def _check_dropout(configuration: Mapping[str, Any]) -> None:
    kwargs = configuration["architecture"]["arch_kwargs"].get("dropout_op_kwargs") or {}
    if kwargs.get("p", 0) >= 1:
        raise ValueError(f"dropout_op_kwargs has p {kwargs['p']:g}, which drops every feature; it is below 1")


def _check_size(
    name: str, shape: Sequence[int], size: Sequence[int], spacing: Sequence[float], channels: int, available: int
) -> None:
    """What resampling makes of a case; nnU-Net says nothing until its memory is full or its array empty."""
    if not all(size):
        raise ValueError(f"spacing {spacing} leaves {_by(size)} of the {_by(shape)} voxels of {name}, which is nothing")
    if (needed := _VOXEL * channels * math.prod(size)) > available:
        raise ValueError(
            f"spacing {spacing} makes {_by(size)} of the {_by(shape)} voxels of {name}: {needed / 1e9:.3g} GB, there "
            f"are {available / 1e9:.3g} GB of memory"
        )


def _odd_spacing(configuration: Mapping[str, Any], median: np.ndarray) -> Iterator[str]:
    factors = median / np.array(configuration["spacing"], dtype=float)
    shown = " x ".join(f"{value:.3g}" for value in median)
    told = f"spacing {configuration['spacing']} is far from the images' median {shown} mm"
    farthest = max(factors.max(), 1 / factors.min())
    if farthest >= IMPOSSIBLE:
        raise ValueError(f"{told}: it is in another unit, or of other images")
    if farthest >= FAR:
        yield f"the plan's {told}; is it the right one?"


def _odd_patch(configuration: Mapping[str, Any], sizes: np.ndarray, patches: int) -> Iterator[str]:
    patch, batch = configuration["patch_size"], configuration["batch_size"]
    median = np.median(sizes[:, -len(patch) :], axis=0)
    if math.prod(patch) > PADDED * median.prod():
        yield f"the plan's patch {_by(patch)} is mostly padding: the median image has {_by(median)} voxels"
    if batch > patches:
        kind = "planes" if sizes.shape[1] > len(patch) else "cases"
        yield f"the plan's batch of {batch:,} is more than all {patches:,} {kind} together; recipe.batch takes less"


def _by(sizes: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{size:,.0f}" for size in sizes)
