"""How the cost of a run grows: seconds, peak memory and disk over one quantity at a time, and the exponent of each.

Run: python tests/benchmarks/growth.py [--only "cases of R"] [--largest 10000] [--to results/bench]. Its cases are tiny.

Each point is a process of its own that does one command's runs. An exponent is the slope of log(cost) over
log(quantity) at the three largest quantities: 1 is linear, 0 is constant, more than 1 grows faster than the quantity.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from toy import ToyDataset, ToyTask

from atso_bench.benchmark import registry
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.machine.timing import process_bytes
from atso_bench.benchmark.spec import Budget, RunSpec

BUDGET = Budget.parse("60")
LEAST = (0.01, 0.01, 1 << 20, 1 << 12)  # seconds and bytes that are too few to be compared


@dataclass(frozen=True)
class Classes(ToyTask):
    """The toy with any number of classes."""

    def network(self, *, start: bool = True) -> nn.Module:
        layers = super().network(start=start)
        conv = nn.Conv2d if len(self.recipe.patch) == 2 else nn.Conv3d
        return nn.Sequential(*list(layers)[:-1], conv(6, len(self.classes), 3, padding=1))


@dataclass(frozen=True)
class Tiny(ToyDataset):
    """The toy with any number of cases and classes."""

    classes: int = 3

    def load(self, case_id: str) -> tuple[np.ndarray, np.ndarray]:
        image, label = super().load(case_id)
        bands = np.arange(label.size).reshape(label.shape) * self.classes // label.size
        return image, np.where(label > 0, label, bands).astype(np.uint8) if self.classes > 3 else label

    def task(self, *given: Any) -> ToyTask:
        made = super().task(*given)
        names = tuple(f"class {number}" for number in range(self.classes))
        return Classes(made.images, made.labels, made.recipe, classes=names)


def specs(fractions: int = 1, generations: int = 1, method: str = "self-learning") -> list[RunSpec]:
    options = {"generations": generations} if method != "supervised" else {}
    return [RunSpec("toy", method, f"{2 + k}cases", 0, BUDGET, options=options) for k in range(fractions)]


QUANTITIES: dict[str, tuple[tuple[int, ...], Callable[[int], tuple[Tiny, list[RunSpec]]]]] = {
    "cases of R": ((10, 100, 1000, 3000, 10_000), lambda n: (Tiny(cases=n + 6), specs())),
    "generations": ((1, 2, 4, 8, 16), lambda n: (Tiny(cases=60), specs(generations=n))),
    "fractions": ((1, 2, 4, 8, 16), lambda n: (Tiny(cases=60), specs(fractions=n))),
    "classes": ((3, 6, 12, 25, 50), lambda n: (Tiny(cases=40, classes=n, shape=(64, 64)), specs())),
    "voxels": ((16, 32, 48, 64, 96), lambda n: (Tiny(cases=16, shape=(n, n, n)), specs())),
}


def point(dataset: Tiny, grid: list[RunSpec], folder: Path, told: Any) -> None:
    """Do the runs, then the whole command again, which finds them done; sends seconds of both, and bytes."""
    from atso_bench.benchmark.done import finished, remembered
    from atso_bench.benchmark.engines import local
    from atso_bench.benchmark.engines.graph import Task
    from atso_bench.benchmark.engines.order import Order

    registry.dataset = lambda name, configuration="2d": dataset  # type: ignore[assignment]
    before, began = process_bytes(), time.perf_counter()
    failed = local.work([Task(spec) for spec in grid], Order(folder, 0), "cpu", 1, silent())
    seconds = time.perf_counter() - began
    began, identity = time.perf_counter(), remembered()
    done = all(finished(folder, spec, identity=identity) for spec in grid)
    again = time.perf_counter() - began
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if failed or not done:
        raise RuntimeError(f"{failed} runs failed")
    if told is not None:
        told.send((seconds, again, process_bytes() - before, disk))


def measure(dataset: Tiny, grid: list[RunSpec], rounds: int) -> np.ndarray:
    """The least of several rounds, each in a process that is forked from this one, with all libraries loaded."""
    found = []
    fork = multiprocessing.get_context("fork")
    for _ in range(rounds):
        receive, told = fork.Pipe(duplex=False)
        with tempfile.TemporaryDirectory() as name:
            process = fork.Process(target=point, args=(dataset, grid, Path(name), told))
            process.start()
            told.close()
            found.append(receive.recv())
            process.join()
    return np.min(found, axis=0)


def exponent(sizes: np.ndarray, costs: np.ndarray, least: float) -> float:
    """The slope of log(cost) over log(size) at the three largest sizes; 0 where all costs are below ``least``."""
    if costs.max() < least:
        return 0.0
    return float(np.polyfit(np.log(sizes[-3:]), np.log(costs[-3:]), 1)[0])


def draw(found: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3), squeeze=False, layout="constrained")
    for panel, (name, (sizes, costs)) in zip(panels[0], found.items(), strict=True):
        for row, what in zip(costs.T, ("seconds", "seconds, done before", "peak memory", "disk"), strict=True):
            panel.loglog(sizes, np.maximum(row / max(row[0], 1e-9), 1e-3), marker="o", label=what)
        panel.loglog(sizes, sizes / sizes[0], color="grey", linestyle=":", label="linear")
        panel.set(xlabel=name, ylabel="times the smallest")
        panel.xaxis.set_minor_formatter("")
    panels[0][0].legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(QUANTITIES))
    parser.add_argument("--largest", type=int, default=10_000, help="leave out larger points")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--to", type=Path, default=Path("results/bench"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        point(*QUANTITIES["generations"][1](1), Path(name), None)  # loads all libraries, which the forks then have
    found = {}
    print(f"{'quantity':12} {'size':>9} {'seconds':>9} {'done (s)':>9} {'peak (MiB)':>11} {'disk (MiB)':>11}")
    for name, (sizes, make) in QUANTITIES.items():
        if chosen.only not in (None, name):
            continue
        kept = [size for size in sizes if size <= chosen.largest]
        costs = []
        for size in kept:
            costs.append(measure(*make(size), chosen.rounds))
            run, again, memory, disk = costs[-1]
            shown = size**3 if name == "voxels" else size
            print(
                f"{name:12} {shown:9,} {run:9.2f} {again:9.4f} {memory / 2**20:11.1f} {disk / 2**20:11.2f}", flush=True
            )
        amounts = np.array(kept, float) ** (3 if name == "voxels" else 1)
        found[name] = (amounts, np.array(costs))
        powers = [exponent(amounts, *each) for each in zip(np.array(costs).T, LEAST, strict=True)]
        print(f"{name:12} exponents {powers[0]:9.2f} {powers[1]:9.2f} {powers[2]:11.2f} {powers[3]:11.2f}", flush=True)
    chosen.to.mkdir(parents=True, exist_ok=True)
    draw(found, chosen.to / "growth.svg")
    print(f"plot: {chosen.to / 'growth.svg'}")


if __name__ == "__main__":
    main()
