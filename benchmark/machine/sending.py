"""Small tensors on their way to a device, for which the host does not wait."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

AT_ONCE = 64 << 10
"""Bytes that CUDA takes from any memory without waiting for its queue."""
SMALL, ALIGNED = 16 << 10, 16
"""Bytes up to which a tensor is packed with others, and at whose multiples it begins."""


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The same values on ``device``; at most ``AT_ONCE`` bytes, or the host may wait."""
    return values.to(device, non_blocking=True)


def sent_together(parts: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The same tensors on ``device``, the small ones in a single copy: each copy costs as much as a kernel's launch.

    What is large must be pinned, or the host may wait.
    """
    if device.type == "cpu":
        return dict(parts)
    small = {name: part for name, part in parts.items() if 0 < part.nbytes <= SMALL}
    starts = [0, *accumulate(-(-part.nbytes // ALIGNED) * ALIGNED for part in small.values())]
    packed = torch.empty(starts[-1], dtype=torch.uint8)
    for start, part in zip(starts, small.values(), strict=False):
        packed[start : start + part.nbytes] = part.contiguous().view(-1).view(torch.uint8)
    moved = (packed.pin_memory() if len(packed) > AT_ONCE else packed).to(device, non_blocking=True)
    found = {name: part.to(device, non_blocking=True) for name, part in parts.items() if name not in small}
    for start, (name, part) in zip(starts, small.items(), strict=False):
        found[name] = moved[start : start + part.nbytes].view(part.dtype).view(part.shape)
    return found


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """These numbers ``(n)`` on ``device``, sent once for the whole process; nobody may change them."""
    with torch.inference_mode(False):  # a tensor of inference mode could not take part in a training later
        return torch.tensor(values, dtype=dtype).to(device)
