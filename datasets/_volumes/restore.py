"""From logits in the training geometry to classes in the original one, as nnU-Net does it, a few planes at a time.

nnU-Net resamples the logits of all classes to the original size, in double precision, and then takes the largest. That
is linear along each axis, or nearest along the coarsest one, so a plane of the result needs two planes of logits at
most: what is in memory does not grow with the number of planes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from atso_bench.benchmark.machine import memory
from atso_bench.benchmark.task import Image
from atso_bench.benchmark.training.labels import largest, placed

PIECE = 1 << 26
"""Bytes of the logits that are resampled at once; at least one plane."""


@dataclass(frozen=True)
class Resampling:
    """nnU-Net's resampling of logits with ``order`` 1 and ``order_z`` 0.

    Attributes:
        before: ``(*spatial)`` of the logits.
        after: ``(*spatial)`` of the result.
        coarse: the axis along which the nearest voxel is taken; None if there is none.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    coarse: int | None

    def classes(self, slabs: Iterable[Tensor], out: np.ndarray) -> None:
        """Write the classes of logits ``(K, n, *rest)``, which come in order along the first axis, into ``out``."""
        if self.before == self.after:
            for place, slab in placed(slabs):
                out[place] = largest(slab)
            return
        below, above, share = self._neighbours()
        done, first, kept = 0, 0, torch.empty(0)  # planes written, the first of the planes kept, and these
        for piece in self._thin(slabs):
            kept = torch.cat([kept, self._in_plane(piece)]) if len(kept) else self._in_plane(piece)
            last = first + len(kept)
            ready = int(np.searchsorted(above, last))  # before it, planes have both neighbours
            for begin, end in _pieces(done, ready, len(piece[0])):
                low, high = (torch.from_numpy(side[begin:end] - first) for side in (below, above))
                mixed = kept[low]
                if share[begin:end].any():
                    more = torch.from_numpy(share[begin:end]).view(-1, 1, 1, 1)
                    mixed.mul_(1 - more).addcmul_(kept[high], more)
                out[begin:end] = largest(mixed.half().movedim(1, 0))  # nnU-Net's precision
            done = ready
            needed = min(int(below[done]), last) if done < len(below) else last
            kept, first = kept[needed - first :].clone(), needed

    def _neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each plane of the result the planes of logits at either side, and the share of the second."""
        before, after = self.before[0], self.after[0]
        at = (np.arange(after) + 0.5) * (before / after) - 0.5
        if self.coarse == 0:
            near = nearest(before, after)
            return near, near, np.zeros(after)
        at = at.clip(0, before - 1)
        below = np.floor(at).astype(np.int64)
        return below, np.minimum(below + 1, before - 1), at - below

    def _in_plane(self, piece: Tensor) -> Tensor:
        """``(K, n, *rest)`` to double precision ``(n, K, *rest)``, with the size of the result in the plane."""
        planes = piece.movedim(1, 0).double()
        size = list(self.after[1:])
        if self.coarse:  # one of the axes in the plane
            place = torch.from_numpy(nearest(self.before[self.coarse], self.after[self.coarse]))
            planes = planes.index_select(self.coarse + 1, place)
        if list(planes.shape[2:]) == size:
            return planes
        return F.interpolate(planes, size=size, mode="bilinear", align_corners=False)

    def _thin(self, slabs: Iterable[Tensor]) -> Iterator[Tensor]:
        for slab in slabs:
            step = max(1, PIECE // (8 * slab.shape[0] * math.prod(self.after[1:])))
            yield from (slab[:, begin:end] for begin, end in _pieces(0, slab.shape[1], step))


Restorer = Callable[[Iterable[Tensor], np.ndarray], None]
"""Writes the classes of slabs of logits ``(K, n, *rest)`` into an array of another size."""


def restorer(configuration: Any, image: Image, transpose: Sequence[int]) -> Restorer:
    """What restores an image's logits by the plan: plane by plane, or by nnU-Net's own function, class by class."""
    before = tuple(int(size) for size in image.array.shape[1:])
    after = tuple(int(size) for size in image.properties["shape_after_cropping_and_before_resampling"])
    new = [image.properties["spacing"][axis] for axis in transpose]
    current = [*new[: len(after) - len(configuration.spacing)], *configuration.spacing]
    plan = configuration.configuration
    options = plan["resampling_fn_probabilities_kwargs"]
    if _is_linear(plan["resampling_fn_probabilities"], options):
        return Resampling(before, after, coarse_axis(options, current, new)).classes

    def whole(slabs: Iterable[Tensor], out: np.ndarray) -> None:
        _by_class(slabs, before, lambda one: configuration.resampling_fn_probabilities(one, after, current, new), out)

    return whole


def needed(classes: int, after: Sequence[int]) -> int:
    """Bytes that restoring takes: planes in double precision, those kept, twice while new ones join, and mixtures."""
    plane = 8 * classes * math.prod(after[1:])
    return 8 * max(plane, min(PIECE, plane * after[0]))


def _by_class(
    slabs: Iterable[Tensor], before: Sequence[int], resample: Callable[[Tensor], Any], out: np.ndarray
) -> None:
    """Resampling that mixes many planes needs all logits; of the resampled ones, one class is in memory at a time."""
    logits = None
    for place, slab in placed(slabs):
        if logits is None:
            size = 2 * len(slab) * math.prod(before)
            memory.require(size, "resampling the logits as this plan's resampling_fn_probabilities has it")
            logits = torch.empty((len(slab), *before), dtype=torch.half)
        logits[:, place] = slab
    assert logits is not None
    best = torch.as_tensor(resample(logits[:1]))[0]
    out[:] = 0
    for number in range(1, len(logits)):
        channel = torch.as_tensor(resample(logits[number : number + 1]))[0]
        out[(channel > best).numpy()] = number
        best = torch.maximum(best, channel)


def _is_linear(function: str, options: Mapping[str, Any]) -> bool:
    """Whether a plan's resampling of logits is the one that ``Resampling`` does: nnU-Net's default."""
    known = {"is_seg": False, "order": 1, "order_z": 0}
    return function == "resample_data_or_seg_to_shape" and all(options.get(k) == v for k, v in known.items())


def coarse_axis(options: Mapping[str, Any], current: Sequence[float], new: Sequence[float]) -> int | None:
    """The axis along which nnU-Net takes the nearest voxel, going from the spacing ``current`` to ``new``."""
    from nnunetv2.preprocessing.resampling.default_resampling import ANISO_THRESHOLD, determine_do_sep_z_and_axis

    threshold = options.get("separate_z_anisotropy_threshold", ANISO_THRESHOLD)
    separate, axis = determine_do_sep_z_and_axis(options.get("force_separate_z"), current, new, threshold)
    return int(axis) if separate and axis is not None else None


def nearest(before: int, after: int) -> np.ndarray:
    """As ``scipy.ndimage.map_coordinates`` with order 0 picks them for nnU-Net."""
    at = float(before) / after * (np.arange(after) + 0.5) - 0.5
    return np.floor(at + 0.5).clip(0, before - 1).astype(np.int64)


def _pieces(begin: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    return ((low, min(low + most, end)) for low in range(begin, end, most))
