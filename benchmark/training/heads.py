"""A network's output, which has several heads under deep supervision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def main_head(output: Any) -> Tensor:
    """The full-resolution logits ``(N, K, *spatial)``; with deep supervision the first of several heads."""
    head = output[0] if isinstance(output, list | tuple) else output
    return torch.as_tensor(head)


def rows(output: Any, start: int, stop: int) -> Any:
    """Samples ``start`` to ``stop`` of a network's output, of every head where there are several."""
    if isinstance(output, list | tuple):
        return [head[start:stop] for head in output]
    return output[start:stop]
