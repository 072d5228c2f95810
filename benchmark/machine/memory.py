"""How much memory a process may still take, and an error if that is too little."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from atso_bench.benchmark.machine.cgroups import around, first, lines

_MEMINFO = Path("/proc/meminfo")


def require(needed: int, what: str) -> None:
    """Refuse what would have the process killed by the system, without a word.

    Args:
        needed: bytes beside what the process has already.
        what: that takes them.

    Raises:
        MemoryError: with what is needed, what there is, and what to do.
    """
    free = available()
    if free is not None and needed > free:
        raise MemoryError(
            f"{what} takes {needed / 1e9:.3g} GB of memory, but only {free / 1e9:.3g} GB are free; close other "
            f"programs, use fewer processes (--device, --workers), raise the container's limit, or use a larger machine"
        )


def available() -> int | None:
    """Bytes that can be had without swapping, by the machine and by the limits of the containers around this process.

    None where the system does not say so (it is not Linux).
    """
    if not sys.platform.startswith("linux"):
        return None
    return min([*_of_machine(), *_of_groups()], default=None)


def _of_machine() -> Iterator[int]:
    for line in lines(_MEMINFO):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_groups() -> Iterator[int]:
    """Of each control group around this process, what is below its limit; files in its cache count as free."""
    for folder, second in around("memory"):
        limit, used = _FILES if second else _FILES_OF_VERSION_1
        most, now = first(folder / limit), first(folder / used)
        if most.isdecimal() and now.isdecimal():
            cached = (words.split()[1] for words in lines(folder / "memory.stat") if words.startswith(_CACHED))
            yield max(0, int(most) - int(now) + sum(map(int, cached)))


_FILES = ("memory.max", "memory.current")
_FILES_OF_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
_CACHED = ("inactive_file ",)
