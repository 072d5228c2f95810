"""What an engine costs a run: a grid of very short runs on two slots, by two plain processes, SLURM and Ray.

Run: python tests/engines/cost.py [--engines plain,slurm,ray] [--seeds 2]. SLURM and Ray are clusters of two
nodes of one core on this machine, as in `make slurm-test` and `make ray-test`, which install them; they start before
the clock does. The grid is 4 methods x 2 label fractions x so many seeds, at the smoke budget on `phantom`.

The overhead of a run is the time of the two slots less the seconds of all phases, by the number of runs: starting
processes, importing libraries, opening data, queueing, writing records. On a machine with other work only the ratios
say something.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import ray_cluster
import slurm_cluster
from cluster_runs import command, prepared
from waiting import until

GRID = ["-m", "supervised,self-learning,mean-teacher,atso", "-f", "5,10", "-d", "phantom", "--budget", "smoke"]
GRID += ["-o", "recipe.width=4", "--workers", "0"]
SLOTS = 2


@contextmanager
def plain(folder: Path, variables: dict[str, str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    yield ["--device", ",".join(["cpu"] * SLOTS)], variables


@contextmanager
def slurm(folder: Path, variables: dict[str, str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    with slurm_cluster.cluster(folder) as own:
        words = ["--device", "cpu", "--on", "slurm", "--slurm", "time=60"]
        yield words, {**variables, **{name: own[name] for name in ("SLURM_CONF", "PATH")}}


@contextmanager
def ray(folder: Path, variables: dict[str, str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    with ray_cluster.nodes([1] * SLOTS, variables, folder) as found:
        yield ["--device", "cpu", "--on", "ray"], {**variables, "RAY_ADDRESS": found["address"]}


ENGINES = {"plain": plain, "slurm": slurm, "ray": ray}


def measure(name: str, folder: Path, variables: dict[str, str], seeds: str) -> tuple[float, float, int]:
    """Seconds of the grid, seconds of all its phases, and its runs."""
    folder.mkdir()
    out = folder / "results"
    with ENGINES[name](folder, variables) as (words, environment):
        began = time.perf_counter()
        done = command("run", *GRID, "-s", seeds, "--out", out, *words, env=environment)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        runs = len(GRID[1].split(",")) * len(GRID[3].split(",")) * len(seeds.split(","))
        until(lambda: len(records(out)) == runs, 3600, every=0.2, logs=out)
        wall = time.perf_counter() - began
    return wall, trained(out), runs


def trained(out: Path) -> float:
    """Seconds of all phases; one that several runs share counts once."""
    found = {}
    for file in records(out):
        for phase in json.loads(file.read_text())["phases"]:
            found[phase["key"] or file.name, phase["name"]] = phase["seconds"]
    return sum(found.values())


def records(out: Path) -> list[Path]:
    return list((out / "records").rglob("seed*.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        variables = prepared(folder / "data")
        for name in given.engines.split(","):
            wall, phases, runs = measure(name, folder / name, variables, ",".join(map(str, range(given.seeds))))
            overhead = (SLOTS * wall - phases) / runs
            told = f"{wall:6.1f} s, {phases:6.1f} s in phases, {overhead:5.1f} s more a run"
            print(f"{name:6} {runs} runs on {SLOTS} slots: {told}", flush=True)


if __name__ == "__main__":
    main()
