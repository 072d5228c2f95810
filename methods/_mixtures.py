"""Mixtures of labelled and unlabelled patches: partners, boxes of random size, losses that weigh regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from atso_bench.benchmark.task import IGNORE
from atso_bench.benchmark.training.boxes import boxes


def repeated(part: Tensor, number: int) -> Tensor:
    """``number`` samples of ``part`` ``(N, ...)``, from the first again where it has fewer."""
    return torch.cat([part] * math.ceil(number / len(part)))[:number] if len(part) != number else part


def random_boxes(number: int, patch: Sequence[int], beta: tuple[float, float], device: torch.device) -> Tensor:
    """A box in each of ``number`` patches, ``(N, 1, *patch)`` boolean, all of one size and in the patch's proportions.

    The share of the patch that they cover is drawn from a Beta distribution.
    """
    high, low = (torch.tensor(number) for number in beta)
    share = torch.distributions.Beta(high, low).sample().item()  # on the CPU
    return boxes(number, patch, (share, share), aspect=1.0, device=device)


def known(label: Tensor) -> tuple[Tensor, Tensor]:
    """Classes ``(N, *patch)`` of true labels, 0 where there is none, and where there is one."""
    there = label != IGNORE
    return torch.where(there, label, 0), there


def cross_entropy(logits: Tensor, classes: Tensor, where: Tensor) -> Tensor:
    """Mean over the voxels ``where``, 0 if there are none; the rest as in ``dice``."""
    losses = F.cross_entropy(logits.float(), classes, reduction="none")
    return (losses * where).sum() / where.sum().clamp_min(1)


def dice(logits: Tensor, classes: Tensor, where: Tensor) -> Tensor:
    """1 - soft Dice over the voxels ``where`` of a batch, as a mean over all classes.

    Args:
        logits: ``(N, K, *spatial)``.
        classes: ``(N, *spatial)`` int64.
        where: ``(N, *spatial)`` boolean.
    """
    chances = logits.float().softmax(1) * where[:, None]
    truth = torch.zeros_like(chances).scatter_(1, classes[:, None], 1.0) * where[:, None]
    axes = [0, *range(2, logits.ndim)]
    overlap, total = (chances * truth).sum(axes), (chances + truth).sum(axes)
    return 1 - ((2 * overlap + 1e-5) / (total + 1e-5)).mean()


def dice_and_cross_entropy(output: Any, classes: Tensor, where: Tensor) -> Tensor:
    """Half of their sum over the voxels ``where``, of all heads with weights 1, 1/2, 1/4 ... 0, as nnU-Net has them."""
    heads = output if isinstance(output, list | tuple) else [output]
    weights = [0.5**number for number in range(len(heads))]
    if len(heads) > 1:
        weights[-1] = 0.0
    losses = []
    for head, weight in zip(heads, weights, strict=True):
        if weight:
            sized = _resized(classes, head).long(), _resized(where, head) > 0
            losses.append(weight * (dice(head, *sized) + cross_entropy(head, *sized)) / 2)
    return torch.stack(losses).sum() / sum(weights)


def _resized(part: Tensor, head: Tensor) -> Tensor:
    """``(N, *patch)`` at the size of a head ``(N, K, *spatial)``, by the nearest voxel."""
    if part.shape[1:] == head.shape[2:]:
        return part
    return F.interpolate(part[:, None].float(), size=head.shape[2:], mode="nearest-exact")[:, 0]
