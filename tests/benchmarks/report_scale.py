"""What a report of very many records costs: seconds, peak memory and, with `--profile`, where they go.

Memory is the proportional set size (PSS) of all processes together, sampled up to ten times a second: what they share
counts once. Linux alone says it. CPU seconds are those of all processes too.

Run: python tests/benchmarks/report_scale.py [--records 10000] [--natural] [--profile]. It makes its own records in a
temporary folder, or in `--folder`, where a second run finds them again.

10,000 medical records are 717 MB of JSON and 1.04 million rows of case and class. A record of the natural track has
9,500 rows, so 100 of them are as much as 10,000 medical ones; 10,000 are 95 million rows in 20 GB of JSON, which no
reader of JSON goes through in half a minute: the bound is a million rows, whatever the number of records.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Phase, Record

METHODS = ("supervised", "atso", "self-learning", "mean-teacher", *(f"peer-{number:02}" for number in range(13)))
FRACTIONS = ("1", "2", "5", "10", "20", "50")
SEEDS = range(10)
POOL = 208
ORGANS = ["Anterior", "Posterior"]
STREET = [f"class {number}" for number in range(19)]
RATES = ("update_rate", "agreement", "agreement_inside", "agreement_outside", "correction_rate", "corruption_rate")
WINDOWS = 50  # of steps, whose mean loss is kept
SAID = "{wall:.1f} s, {read:.1f} s of them for reading; {cpu:.1f} s of CPU; peak {peak:.0f} MB in all processes"
MEASURE = """
import json, sys, time
start = time.perf_counter()
from pathlib import Path
from atso_bench.reports.data import listing, workers
results, profiled = Path(sys.argv[1]), len(sys.argv) > 2
workers.prepare(listing.record_files(results))
from atso_bench.reports import build

def timed(*given, read=build.read):
    start = time.perf_counter()
    found = read(*given)
    spent["read"] = time.perf_counter() - start
    return found

spent, build.read = {}, timed
if profiled:
    import cProfile, pstats
    profile = cProfile.Profile()
    profile.enable()
build.build(results)
spent["wall"] = time.perf_counter() - start
if profiled:
    profile.disable()
    for order in ("cumulative", "tottime"):
        pstats.Stats(profile, stream=sys.stderr).sort_stats(order).print_stats(60)
print(json.dumps(spent))
"""


def grid(natural: bool) -> Iterator[tuple[str, str, str, int]]:
    """Dataset, method, fraction and seed: per dataset 17 methods x 6 fractions x 10 seeds, and the upper bound."""
    kind = "street" if natural else "organ"
    for number in range(1000):
        cells = [*product(METHODS, FRACTIONS), (METHODS[0], "100")]
        yield from ((f"{kind}{number}", method, fraction, seed) for (method, fraction), seed in product(cells, SEEDS))


def records(natural: bool = False, cases: int | None = None) -> Iterator[Record]:
    """Records as long as real ones: two organs in 52 volumes, or 19 classes in 500 frames; scores are drawn."""
    rng = np.random.default_rng(0)
    cases = cases or (500 if natural else 52)
    hard = rng.normal(0, 0.05, (cases, 1))
    for dataset, method, fraction, seed in grid(natural):
        order, percent = METHODS.index(method), float(fraction)
        classes = STREET if natural else ORGANS
        noise = rng.normal(0, 0.02, (cases, len(classes)))
        dice = np.clip(0.6 + 0.05 * np.log10(percent) + 0.002 * order + hard + noise, 0, 1)
        labelled = max(2, round(POOL * percent / 100))
        ids = [f"case_{number:03}" for number in range(POOL)]
        phases, diagnostics = _story((0, 3, 6)[order % 3], rng)
        yield Record(
            spec=RunSpec(dataset, method, fraction, seed, Budget("small", 2000)),
            track="natural" if natural else "medical",
            metric="miou" if natural else "dice",
            score=float(dice.mean()),
            classes=classes,
            cases=_scores(dice, classes, natural),
            summary={"metrics": {"pixel_accuracy": {"mean": 0.9}, "frame_miou": {"mean": 0.5}}, "official_miou": 0.5},
            metrics_version=1,
            split={
                "labelled": ids[:labelled],
                "unlabelled": ids[labelled:],
                "validation": [],
                "test": [f"test_{number:03}" for number in range(cases)],
                "hash": f"{fraction}-{seed}",
            },
            pool_size=POOL,
            data="505605517cdb",
            phases=phases,
            spent_steps=2000,
            teacher_patches=0,
            recipe={"patch": [56, 40], "batch": 8, "lr": 0.1, "momentum": 0.9, "features": [8, 16, 32, 64]},
            options={},
            diagnostics=diagnostics,
            environment={"python": "3.11.7", "platform": "Linux", "processor_count": 2, "versions": {"torch": "2.10.0"},
                         "commit": "c0ffee", "command": ["atso-bench", "run", "--dataset", dataset]},
        )  # fmt: skip


def _scores(dice: np.ndarray, classes: list[str], natural: bool) -> dict[str, Any]:
    """``(cases, classes)`` Dice to what a record holds of them; every eighth class of a frame is not in it."""
    true = np.round(1000 * dice).astype(int)
    found = {}
    for number, (row, counts) in enumerate(zip(dice.tolist(), true.tolist(), strict=True)):
        each = {}
        for place, (name, value, tp) in enumerate(zip(classes, row, counts, strict=True)):
            if natural and (number + place) % 8 == 0:
                ratios = dict.fromkeys(("dice", "iou", "precision", "recall"))
                each[name] = {"tp": 0, "fp": 0, "fn": 0, **ratios, "empty": "both"}
                continue
            scores = {"tp": tp, "fp": 1000 - tp, "fn": 1000 - tp, "dice": value, "iou": value / (2 - value)}
            scores |= {"precision": value * 0.99, "recall": value / 1.01}
            if not natural:
                scores |= {"hd95_mm": 10 * (1 - value), "assd_mm": 3 * (1 - value), "nsd": value**0.5}
                scores |= {"volume_prediction_ml": tp / 999, "volume_reference_ml": 1.55}
            each[name] = {**scores, "empty": ""}
        found[f"test_{number:03}"] = each
    return found


def _story(students: int, rng: np.random.Generator) -> tuple[list[Phase], list[dict[str, Any]]]:
    """The phases of M0 and so many students, and what each student's labels changed."""
    phases, diagnostics = [], []
    for number in range(students + 1):
        generation, subset = (number + 1) // 2, (number + 1) % 2 + 1
        name = f"generation {generation}, subset {subset}" if number else "M0"
        losses = {term: rng.normal(size=WINDOWS).tolist() for term in ("labelled", "pseudo", "loss")}
        losses["step"] = [20.0 * (window + 1) for window in range(WINDOWS)]
        phases.append(Phase(name, "train", 86.4, 285, 2280, None, 2**30, "9620194888cbc902bfe42d08", losses=losses))
        if number:
            phases += [Phase(f"{name}, {kind}", kind, 4.2, 0, 93, None, 2**30, "9620194888cbc902bfe42d08")
                       for kind in ("predict", "diagnose")]  # fmt: skip
            rates = dict(zip(RATES, rng.uniform(size=len(RATES)).tolist(), strict=True))
            by_class = dict.fromkeys(ORGANS, 0.75)
            rates |= {"agreement_by_class": by_class, "pseudo_dice": 0.75, "pseudo_dice_by_class": by_class}
            entry = {"phase": name, "generation": generation, "subset": subset, "cases": 93, **rates}
            diagnostics.append({**entry, "inside": rates, "outside": rates})
    phases.append(Phase("evaluation", "evaluate", 3.1, 0, 52, None, 2**30))
    return phases, diagnostics


