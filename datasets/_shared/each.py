"""Work on many files by several processes, with progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import get_context
from typing import TypeVar

from atso_bench.benchmark.machine.processor import cores

Item = TypeVar("Item")


Result = TypeVar("Result")


Say = Callable[[str], None]
"""Takes a line for the user."""


_QUIET_SECONDS = 15.0


_POOL_BYTES = (
    256 << 20
)  # below this amount of raw data, starting processes (each imports torch) takes longer than the work


def each(
    function: Callable[[Item], Result], items: Sequence[Item], size: int, what: str = "", say: Say | None = None
) -> list[Result]:
    """``[function(item) for item in items]``, in several processes if the data (``size`` bytes) is large."""
    processes = min(cores(), 8, len(items))
    if size < _POOL_BYTES or processes < 2:
        return list(_counted(map(function, items), len(items), what, say))
    with get_context("spawn").Pool(processes, initializer=_one_thread) as pool:
        return list(_counted(pool.imap(function, items), len(items), what, say))


def _counted(results: Iterable[Result], total: int, what: str, say: Say | None) -> Iterator[Result]:
    said = time.monotonic()
    for done, result in enumerate(results, start=1):
        if say is not None and time.monotonic() - said > _QUIET_SECONDS:
            said = time.monotonic()
            say(f"{what}: {done} of {total}")
        yield result


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
