"""What benchmarks say: goals, rows of the table, and the clock that they are measured by."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

Action = Callable[[], Any]
T = TypeVar("T")

TABLE = Path(os.environ["ATSO_BENCH_TABLE"]) if os.environ.get("ATSO_BENCH_TABLE") else None
"""Where the table goes. Without it nothing is measured: the suite runs each benchmark once and small, so none rots."""


def sized(measured: T, small: T) -> T:
    """The size of something to measure, and that of a mere try."""
    return measured if TABLE else small


@dataclass(frozen=True)
class Goal:
    """What was aimed at: ``met`` judges the opponent's seconds over ours, and our seconds."""

    words: str
    met: Callable[[float, float], bool]


def faster(times: float) -> Goal:
    """At least ``times`` as fast as the opponent."""
    return Goal(f"≥ {times:g} x", lambda ratio, seconds: ratio >= times)


def overhead(most: float) -> Goal:
    """At most ``most`` times the opponent's seconds, where the opponent is a bound."""
    return Goal(f"≤ {most:g} x the time", lambda ratio, seconds: 1 / ratio <= most)


def within(most: float) -> Goal:
    """At most so many seconds."""
    return Goal(f"≤ {most:g} s", lambda ratio, seconds: seconds <= most)


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds."""

    part: str
    opponent: str
    theirs: float
    ours: float
    ratio: float
    goal: Goal | None

    def cells(self) -> list[str]:
        met = "" if self.goal is None else "yes" if self.goal.met(self.ratio, self.ours) else "**no**"
        words = "" if self.goal is None else self.goal.words
        ratio = f"{self.ratio:.3g}" if self.opponent else ""
        return [self.part, self.opponent, said(self.theirs), said(self.ours), ratio, words, met]


HEAD = ["part", "opponent or bound", "its time", "ours", "its time / ours", "goal", "met"]


def often(action: Action, times: int) -> Action:
    def repeated() -> None:
        for _ in range(times):
            action()

    return repeated


@cache
def _start() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def now() -> float:
    """Seconds by CUDA events on a GPU, whose queue is empty at each reading; else by the process's clock."""
    if not torch.cuda.is_available():
        return time.perf_counter()
    start, event = _start(), torch.cuda.Event(enable_timing=True)
    event.record()
    event.synchronize()
    return start.elapsed_time(event) / 1000


def said(taken: float) -> str:
    """Seconds in the unit that reads best."""
    if taken != taken:
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if taken >= scale:
            return f"{taken / scale:.3g} {unit}"
    return f"{taken * 1e9:.3g} ns"
