"""The scores of a grid's runs as a small table, for the end of a command."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.store.record import Record, failure_path
from atso_bench.reports.data import folds

NAME = 30
"""Columns that a method's name takes; the table stays within 80."""


def lines(results: Path, specs: Sequence[RunSpec]) -> Iterator[str]:
    """For each dataset a row for each method and a column for each label fraction: mean and deviation over seeds."""
    for dataset, own in groupby(sorted(specs, key=lambda spec: spec.dataset), key=lambda spec: spec.dataset):
        yield from _table(results, dataset, list(own))
    failed = [spec for spec in specs if failure_path(results, spec).is_file()]
    yield from (f"failed: {spec.title}, see {failure_path(results, spec)}" for spec in failed)


def _table(results: Path, dataset: str, specs: Sequence[RunSpec]) -> Iterator[str]:
    found: dict[tuple[str, str], list[Record]] = {}
    metrics: dict[str, None] = {}
    usual = max(spec.budget.steps for spec in specs)
    for spec in specs:
        path = results / "records" / spec.path
        with contextlib.suppress(ValueError, FileNotFoundError):  # one that cannot be read is among the failures
            record = Record.read(path)
            metrics[record.metric] = None
            found.setdefault((_row(spec, usual), _column(spec)), []).append(record)
    if not found:
        return
    columns = list(dict.fromkeys(_column(spec) for spec in specs))
    width = max(20, *(len(column) + 2 for column in columns))
    pooled = f", {specs[0].folds} folds together" if specs[0].folds else ""
    yield f"{', '.join(metrics)} on {dataset}, mean and standard deviation over seeds{pooled}"
    yield " " * NAME + "".join(f"{column:>{width}}" for column in columns)
    for row in dict.fromkeys(row for row, _ in found):
        cells = "".join(f"{_cell(_of_runs(found.get((row, column), []))):>{width}}" for column in columns)
        yield f"{row:{NAME}}{cells}" if len(row) <= NAME else f"{row}\n{'':{NAME}}{cells}"


def _of_runs(records: Sequence[Record]) -> list[float]:
    """The score of each run; the folds of a seed are one, and none as long as one of them is missing."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(folds.whole(record)[0].key if record.spec.folds else record.spec.key, []).append(record)
    found = []
    for own in runs.values():
        with contextlib.suppress(ValueError):
            found.append((folds.pooled(own) if own[0].spec.folds else own[0]).score)
    return found


def options(spec: RunSpec) -> str:
    """The method's options that differ from their defaults, in words."""
    return ", ".join(f"{name}={value}" for name, value in sorted(spec.options.items()))


def _row(spec: RunSpec, usual: int) -> str:
    steps = f"{spec.budget.steps} steps" if spec.budget.steps != usual else ""
    words = ", ".join(filter(None, [options(spec), steps]))
    return f"{spec.method} ({words})" if words else spec.method


def _column(spec: RunSpec) -> str:
    return f"{spec.fraction.cases} cases" if spec.fraction.cases is not None else f"{spec.fraction.bare} %"


def _cell(values: Sequence[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "undefined" if values else "-"
    spread = f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.3f}{spread} (n={len(known)})"
