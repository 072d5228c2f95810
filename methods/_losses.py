"""Used by more than one method: heads, consistency losses, the ramp-up, the moving average."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


class MovingAverage:
    """A teacher that is the moving average of a student: batch-norm statistics too, counters are copied.

    Each tensor counts once, under however many names it is known. The tensors are looked up once, for a walk through
    both networks takes longer than the average of small ones. They are found anew when a buffer was replaced, as
    ``to(device)`` does; parameters keep their identity when they move or are loaded (but not with
    ``load_state_dict(..., assign=True)``).
    """

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        self.teacher, self.student = teacher, student
        self._look_up()

    @torch.inference_mode()
    def update(self, decay: float) -> None:
        """``teacher <- decay * teacher + (1 - decay) * student``."""
        if any(home.get(name) is not buffer for home, name, buffer in self._buffers):
            self._look_up()
        torch._foreach_lerp_(self._averaged, self._averages, 1 - decay)
        if self._counters:
            torch._foreach_copy_(self._counters, self._counts)

    def _look_up(self) -> None:
        teacher, student = (module.state_dict(keep_vars=True).values() for module in (self.teacher, self.student))
        # nnU-Net's networks name a tensor up to four times (the decoder holds the encoder); it is averaged once
        pairs = {id(old): (old, new) for old, new in zip(teacher, student, strict=True)}.values()
        self._averaged, self._averages = _columns(pair for pair in pairs if pair[0].is_floating_point())
        self._counters, self._counts = _columns(pair for pair in pairs if not pair[0].is_floating_point())
        modules = (*self.teacher.modules(), *self.student.modules())
        homes = [module._buffers for module in modules]
        self._buffers = [(home, name, buffer) for home in homes for name, buffer in home.items()]


def _columns(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    both = list(pairs)
    return [teacher for teacher, _ in both], [student for _, student in both]
