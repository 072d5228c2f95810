"""Which patches a batch is made of, by nnU-Net's rules, and how they are cut out of the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from atso_bench.benchmark.store.cache import ByteCache
from atso_bench.benchmark.task import Draw, Image, Pool
from atso_bench.datasets._volumes.chances import Geometry

PLACES = 1 << 29
"""Bytes of the foreground's places that a draw remembers; those of a large case of 50 classes are some MB."""

Voxels = dict[Any, np.ndarray]
"""Class -> voxels ``(M, 1 + axes)``; the first number is 0."""

OVERSAMPLED = 0.33  # share of a batch that holds foreground for sure, as in nnU-Net


class PatchDraw(Draw):
    """Base of draws from volumes: places are a function of NumPy's global random state, no more.

    They are nnUNetDataLoader's (``tests/datasets/test_patches.py`` compares them), drawn for a whole batch at once:
    anywhere in the image and a little beyond it, or about a voxel of a class that the case has, all equally likely.

    Attributes:
        pool: images ``(C, *spatial)`` float32; labels, if any, ``(*spatial)`` integers or soft ``(K, *spatial)``.
        size: patches in a batch; the last third holds foreground where the pool has labels.
        geometry: of the patches; one of two axes is a slice of the volume.
    """

    def __init__(self, pool: Pool, size: int, geometry: Geometry, label_manager: Any) -> None:
        if not pool.ids:
            raise ValueError("a batch cannot be drawn from a pool without cases")
        self.pool, self.size, self.geometry = pool, size, geometry
        self.classes: list[Any] = [int(value) for value in label_manager.foreground_labels]
        self.annotated: tuple[int, ...] | None = None  # where not all voxels are, patches hold some that are
        if label_manager.has_ignore_label and pool.labels is not None:
            self.annotated = (-1, *label_manager.all_labels)
            self.classes.append(list(self.annotated))
        self._voxels: ByteCache[Voxels] = ByteCache(PLACES, _bytes)
        self._ranges: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}

    def case(self, name: str) -> tuple[Image, np.ndarray | None]:
        """A case's image, and its label if the pool has any."""
        return self.pool.images[name], None if self.pool.labels is None else self.pool.labels[name]

    def places(self) -> Iterator[tuple[str, list[int]]]:
        """For each patch of a batch a case, and where in it the wide patch begins; before the image's edge too."""
        certain = round(self.size * (1 - OVERSAMPLED))  # from here on they hold foreground
        for number, (case, *spot, kind, voxel) in enumerate(np.random.random((self.size, 6)).tolist()):
            name = self.pool.ids[int(case * len(self.pool.ids))]
            lowest, choices = self._range(self.pool.images[name].array.shape[1:])
            about = self._about(name, kind, foreground=number >= certain)
            if about is None:
                yield name, [low + int(at * n) for low, at, n in zip(lowest, spot, choices, strict=True)]
            else:
                centre = about[int(voxel * len(about)), 1:].tolist()
                half = zip(lowest, centre, self._wide, strict=True)
                yield name, [max(low, at - size // 2) for low, at, size in half]

    def _range(self, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
        """By axis the first place that a wide patch may begin at, and the number of places."""
        if shape not in self._ranges:
            thin = [1] * (len(shape) - len(self.geometry.patch))
            spare = [wide - patch for wide, patch in zip(self._wide, (*thin, *self.geometry.patch), strict=True)]
            spare = [max(more, wide - full) for more, wide, full in zip(spare, self._wide, shape, strict=True)]
            lowest = [-more // 2 for more in spare]
            highest = [
                full + more // 2 + more % 2 - wide for full, more, wide in zip(shape, spare, self._wide, strict=True)
            ]
            self._ranges[shape] = lowest, [high - low + 1 for low, high in zip(lowest, highest, strict=True)]
        return self._ranges[shape]

    @cached_property
    def _wide(self) -> tuple[int, ...]:
        """The wide patch in three axes."""
        return (*[1] * (3 - len(self.geometry.wide)), *self.geometry.wide)

    def _about(self, name: str, kind: float, *, foreground: bool) -> np.ndarray | None:
        """Voxels ``(M, 1 + axes)``, about one of which the patch is to lie; None for anywhere."""
        if self.pool.labels is None or not (foreground or self.annotated):
            return None
        voxels = self.voxels(name)
        if not foreground:
            return voxels.get(self.annotated)
        wanted = [key for key in voxels if key != self.annotated] or list(voxels)
        return voxels[wanted[int(kind * len(wanted))]] if wanted else None

    def voxels(self, name: str) -> Voxels:
        """Where the case's classes are, sampled by nnU-Net; from the pool's own labels, true or pseudo."""
        return self._voxels.get(name, lambda: self._sampled(name))

    def _sampled(self, name: str) -> Voxels:
        if self.pool.labels is None:
            return {}
        label = self.pool.labels[name][:]
        hard = label.argmax(0) if label.ndim == self.pool.images[name].array.ndim else label
        found = DefaultPreprocessor._sample_foreground_locations(hard[None], self.classes, verbose=False)
        return {key: places.astype(np.int32) for key, places in found.items() if len(places)}


def _bytes(voxels: Voxels) -> int:
    return sum(places.nbytes for places in voxels.values())


def cut(array: Any, lower: Sequence[int], target: np.ndarray) -> None:
    """Fill ``target`` ``(..., *size)`` with what ``array`` ``(..., *spatial)`` has from ``lower`` on.

    A target without the first spatial axis gets the slice at ``lower[0]``. What lies beyond the array stays as it is.
    """
    others = array.ndim - len(lower)
    if target.ndim < array.ndim:
        target = target[(*[slice(None)] * others, None)]
    source, goal = [slice(None)] * others, [slice(None)] * others
    for low, size, full in zip(lower, target.shape[others:], array.shape[others:], strict=True):
        begin, end = max(low, 0), min(low + size, full)
        if begin >= end:
            return
        source.append(slice(begin, end))
        goal.append(slice(begin - low, end - low))
    target[tuple(goal)] = array[tuple(source)]


def outside_of(image: Image) -> Any:
    """The mask of the voxels that normalisation left out, if there is one."""
    return getattr(image, "outside", None)
