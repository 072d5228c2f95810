"""How torch executes a run: compiled or not, and deterministic as far as possible."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS reads it when it starts, and is deterministic with either of the values that its manual names."""


@dataclass(frozen=True)
class Execution:
    """Nothing here changes a result beyond rounding; phases that were carried out otherwise are other phases.

    Attributes:
        compiled: train with torch.compile.
        deterministic: take torch's deterministic algorithms where there are any; on a CPU there always are.
    """

    compiled: bool = False
    deterministic: bool = False


PLAIN = Execution()


@contextmanager
def settled(execution: Execution) -> Iterator[None]:
    """Torch takes deterministic algorithms for a while, if it is to; begin this before CUDA starts."""
    if not execution.deterministic:
        yield
        return
    import torch

    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fastest, same, named = cudnn.benchmark, cudnn.deterministic, os.environ.get(CUBLAS)
    os.environ.setdefault(CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = fastest, same
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        if named is None:
            os.environ.pop(CUBLAS, None)


@contextmanager
def noticing() -> Iterator[list[str]]:
    """The operations, in their order, of which torch warns that it has no deterministic way; other warnings go on.

    It warns of none unless it was told to be deterministic.
    """
    found: list[str] = []
    shown = warnings.showwarning

    def show(message: Warning | str, *where: Any) -> None:
        operation, lacks, _ = str(message).partition(" does not have a deterministic implementation")
        if not lacks and "not deterministic" not in operation:
            shown(message, *where)
        elif operation not in found:
            found.append(operation)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="(?s).*deterministic")
        warnings.showwarning = show  # type: ignore[assignment]
        yield found
