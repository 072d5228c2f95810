"""What very many records cost: seconds and peak memory of `plan` (all done), `status` and a filtered `report`.

Run: python tests/benchmarks/index_scale.py [--records 100000] [--repeats 3] [--folder FOLDER]. It makes records of all
methods on `phantom` at four fractions and many seeds, each with the scores of three volumes, and among them 515 of a
dataset `la` at the standard budget, each with those of 52 volumes: what `report --where` chooses. Medians are printed;
memory is that of all processes of a command (see report_scale.py). A second run with the same folder finds the records.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from report_scale import FRACTIONS as OF_REPORTS
from report_scale import METHODS, SEEDS, watched
from report_scale import records as made

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.scoring import metrics
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.files import jsonable
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.training import origin

FRACTIONS = ["2", "5", "10", "20"]
WHERE = "dataset=='la' and budget=='standard'"
CHOSEN = 5
"""Seeds of the dataset that the report is of."""
PROGRAM = str(Path(sys.executable).with_name("atso-bench"))


def chosen() -> Iterator[Record]:
    """Records of a dataset `la` at the standard budget, as long as real ones."""
    first = islice(made(), (len(METHODS) * len(OF_REPORTS) + 1) * len(SEEDS))
    for record in first:
        spec = record.spec
        if spec.seed < CHOSEN:
            yield replace(record, spec=replace(spec, dataset="la", budget=Budget.parse("standard")))


def write(results: Path, spec: RunSpec, record: dict[str, Any]) -> None:
    path = results / "records" / spec.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(record))


def fill(results: Path, count: int) -> int:
    """Write the records unless they are there; returns the number of seeds."""
    methods = registry.expand(["all"])
    seeds = max(1, count // (len(methods) * len(FRACTIONS)))
    if (results / "records").exists():
        return seeds
    specs = grid.make_specs(["phantom"], methods, FRACTIONS, range(seeds), Budget.parse("small"), grid.Options({}, {}))
    template = jsonable(asdict(next(made(cases=3)))) | {"data": registry.dataset("phantom").identity}
    template["metrics_version"] = metrics.VERSION
    known = {}
    for name in methods:
        method = registry.method(name, {})
        known[name] = {"options": method.model_dump(), "code": origin.code(type(method))}
    for spec in specs:
        write(results, spec, {**template, **known[spec.method], "spec": asdict(spec)})
    for record in chosen():
        write(results, record.spec, jsonable(asdict(record)))
    return seeds


def measure(name: str, words: list[str], repeats: int) -> None:
    """Run it so many times, and print the medians and what it said last."""
    found, said = zip(*(watched([PROGRAM, *words]) for _ in range(repeats)), strict=True)
    wall, cpu, peak = (statistics.median(each[what] for each in found) for what in ("wall", "cpu", "peak"))
    last = [line for line in said[-1].splitlines() if line.strip()][-1:]
    print(f"{name:28} {wall:7.1f} s, {cpu:6.1f} s of CPU, {peak:6.0f} MB  {last}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = given.folder or Path(temporary)
        began = time.perf_counter()
        seeds = fill(results, given.records)
        print(f"{time.perf_counter() - began:7.1f} s to make the records", flush=True)
        words = ["-m", "all", "-f", ",".join(FRACTIONS), "-s", ",".join(map(str, range(seeds))), "--device", "cpu"]
        plan = ["plan", *words, "--out", str(results)]
        if not (results / "index").exists():
            measure("plan, which makes the index", plan, 1)
        measure("plan, all done", plan, given.repeats)
        measure("plan --format jsonl", [*plan, "--format", "jsonl"], 1)
        measure("status", ["status", str(results)], given.repeats)
        measure("report --where", ["report", str(results), "--where", WHERE], given.repeats)
        size = sum(file.stat().st_size for file in (results / "index").rglob("*.parquet"))
        print(f"the index takes {size / 1e6:.1f} MB; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
