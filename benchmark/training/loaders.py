"""Processes that make batches ahead of the training, as many as the memory that they hand batches over in can hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from atso_bench.benchmark.machine.stopping import postponed
from atso_bench.benchmark.training.batches import Batches

AHEAD = 4
"""Batches that a loader process may be ahead."""
SHARED = Path("/dev/shm")
AMPLE = 8 << 30
"""Bytes of free shared memory with which no batch is looked at: docker gives 64 MB, other systems half of the RAM."""
SHARE = 0.8
"""Of the free shared memory that batches may take."""
SECONDS = 600.0
"""Without a batch for so long, loaders are taken for dead: they wait for ever for shared memory that is not there."""


@contextmanager
def loading(
    batches: Batches, steps: range, workers: int, device: torch.device, warn: Callable[[str], object]
) -> Iterator[Iterator[Any]]:
    """The batches of ``steps``, made by at most ``workers`` processes; in pinned memory for a GPU.

    Raises:
        RuntimeError: in the iterator, if the loaders are dead or give nothing for ``SECONDS``.
    """
    workers, ahead = _fitting(batches, steps, workers, warn)
    loader: DataLoader[Any] = DataLoader(
        batches,  # type: ignore[arg-type]
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        pin_memory=device.type == "cuda",
        timeout=SECONDS if workers else 0,
    )
    with postponed():  # its processes never hear of signals to all, which would take the training along
        made = iter(loader)
    try:
        yield made
    finally:
        # left to the garbage collector, the workers' end would swallow a Ctrl-C that comes meanwhile
        getattr(made, "_shutdown_workers", lambda: None)()
        for process in getattr(made, "_workers", ()):
            process.kill()  # one that hangs does not hear torch's SIGTERM
            process.join(1.0)


def _fitting(batches: Batches, steps: range, workers: int, warn: Callable[[str], object]) -> tuple[int, int]:
    """How many processes, and how many batches each may be ahead, so that their batches fit into shared memory."""
    workers = min(workers, len(steps))
    free = _free()
    if not workers or free is None or free >= AMPLE:
        return workers, AHEAD
    size = _bytes(batches[steps[0]])
    room = int(SHARE * free / max(1, size)) - 1  # one is on its way to the device
    fit, ahead = min(workers, max(0, room)), AHEAD
    while fit and ahead > 1 and fit * ahead > room:
        ahead -= 1
    if (fit, ahead) != (workers, AHEAD):
        warn(
            f"shared memory ({SHARED}) has {free / 1e6:.0f} MB free and a batch takes {size / 1e6:.1f} MB, so that "
            f"{fit} of {workers} loader processes work, {ahead} batches ahead; the run is slower, not wrong. Start "
            "the container with --shm-size 8g"
        )
    return fit, ahead


def _free() -> int | None:
    """Bytes of shared memory; None where there is no such place."""
    try:
        found = os.statvfs(SHARED)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _bytes(value: Any) -> int:
    """Of all tensors in a batch."""
    if isinstance(value, Tensor):
        return value.nbytes
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return sum(map(_bytes, parts))
