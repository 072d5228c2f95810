"""The moving average of a network's weights: a teacher, or a second result beside the network itself."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

DECAY = 0.99
"""Of the average that is kept beside every training where there is a validation set."""


def averaged(network: nn.Module, decay: float = DECAY) -> RunningAverage:
    """A copy of ``network`` that follows it, in evaluation mode."""
    return RunningAverage(deepcopy(network).requires_grad_(False).eval(), network, decay)


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


class RunningAverage(MovingAverage):
    """A moving average whose decay at step t is ``min(1 - 1 / (t + 1), decay)``.

    Attributes:
        known: whether it followed the network from its first step.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module, decay: float) -> None:
        super().__init__(teacher, student)
        self.decay, self.known = decay, True

    def after(self, step: int) -> None:
        """Follow the network after its ``step``-th step."""
        self.update(min(1 - 1 / (step + 1), self.decay))
