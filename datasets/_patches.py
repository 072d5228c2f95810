"""Which patches a batch is made of, by nnU-Net's rules, and how they are cut out of the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from atso_bench.benchmark.task import Draw, Pool
from atso_bench.datasets._chances import Geometry

OVERSAMPLED = 0.33  # share of a batch that holds foreground for sure, as in nnU-Net


class PatchDraw(Draw):
    """Base of draws from volumes: places are a function of NumPy's global random state, no more.

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
        cases = SimpleNamespace(identifiers=list(pool.ids))
        self.loader = nnUNetDataLoader(
            cases, size, geometry.wide, geometry.patch, label_manager, oversample_foreground_percent=OVERSAMPLED
        )
        self.loader.has_ignore = label_manager.has_ignore_label and pool.labels is not None
        if self.loader.has_ignore:
            self.classes.append(list(self.loader.annotated_classes_key))
        self._locations: dict[str, Any] = {}

    def places(self) -> Iterator[tuple[str, list[int]]]:
        """For each patch of a batch a case, and where in it the wide patch begins; before the image's edge too."""
        for number, index in enumerate(np.random.randint(len(self.pool.ids), size=self.size)):
            name = self.pool.ids[index]
            label = None if self.pool.labels is None else self.pool.labels[name]
            foreground = self.loader.get_do_oversample(number) and label is not None
            where = None if label is None else self._find(name, label)
            lower, _ = self.loader.get_bbox(self.pool.images[name].array.shape[1:], foreground, where)
            yield name, [int(low) for low in lower]

    def _find(self, name: str, label: np.ndarray) -> Any:
        """Where the classes are, sampled by nnU-Net; from the pool's own labels, true or pseudo."""
        if name not in self._locations:
            hard = label.argmax(0) if label.ndim == self.pool.images[name].array.ndim else label
            sample = DefaultPreprocessor._sample_foreground_locations
            self._locations[name] = sample(np.asarray(hard)[None], self.classes, verbose=False)
        return self._locations[name]


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
