"""Used by more than one method: heads, consistency losses, the ramp-up."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def softmax_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the class probabilities; both are logits ``(N, K, *spatial)``."""
    return (student.softmax(1) - teacher.softmax(1)).square().mean()


def confident(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Classes ``(N, *spatial)`` of logits ``(N, K, *spatial)``, and where their probability is above ``threshold``."""
    probability, classes = logits.detach().float().softmax(1).max(1)
    return classes, probability > threshold


def where_confident(logits: Tensor, classes: Tensor, sure: Tensor) -> Tensor:
    """Cross-entropy where ``sure``, as a mean over all voxels: those that are not sure train nothing.

    Args:
        logits: ``(N, K, *spatial)``.
        classes: ``(N, *spatial)`` int64.
        sure: ``(N, *spatial)`` boolean.
    """
    return (F.cross_entropy(logits.float(), classes, reduction="none") * sure).mean()


def sigmoid_rampup(progress: float, length: float) -> float:
    """``exp(-5 (1 - t)^2)`` with ``t = progress / length``, 1 from ``length`` on (Laine and Aila, ICLR 2017).

    >>> sigmoid_rampup(0.2, 0.2), sigmoid_rampup(0.9, 0.0), round(sigmoid_rampup(0.0, 0.2), 4)
    (1.0, 1.0, 0.0067)
    """
    t = min(1.0, progress / length) if length > 0 else 1.0
    return math.exp(-5 * (1 - t) ** 2)
