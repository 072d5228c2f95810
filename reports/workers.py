"""Processes that share the work of a large report."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from atso_bench.reports.reading import Map, size

LARGE = 2**25
"""Bytes of records from which on other processes help, about 500 volumes' runs: they take two seconds to start."""
MOST = 4
"""Processes: each takes about 200 MB."""
_LIBRARIES = (
    *("pandas", "pyarrow", "scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_svg"),
    *("orjson", "pydantic", "jinja2", "yaml", "PIL.Image"),
)


@contextmanager
def workers(files: Sequence[Path]) -> Iterator[Map | None]:
    """The ``map`` of a pool with a process for each core; None where there is too little to do for that."""
    cores = min(os.cpu_count() or 1, MOST)
    if cores < 2 or sum(map(size, files)) < LARGE:
        yield None
        return
    with ProcessPoolExecutor(cores, _context(), initializer=_settle) as pool:
        yield pool.map


def _context() -> multiprocessing.context.BaseContext:
    """Where the system can, all fork from one process that has imported the libraries, and that has no threads.

    A fork of this process would lack its threads (those of PyTorch, of pyarrow), and hold the locks that they held.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_LIBRARIES])  # not this project: before Python 3.13 it may find another copy of it
    return context


def _settle() -> None:
    """A figure is cyclic garbage: to look for it again and again takes an eighth of the time; `drawing` looks once."""
    gc.freeze()
    gc.disable()
