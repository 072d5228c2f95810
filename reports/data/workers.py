"""Processes that share the work of a large report."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atso_bench.benchmark.machine.processor import cores
from atso_bench.reports.data.listing import size

Map = Callable[..., Iterable[Any]]
"""The built-in ``map``, or that of a pool of processes."""
LARGE = 2**25
"""Bytes of records from which on other processes help, about 500 volumes' runs: they take two seconds to start."""
MOST = 4
"""Processes: each takes about 200 MB."""
_LIBRARIES = (
    *("pandas", "pyarrow", "scipy.stats", "seaborn", "matplotlib.figure", "matplotlib.backends.backend_svg"),
    *("orjson", "pydantic", "jinja2", "yaml", "PIL.Image"),
)


def prepare(files: Sequence[Path]) -> None:
    """Where `workers` will have processes, the libraries are imported for them from now on, while this one does so."""
    if _cores(files) > 1 and _context().get_start_method() == "forkserver":
        from multiprocessing import forkserver  # not every system has it

        forkserver.ensure_running()


@contextmanager
def workers(files: Sequence[Path]) -> Iterator[Map | None]:
    """The ``map`` of a pool with a process for each core; None where there is too little to do for that."""
    cores = _cores(files)
    if cores < 2:
        yield None
        return
    with ProcessPoolExecutor(cores, _context(), initializer=_settle) as pool:
        yield pool.map


def _cores(files: Sequence[Path]) -> int:
    """So many processes are worth their start."""
    return min(cores(), MOST) if sum(map(size, files)) >= LARGE else 1


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
