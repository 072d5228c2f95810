"""Turns logits into labels (classes or probabilities), piece by piece for large volumes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atso_bench.benchmark.machine import memory
from atso_bench.benchmark.task import IGNORE


@dataclass(frozen=True)
class Style:
    """How pseudo labels are written.

    Attributes:
        soft: class probabilities instead of classes.
        mirror: predictions are averaged over mirrored inputs.
        largest: of each class the largest connected component stays, the rest becomes background.
        confidence: probability below which a voxel gets ``IGNORE`` for its label.
    """

    soft: bool
    mirror: bool
    largest: bool = False
    confidence: float = 0.0

    @property
    def facts(self) -> dict[str, float]:
        """What labels depend on; what came later counts where it differs."""
        later = {"largest": self.largest, "confidence": self.confidence}
        return {"soft": self.soft, "mirror": self.mirror, **{name: value for name, value in later.items() if value}}


def largest_components(label: np.ndarray) -> np.ndarray:
    """Classes ``(*spatial)`` of which each but 0 keeps its largest connected component; corners connect.

    Of components of equal size all stay, as in nnU-Net's post-processing, whose function this is.
    """
    from acvl_utils.morphology.morphology_helper import remove_all_but_largest_component

    kept = np.zeros_like(label)
    for number in np.unique(label[label > 0]):
        kept[remove_all_but_largest_component(label == number)] = number
    return kept


def as_label(slabs: Iterable[Tensor], shape: Sequence[int], classes: int, soft: bool) -> np.ndarray:
    """Logits ``(K, n, *rest)``, in order along the first axis, as pseudo labels.

    Args:
        slabs: the logits.
        shape: ``(*spatial)``, of them together.
        classes: K.
        soft: whether to give class probabilities.

    Returns:
        uint8 ``(*spatial)``, or soft float16 ``(K, *spatial)``.

    Raises:
        MemoryError: before anything is computed, if soft labels do not fit into memory.
    """
    if not soft:
        label = np.empty(tuple(shape), np.uint8)
        for place, slab in placed(slabs):
            label[place] = largest(slab)
        return label
    size = 2 * classes * math.prod(shape)
    memory.require(size, f"one case's soft labels, {tuple(shape)} voxels of {classes} classes,")
    chances = np.empty((classes, *shape), np.float16)
    for place, slab in placed(slabs):
        chances[:, place] = slab.float().softmax(0).half().cpu().numpy()
    return chances


def styled(slabs: Iterable[Tensor], shape: Sequence[int], classes: int, style: Style) -> np.ndarray:
    """As ``as_label``, with the largest components and the confident voxels alone where ``style`` says so."""
    unsure = np.zeros(tuple(shape), bool) if style.confidence else None
    label = as_label(slabs if unsure is None else _judged(slabs, style.confidence, unsure), shape, classes, style.soft)
    label = largest_components(label) if style.largest else label
    if unsure is not None:
        label[unsure] = IGNORE
    return label


def _judged(slabs: Iterable[Tensor], confidence: float, unsure: np.ndarray) -> Iterator[Tensor]:
    """The same slabs; notes in ``unsure`` ``(*spatial)`` where no class has that probability."""
    for place, slab in placed(slabs):
        unsure[place] = (_probability(slab) < confidence).cpu().numpy()
        yield slab


def _probability(logits: Tensor) -> Tensor:
    """Of the likeliest class, float32 ``(*spatial)``, by logits ``(K, *spatial)``; no float copy of all classes."""
    best = logits.amax(0).float()
    total = torch.zeros_like(best)
    for channel in logits:
        total += (channel.float() - best).exp()
    return 1 / total


def placed(slabs: Iterable[Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """Slabs ``(K, n, *rest)``, with their places along the first spatial axis."""
    begin = 0
    for slab in slabs:
        yield slice(begin, begin + slab.shape[1]), slab
        begin += slab.shape[1]


def largest(logits: Tensor) -> np.ndarray:
    """The class, uint8 ``(*spatial)``, of the largest of logits ``(K, *spatial)``; of equals the first.

    Class by class, which takes a quarter of argmax's time and no float copy of all classes.
    """
    best = logits[0].float().clone()  # a copy where it is float already
    label = torch.zeros(best.shape, dtype=torch.uint8, device=logits.device)
    for number in range(1, len(logits)):
        channel = logits[number].float()
        label.masked_fill_(channel > best, number)
        torch.maximum(best, channel, out=best)
    classes: np.ndarray = label.cpu().numpy()
    return classes


def finite(slabs: Iterable[Tensor], case_id: str) -> Iterator[Tensor]:
    """The same slabs ``(K, n, *rest)``, none of which may hide that a model has diverged.

    Of values that are not finite the class would be the first, and nobody would see it. A class that is impossible may
    have minus infinity.

    Raises:
        FloatingPointError: if a pixel has no largest value.
    """
    for slab in slabs:
        if not slab.amax(0).isfinite().all():
            raise FloatingPointError(
                f"the model's prediction of {case_id} is not finite; lower recipe.lr (--option recipe.lr=...), or look "
                "for NaN voxels with `atso-bench prepare`"
            )
        yield slab