def write(folder: Path, number: int, natural: bool = False, cases: int | None = None) -> int:
    """Write the first so many records as `Record.write` would, only faster; returns the bytes."""
    size = 0
    for record in islice(records(natural, cases), number):
        path = folder / "records" / record.spec.path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = orjson.dumps(record, option=orjson.OPT_INDENT_2).replace(b"  ", b" ")
        size += path.write_bytes(text)
    return size


def measure(folder: Path, profiled: bool = False) -> dict[str, float]:
    """Build the report in a process of its own: ``read`` and the seconds and MB of ``watched``.

    As ``atso-bench report`` does, with the imports.
    """
    found, said = watched([sys.executable, "-c", MEASURE, str(folder), *["profile"] * profiled])
    return {**found, **json.loads(said)}


def watched(command: list[str]) -> tuple[dict[str, float], str]:
    """What it cost (``wall`` and ``cpu`` seconds, ``peak`` MB of 10^6 bytes, of all processes), and what it printed."""
    cpu: dict[int, float] = {}
    peak, began = 0.0, time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        with subprocess.Popen(command, stdout=said) as running:
            while running.poll() is None:
                before = time.process_time()
                found = {pid: used for pid in _family(running.pid) if (used := _used(pid)) is not None}
                cpu |= {pid: seconds for pid, (seconds, _) in found.items()}
                peak = max(peak, sum(size for _, size in found.values()))
                time.sleep(max(0.1, 20 * (time.process_time() - before)))  # looking at large processes costs time too
        if running.returncode:
            raise SystemExit(running.returncode)
        said.seek(0)
        return {"wall": time.perf_counter() - began, "cpu": sum(cpu.values()), "peak": peak}, said.read()


def _family(pid: int) -> Iterator[int]:
    """The process and all that come of it."""
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in file.read_text().split():
                yield from _family(int(child))


def _used(pid: int) -> tuple[float, float] | None:
    """Seconds of CPU so far and MB now; None of a process that has ended."""
    try:
        times = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        sizes = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
        )
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK"), int(sizes["Pss"].split()[0]) * 1024 / 1e6
    except (OSError, KeyError):
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--natural", action="store_true", help="500 frames x 19 classes a record")
    parser.add_argument("--folder", type=Path, help="keep the records there")
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name)
        if not (folder / "records").exists():
            size = write(folder, chosen.records, chosen.natural)
            print(f"{chosen.records:,} records, {size / 1e6:,.0f} MB")
        rows = chosen.records * (9500 if chosen.natural else 104)
        found = measure(folder, chosen.profile)
        print(SAID.format(**found))
        print(f"{rows / found['read']:,.0f} rows of case and class read a second")


if __name__ == "__main__":
    main()
