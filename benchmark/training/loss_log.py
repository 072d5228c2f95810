"""The loss terms of a training: means over windows of steps, and a check that they are finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Told = Callable[[int, Mapping[str, float]], object]


class LossLog:
    """Means of the loss terms over windows of steps; they are read from the device once a window."""

    def __init__(self, window: int, told: Told = lambda step, means: None) -> None:
        """``told`` gets each window's last step and means."""
        self.window, self.told = window, told
        self.means: dict[str, list[float]] = {"step": []}
        self.last: float | None = None
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, step: int, terms: Mapping[str, Tensor], phase: str, *, last: bool) -> None:
        for name, term in terms.items():
            value = term.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        if self._count < self.window and not last:
            return
        self.means["step"].append(step)
        totals = torch.stack(list(self._sums.values())).tolist()  # note: a CPU-GPU sync point, the only one
        for name, total in zip(self._sums, totals, strict=True):
            self.means.setdefault(name, []).append(total / self._count)
        self.told(step, {name: self.means[name][-1] for name in self._sums})
        self.last = sum(values[-1] for name, values in self.means.items() if name != "step")
        self._sums, self._count = {}, 0
        if not math.isfinite(self.last):
            raise not_finite("the loss", phase, step)

    @property
    def pending(self) -> list[Tensor]:
        """Sums of the window that is not full yet; they have not been read from the device."""
        return list(self._sums.values())

    def state(self) -> dict[str, Any]:
        return {"means": self.means, "sums": self._sums, "count": self._count, "last": self.last}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.means, self.last = state["means"], state["last"]
        self._sums, self._count = dict(state["sums"]), state["count"]


def not_finite(what: str, phase: str, step: int) -> FloatingPointError:
    return FloatingPointError(
        f"{what} of phase {phase!r} is not finite by step {step}; lower recipe.lr "
        f"(--option recipe.lr=...) or look for NaN voxels with `atso-bench prepare`"
    )
