"""What very many records cost: seconds and peak memory of `plan` (all done), `status` and a filtered `report`.

Run: python tests/benchmarks/index_scale.py [--records 100000] [--folder FOLDER]. It makes records of all methods on
`phantom` at four fractions and many seeds, each with the scores of three volumes; a second run with the same folder
finds them again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import orjson
from report_scale import records as made

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.files import jsonable
from atso_bench.benchmark.training import origin

FRACTIONS = ["2", "5", "10", "20"]
PROGRAM = str(Path(sys.executable).with_name("atso-bench"))


def fill(results: Path, count: int) -> int:
    """Write the records that are not there; returns the number of seeds."""
    methods = registry.expand(["all"])
    seeds = max(1, count // (len(methods) * len(FRACTIONS)))
    specs = grid.make_specs(["phantom"], methods, FRACTIONS, range(seeds), Budget.parse("small"), grid.Options({}, {}))
    template = jsonable(asdict(next(made(cases=3)))) | {"data": registry.dataset("phantom").identity}
    template["metrics_version"] = 2
    known = {}
    for name in methods:
        method = registry.method(name, {})
        known[name] = {"options": method.model_dump(), "code": origin.code(type(method))}
    for spec in specs:
        path = results / "records" / spec.path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(orjson.dumps({**template, **known[spec.method], "spec": asdict(spec)}))
    return seeds


def measure(words: list[str]) -> str:
    """Run it; what it said last, with its seconds and peak memory."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen([PROGRAM, *words], stdout=said, stderr=said, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        said.seek(0)
        last = said.read().strip().splitlines()[-1:]
    cpu = usage.ru_utime + usage.ru_stime
    facts = f"{wall:7.1f} s, {cpu:6.1f} s of CPU, {usage.ru_maxrss / 1024:6.0f} MB"
    return f"{facts}, exit {os.waitstatus_to_exitcode(status)}  {words[0]}: {last}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = given.folder or Path(temporary)
        began = time.perf_counter()
        seeds = fill(results, given.records)
        print(f"{time.perf_counter() - began:7.1f} s to make the records", flush=True)
        words = ["-m", "all", "-f", ",".join(FRACTIONS), "-s", ",".join(map(str, range(seeds))), "--device", "cpu"]
        where = "method in ['atso', 'supervised'] and fraction == '10' and seed < 5"
        for each in (
            ["plan", *words, "--out", str(results)],
            ["plan", *words, "--out", str(results)],
            ["plan", *words, "--out", str(results), "--format", "jsonl"],
            ["status", str(results)],
            ["report", str(results), "--where", where],
        ):
            print(measure(each), flush=True)
        print(json.dumps({"index_bytes": sum(file.stat().st_size for file in (results / "index").rglob("*.parquet"))}))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
