"""In what precision a device trains: that of its matrix units, which are several times as fast as float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

EXACT = "float32"
"""On a CPU, which is slower with less."""


def precision(device: torch.device) -> str:
    """``bfloat16`` on GPUs that have it, ``float16`` on older ones, as nnU-Net has it, and ``float32`` on a CPU."""
    if device.type != "cuda":
        return EXACT
    with torch.cuda.device(device):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def autocast(device: torch.device) -> torch.autocast:
    """Forward passes of a training in the device's precision."""
    found = precision(device)
    dtype = torch.bfloat16 if found == EXACT else getattr(torch, found)
    return torch.autocast(device.type, dtype=dtype, enabled=found != EXACT)


class Update:
    """Backward pass, clipping and optimiser's step; in float16 of a scaled loss, for its small gradients become 0.

    A step whose scaled gradients are not finite is left out, and the scale halved. Nothing here waits for the device.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision(device) == "float16")
        if self.scaler.is_enabled():
            self._begin()

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss, scaled where it has to be."""
        self.scaler.scale(loss).backward()

    def step(self, learners: list[nn.Module], clip: float | None) -> None:
        """Clip the gradients of each network to this norm and step."""
        self.scaler.unscale_(self.optimizer)
        if clip is not None:
            for network in learners:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _begin(self) -> None:
        """Momentum 0: where the first step is left out, torch would go on with memory that was never written."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
