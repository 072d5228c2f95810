"""Seconds and bytes, measured so that queued GPU work is not missed."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of one phase, over pauses and over interruptions of the process.

    On a CUDA device the time between two events on the stream is taken, with the queue drained at both ends; on a
    CPU the wall clock.

    Attributes:
        seconds: what has been measured so far.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self.device = device
        self.seconds = seconds
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def running(self) -> Iterator[None]:
        if self.device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            stream = torch.cuda.current_stream(self.device)  # the process's current device may be another one
            torch.cuda.synchronize(self.device)
            start.record(stream)
            try:
                yield
            finally:
                stop.record(stream)
                torch.cuda.synchronize(self.device)
                self.seconds += start.elapsed_time(stop) / 1000
        else:
            started = time.perf_counter()
            try:
                yield
            finally:
                self.seconds += time.perf_counter() - started

    @property
    def device_bytes(self) -> int | None:
        """Peak memory of the device since this stopwatch was made; None on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None


def process_bytes() -> int:
    """Peak resident memory of this process since it started."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
