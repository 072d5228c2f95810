"""How many cores this process may use: those that a scheduler gave it, which may be fewer than the machine has."""

from __future__ import annotations

import os


def cores() -> int:
    """At least 1. Slurm says how many it gave even where it does not enforce them."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(1, min(there, int(given)) if given.isdecimal() else there)
