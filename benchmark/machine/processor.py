"""The processor, the cores that this process may use, and its time, which other work on the machine hardly changes."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

from atso_bench.benchmark.machine.cgroups import around, first

_NAMES = ("model name", "CPU implementer", "CPU variant", "CPU part")
"""Of these Linux says the first on x86, and the others on ARM."""


def kind(described: Path = Path("/proc/cpuinfo")) -> str:
    """Which processor this is, with the instructions that torch takes if it is imported: what decides rounding."""
    try:
        text = described.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        text = ""
    said = [found[1].strip() for name in _NAMES if (found := re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE))]
    name = " ".join(said) or platform.processor() or platform.machine()
    torch = sys.modules.get("torch")
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}" if torch else name


def cores() -> int:
    """How many cores this process may use: not all of the machine's, in a container or under a batch system."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")  # which not every cluster enforces
    return max(1, int(min([allowed, *_quotas(), *([int(given)] if given.isdecimal() else [])])))


def _quotas() -> Iterator[float]:
    """Cores' worth of time that each control group around this process may have."""
    for folder, second in around("cpu"):
        one = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = first(folder / "cpu.max").split() if second else [first(folder / name) for name in one]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            yield int(words[0]) / int(words[1])


def cpu_seconds() -> float:
    """Processor time of this process and of the processes that it has started and that still run, all threads."""
    return time.process_time() + sum(_of(child.pid) for child in active_children())


def _of(process: int | None) -> float:
    """0 where the system does not say: the process has ended, or this is no Linux."""
    if process is None or sys.platform != "linux":
        return 0.0
    try:
        return time.clock_gettime((~process << 3) | 2)  # clock_getcpuclockid(3), which Python has for threads alone
    except OSError:
        return 0.0
