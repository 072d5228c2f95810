"""What more than one method uses: the main head, the consistency loss, the ramp-up, the moving average."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def main_head(output: Any) -> Tensor:
    """The full-resolution logits ``(N, K, *spatial)``; with deep supervision the first of several heads."""
    head = output[0] if isinstance(output, list | tuple) else output
    return torch.as_tensor(head)


def rows(output: Any, start: int, stop: int) -> Any:
    """Samples ``start`` to ``stop`` of a network's output, of every head where there are several."""
    if isinstance(output, list | tuple):
        return [head[start:stop] for head in output]
    return output[start:stop]


def softmax_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the class probabilities; both are logits ``(N, K, *spatial)``."""
    return (student.softmax(1) - teacher.softmax(1)).square().mean()


def sigmoid_rampup(progress: float, length: float) -> float:
    """``exp(-5 (1 - t)^2)`` with ``t = progress / length``, 1 from ``length`` on (Laine and Aila, ICLR 2017).

    >>> sigmoid_rampup(0.2, 0.2), sigmoid_rampup(0.9, 0.0), round(sigmoid_rampup(0.0, 0.2), 4)
    (1.0, 1.0, 0.0067)
    """
    t = min(1.0, progress / length) if length > 0 else 1.0
    return math.exp(-5 * (1 - t) ** 2)


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """``teacher <- decay * teacher + (1 - decay) * student``; batch-norm statistics too, counters are copied."""
    pairs = list(zip(teacher.state_dict().values(), student.state_dict().values(), strict=True))
    averaged = [(t, s) for t, s in pairs if t.is_floating_point()]
    torch._foreach_lerp_([t for t, _ in averaged], [s for _, s in averaged], 1 - decay)
    for t, s in pairs:
        if not t.is_floating_point():
            t.copy_(s)
