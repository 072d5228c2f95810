"""Data that live in the device's memory, where that has room: then no loader is needed, and nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from atso_bench.benchmark.task import Draw

SHARE = 0.4
"""Of the device's free memory that data may take; the networks need the rest."""


def held(
    draws: Mapping[str, Draw], device: torch.device, together: int, shelf: dict[Any, Any]
) -> dict[str, Draw] | None:
    """The same draws from the device's memory; None where one of them cannot, or all together are too large.

    Args:
        draws: of a training, by pool.
        device: of the training; a CPU's data are in its memory anyway.
        together: runs that share the device.
        shelf: what the run's draws have brought there so far.
    """
    if device.type != "cuda":
        return None
    room = int(SHARE * _free(device) / together)
    for draw in draws.values():
        weight = draw.weight(room)
        if weight is None or weight > room:
            return None
        room -= weight
    return {name: draw.held(device, shelf) for name, draw in draws.items()}


def _free(device: torch.device) -> int:
    """Bytes, those that torch keeps for itself among them."""
    reserved, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserved - used
