"""Seconds, processor time, joules and bytes, measured so that queued GPU work is not missed."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from atso_bench.benchmark.machine.energy import UnmeasuredError, meter
from atso_bench.benchmark.machine.processor import cpu_seconds

BLUR = 0.05
"""Share of a phase's seconds whose energy may lie on the wrong side of a pause; with more, its joules are unknown."""


class Stopwatch:
    """Adds up the seconds, processor time and joules of one phase, over pauses and over interruptions of the process.

    On a CUDA device the time between two events on the stream is taken, with the queue drained at both ends; on a
    CPU the wall clock. The device's counters of energy are read outside the time that is taken.

    Attributes:
        seconds: what has been measured so far.
        cpu_seconds: seconds of all cores in this process and its loaders meanwhile, which other work on the machine
            hardly moves; None where it was not measured.
    """

    def __init__(
        self,
        device: torch.device,
        seconds: float = 0.0,
        joules: float | None = 0.0,
        cpu_seconds: float | None = 0.0,
    ) -> None:
        """Go on from what was measured before an interruption; None for what was not."""
        self.device = device
        self.seconds, self.cpu_seconds = seconds, cpu_seconds
        self._joules = joules
        self._closed, self._blurred = -math.inf, 0.0
        try:
            self._meter = meter(device)
        except UnmeasuredError:
            self._joules = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def running(self) -> Iterator[None]:
        busy = cpu_seconds()
        try:
            with self._timed():
                yield
        finally:
            if self.cpu_seconds is not None:
                self.cpu_seconds += max(0.0, cpu_seconds() - busy)  # less, if a loader has died

    @contextmanager
    def _timed(self) -> Iterator[None]:
        if self.device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            stream = torch.cuda.current_stream(self.device)  # the process's current device may be another one
            torch.cuda.synchronize(self.device)
            before = self._open()
            start.record(stream)
            try:
                yield
            finally:
                stop.record(stream)
                torch.cuda.synchronize(self.device)
                self._add(start.elapsed_time(stop) / 1000, before)
        else:
            before = self._open()
            started = time.perf_counter()
            try:
                yield
            finally:
                self._add(time.perf_counter() - started, before)

    @property
    def joules(self) -> float | None:
        """What the device drew while this ran, all of it, others' work included; None where it was not measured.

        Nothing at all is not measured either: the counter did not move in so short a time. Nor is what came in
        stretches too short for the counter. A reading is as old as the counter's last move, so the energy of a
        stretch's end is counted in the pause behind it, and that of the pause before it in the stretch: each pause puts
        half a period in the wrong place, or its own length if that is less, for then the next stretch has the rest.
        """
        return None if self._blurred > BLUR * self.seconds else self._joules or None

    @property
    def device_bytes(self) -> int | None:
        """Peak memory of the device since this stopwatch was made; None on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    def _open(self) -> list[float] | None:
        """The energy counters at the end of a pause."""
        before = self._counters()
        if before is not None:
            self._blurred += min(time.perf_counter() - self._closed, self._meter.period / 2)
        return before

    def _counters(self) -> list[float] | None:
        """The energy counters; None where one part of the phase was not measured, and so the phase cannot be."""
        if self._joules is None:
            return None
        try:
            return self._meter.read()
        except UnmeasuredError:
            return None

    def _add(self, seconds: float, before: list[float] | None) -> None:
        self.seconds += seconds
        self._closed = time.perf_counter()
        after = self._counters()
        if self._joules is None or before is None or after is None:
            self._joules = None
            return
        drawn = self._meter.drawn(before, after, seconds)
        self._joules = None if drawn is None else self._joules + drawn


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Seconds that ``action`` takes, with the device's queue drained at both ends."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def process_bytes() -> int:
    """Peak resident memory of this process since it started."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
