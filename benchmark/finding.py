"""Which run somebody means: by a record's file, by its key, by its place in the grid, or as the best of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atso_bench.benchmark.scoring import headline
from atso_bench.benchmark.spec import LabelFraction
from atso_bench.benchmark.store import index
from atso_bench.benchmark.store.record import Record

_SHOWN = 40
_SHORTEST = 4
"""Letters of a key that name a run, if only one begins with them."""


@dataclass(frozen=True)
class Chosen:
    """A run that was found.

    Attributes:
        path: of its record.
        results: the folder that holds ``records/`` and ``stages/``.
        why: how it was chosen where there were several; empty where it was named.
    """

    path: Path
    results: Path
    why: str = ""


def find(run: str, results: Path) -> Chosen:
    """The run that ``run`` names: a record's file, its key or the beginning of it, or ``dataset/method/fraction/seed``.

    Parts may be left out at the end where the rest names one run.

    Raises:
        ValueError: if none or several match; the message lists what there is.
    """
    if Path(run).is_file():
        path = Path(run)
        own = (folder.parent for folder in path.absolute().parents if folder.name == "records")
        return Chosen(path, next(own, results))
    rows = _rows(results)
    found = _matching(run, rows)
    if len(found) != 1:
        raise ValueError(_told(run, found or rows, len(found), results))
    return Chosen(results / "records" / found[0]["path"], results)


def listing(results: Path) -> list[str]:
    """A line for each finished run: its key, its place in the grid, and its score."""
    return list(map(_line, _rows(results)))


def best(run: str, results: Path) -> Chosen:
    """The best of the runs that ``run`` names, or of all: on the validation set, or else, as is said, on the test set.

    Raises:
        ValueError: if no run matches, or if they cannot be compared.
    """
    rows = _rows(results)
    found = _matching(run, rows) if run else rows
    if not found:
        raise ValueError(_told(run, rows, 0, results))
    records = {row["path"]: Record.read(results / "records" / row["path"]) for row in found}
    _check_comparable(records)
    judged = {path: score for path, record in records.items() if not math.isnan(score := _on_validation(record))}
    metric = headline.named(next(iter(records.values())).metric)
    if judged:
        _check_one_set("validation", judged, records)
        path = _first(judged, metric)
        left = f"; {len(records) - len(judged)} without one do not count" if len(judged) < len(records) else ""
        amount = f"{len(judged)} run(s) with a validation set{left}"
        return Chosen(
            results / "records" / path,
            results,
            f"best of {amount}: {metric.title} {judged[path]:.4f} on the validation set",
        )
    scores = {path: record.score for path, record in records.items() if not math.isnan(record.score)}
    if not scores:
        raise ValueError(f"none of the {len(records)} runs has a score")
    _check_one_set("test", scores, records)
    path = _first(scores, metric)
    return Chosen(
        results / "records" / path,
        results,
        f"best of {len(records)} run(s) BY THE TEST SET ({metric.title} {scores[path]:.4f}), as none has a validation "
        "set: the score of a run that is chosen so is too good. `run --validation 20` sets one apart",
    )


def _rows(results: Path) -> list[dict[str, Any]]:
    """The finished runs, by the index; of two records of one run the later, whose name is the plain one."""
    rows = [row for row in index.table(results).to_pylist() if row["status"] == "done"]
    plain = {row["key"] for row in rows if row["path"].endswith(f"-{row['key']}.json")}
    kept = [row for row in rows if row["path"].endswith(f"-{row['key']}.json") or row["key"] not in plain]
    return sorted(kept, key=lambda row: (row["dataset"], row["method"], row["fraction"], row["seed"], row["key"]))


def _matching(run: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    if "/" not in run and (found := [row for row in rows if len(run) >= _SHORTEST and row["key"].startswith(run)]):
        return found
    parts = run.strip("/").split("/")
    return [row for row in rows if len(parts) <= 4 and _fits(parts, row)]


def _fits(parts: Sequence[str], row: Mapping[str, Any]) -> bool:
    have = [row["dataset"], row["method"], _fraction(row["fraction"]), str(row["seed"])]
    asked = [*parts[:2], *map(_fraction, parts[2:3]), *(part.removeprefix("seed") for part in parts[3:])]
    return asked == have[: len(asked)]


def _fraction(text: str) -> str:
    """In its one spelling; a text that is none is like no fraction."""
    try:
        return LabelFraction(text.removesuffix("pct")).bare
    except ValueError:
        return ""


def _told(run: str, rows: Sequence[Mapping[str, Any]], matches: int, results: Path) -> str:
    """What matches, or else what there is."""
    where = results / "records"
    head = f"{run!r} matches {matches} records in {where}; give one of these keys, or a record's file"
    if not rows:
        return f"{run!r} matches 0 records in {where}: there is none; --out names another results folder"
    more = [f"... and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return "\n  ".join([f"{head}:", *map(_line, rows[:_SHOWN]), *more])


def _line(row: Mapping[str, Any]) -> str:
    place = f"{row['dataset']}/{row['method']}/{row['fraction']}/{row['seed']}"
    score = "undefined" if row["score"] is None or math.isnan(row["score"]) else f"{row['score']:.4f}"
    on = " on validation" if row["scored"] == "validation" else ""
    on += f", fold {row['fold']} of {row['folds']}" if row["folds"] else ""
    title = headline.named(row["metric"]).title
    return f"{row['key']}  {place}  {row['configuration']}, {row['steps']} steps, {title} {score}{on}"


def _on_validation(record: Record) -> float:
    """The result's score on the validation set; NaN where it is not known."""
    if record.spec.scored == "validation":
        return record.score
    found = record.on_validation.get("result")
    return math.nan if found is None else found


def _first(scores: Mapping[str, float], metric: headline.Metric) -> str:
    return max(scores, key=lambda path: metric.gain(scores[path]))


def _check_comparable(records: Mapping[str, Record]) -> None:
    facts = {(record.spec.dataset, record.data, record.metric, record.metrics_version) for record in records.values()}
    if len(facts) > 1:
        names = ", ".join(sorted({fact[0] for fact in facts}))
        raise ValueError(f"--best needs runs on the same data, got those of {names}; name one: predict DATASET --best")


def _check_one_set(part: str, judged: Mapping[str, float], records: Mapping[str, Record]) -> None:
    if len({tuple(sorted(records[path].split[part])) for path in judged}) > 1:
        raise ValueError(f"--best: these runs have different {part} sets and do not compare; name fewer of them")
