"""How the check of a GPU measures: medians by CUDA's events, waits of the host, kernels and the device's idle share."""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from atso_bench.benchmark.training.loop import Training

MOST = 300
"""Rounds of one measurement."""
WARM, WATCHED, PROFILED = 5, 4, 5
"""Steps that do not count, those in which waits are sought, and those that are profiled."""


def timed(action: Callable[[], Any], seconds: float = 1.0) -> float:
    """Median milliseconds of ``action`` on the device."""
    for _ in range(3):
        action()
    torch.cuda.synchronize()
    taken: list[float] = []
    began = time.monotonic()
    while len(taken) < 3 or (time.monotonic() - began < seconds and len(taken) < MOST):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        action()
        stop.record()
        stop.synchronize()
        taken.append(start.elapsed_time(stop))
    return statistics.median(taken)


def of_steps(training: Training, seconds: float, *, emulated: bool) -> dict[str, Any]:
    """Figures of one step of a training that stands still, its data included.

    Returns:
        ``ms`` of a step, ``host ms`` until it is queued, ``peak GB``, ``waits`` of the host by line, and on a real
        GPU ``kernels``, ``busy ms`` of the device, its ``idle`` share, and the kernels that take longest.
    """
    training.losses.window = 1 << 30
    torch.cuda.reset_peak_memory_stats()
    with training._batches() as batches:

        def step() -> None:
            training._one_step(next(batches))

        warm, least, watched = (1, 1, 1) if emulated else (WARM, 5, WATCHED)
        for _ in range(warm):
            step()
        torch.cuda.synchronize()
        began, steps = time.perf_counter(), 0
        while steps < least or (time.perf_counter() - began < seconds and steps < MOST):
            step()
            steps += 1
        torch.cuda.synchronize()
        each = (time.perf_counter() - began) / steps
        began = time.perf_counter()
        step()
        queued = time.perf_counter() - began
        with waits() as found:
            for _ in range(watched):
                step()
        row = {"ms": 1e3 * each, "host ms": 1e3 * queued, "peak GB": torch.cuda.max_memory_allocated() / 1e9}
        row["waits"] = {line: number / watched for line, number in found.items()}
        return row if emulated else {**row, **kernels(step)}


@contextmanager
def waits() -> Iterator[Counter[str]]:
    """The lines at which torch waits for the device within this."""
    found: Counter[str] = Counter()
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=".*synchronizing CUDA operation")
        warnings.showwarning = lambda *_, **__: found.update([_line()])  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")


def kernels(step: Callable[[], None]) -> dict[str, Any]:
    """What the device did in some steps, of each."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        began = time.perf_counter()
        for _ in range(PROFILED):
            step()
        torch.cuda.synchronize()
        whole = time.perf_counter() - began
    done = [event for event in seen.events() if str(event.device_type).endswith("CUDA")]
    busy, until = 0.0, 0.0
    for start, end in sorted((event.time_range.start, event.time_range.end) for event in done):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    names: Counter[str] = Counter()
    for event in done:
        names[event.name[:60]] += event.time_range.end - event.time_range.start
    longest = {name: round(taken / PROFILED / 1e3, 3) for name, taken in names.most_common(8)}
    return {
        "kernels": len(done) / PROFILED,
        "busy ms": busy / PROFILED / 1e3,
        "idle": 1 - busy / 1e6 / whole,
        "longest ms": longest,
    }


def _line() -> str:
    """The line of the project that is being carried out."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if any(f"/{part}/" in name for part in ("benchmark", "datasets", "methods")) and "execution.py" not in name:
            return f"{'/'.join(name.rsplit('/', 2)[1:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
