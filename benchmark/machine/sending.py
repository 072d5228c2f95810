"""Small tensors on their way to a device, for which the host does not wait."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The same values on ``device``; at most 64 KB, which CUDA takes from any memory without waiting for its queue."""
    return values.to(device, non_blocking=True)


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """These numbers ``(n)`` on ``device``, sent once for the whole process; nobody may change them."""
    with torch.inference_mode(False):  # a tensor of inference mode could not take part in a training later
        return torch.tensor(values, dtype=dtype).to(device)
