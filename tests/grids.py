"""Runs of tests, made as a command makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atso_bench.benchmark import grid
from atso_bench.benchmark.engines import local
from atso_bench.benchmark.engines.graph import Task
from atso_bench.benchmark.engines.order import Order
from atso_bench.benchmark.spec import RunSpec


def work(
    specs: Sequence[RunSpec],
    results: Path,
    device: str = "cpu",
    workers: int = 0,
    *,
    threads: int = 1,
    shown: Any = None,
    **order: Any,
) -> int:
    """In this process; returns how many failed."""
    return local.work([Task(spec) for spec in specs], Order(results, workers, **order), device, threads, shown)


def run(specs: Sequence[RunSpec], results: Path, devices: Sequence[str], workers: int = 0, **order: Any) -> int:
    """On these devices; returns how many failed."""
    return grid.run_grid(specs, Order(results, workers, **order), devices)
