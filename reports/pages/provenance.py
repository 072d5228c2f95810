"""Where the numbers come from, and what to doubt: warnings, failures, missing runs, the record of every run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd

from atso_bench.benchmark.scoring.headline import named
from atso_bench.reports.data.missing import AFRESH, Missing
from atso_bench.reports.data.rows import Failure
from atso_bench.reports.pages import tables
from atso_bench.reports.pages.page import Cell, Section, Table
from atso_bench.reports.words import NONE, count, decimals

_MAKERS = ["commit", "machine", "versions", "command"]


def warnings(runs: pd.DataFrame) -> Section:
    """What all runs on a dataset say, once; then what single runs say."""
    rows = []
    for dataset, part in runs.groupby("dataset", sort=True):
        shared = said_by_all(part)
        rows += [[Cell(f"all {count(len(part), 'run')} on {dataset}"), Cell(text)] for text in shared]
        rows += [
            [Cell(run["title"], run["key"], link=_link(run["path"])), Cell(text)]
            for run in _ordered(part[[any(text not in shared for text in texts) for texts in part["warnings"]]])
            for text in run["warnings"]
            if text not in shared
        ]
    if not rows:
        return Section("Warnings", "warnings", ["No run left a warning."])
    return Section("Warnings", "warnings", [], [Table("Warnings by run", ["run", "warning"], rows, 2, long=True)])


def said_by_all(runs: pd.DataFrame) -> list[str]:
    """Warnings that every one of the runs left."""
    return [text for text in dict.fromkeys(runs["warnings"].iloc[0]) if _in_all(text, runs)] if len(runs) else []


def _in_all(text: str, runs: pd.DataFrame) -> bool:
    return len(runs) > 1 and all(text in warnings for warnings in runs["warnings"])


def failed(failures: Sequence[Failure]) -> Section:
    rows = [
        [Cell(failure.run, "" if failure.run == failure.path else failure.path, link=_link(failure.path))]
        + [Cell(text) for text in (failure.phase, failure.message, failure.retry)]
        for failure in failures
    ]
    table = Table("What failed", ["run", "phase", "message", "what to do"], rows, words=4, long=True)
    return Section("Failures", "failures", ["These runs are not in the tables above."], [table])


def not_there(missing: Sequence[Missing]) -> Section:
    """Runs that were asked for and left neither a record nor a failure."""
    rows, told = [], set()
    for each in missing:
        rows.append(
            [
                Cell(each.run, each.key),
                Cell(each.path, link=_link(each.path)),
                Cell(each.time),
                Cell("same command" if each.path in told else each.command, each.note),
            ]
        )
        told.add(each.path)
    words = [
        "These runs were requested but have no record: they were interrupted, are still running, lost their record, or "
        "were to be repeated. The command completes what is missing. If the runs are no longer needed, delete the file."
    ]
    if any(each.note for each in missing):
        words.append(AFRESH)
    table = Table("Missing runs", ["run", "requested in", "when", "command"], rows, words=4, long=True)
    return Section("Missing runs", "missing", words, [table])


def provenance(runs: pd.DataFrame) -> Section:
    made = runs[_MAKERS].drop_duplicates().sort_values(_MAKERS).reset_index(drop=True)
    number = {tuple(row): f"{index + 1}" for index, row in enumerate(made.to_numpy().tolist())}
    metrics = sorted(set(runs["metric"]))
    rows, anchors = [], set()
    for run in _ordered(runs):
        place = tables.records_of(run["comparison"], run["fraction"], run["label"])
        first = place not in anchors
        anchors.add(place)
        for path, score in run["members"]:
            rows.append(
                [
                    Cell(path, link=_link(path), anchor=place if first else ""),
                    *(Cell(decimals(score if run["metric"] == metric else math.nan, 4)) for metric in metrics),
                    *(Cell(run[name] or NONE) for name in ("split", "data")),
                    Cell(number[tuple(run[name] for name in _MAKERS)]),
                ]
            )
            first = False
    heads = ["record", *(named(metric).title for metric in metrics), "split", "data", "made by"]
    records = Table("The record of every run", heads, rows, words=len(heads), long=True)
    each = [[Cell(number[row]), *(Cell(text or NONE) for text in row)] for row in number]
    programs = Table("Code, machine and command of each record", ["made by", *_MAKERS], each, words=5, long=True)
    words = ["Paths are relative to the results folder. A + after a commit: the code had uncommitted changes."]
    return Section("Provenance", "provenance", words, [records, programs])


def _ordered(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Runs that stand in one cell of a table of scores follow each other."""
    order = ["dataset", "comparison", "method", "label", "labelled", "fraction", "seed", "path"]
    shown = [*order, "key", "title", "warnings", "score", "metric", "members", "split", "data", *_MAKERS]
    ordered: list[Any] = runs[shown].sort_values(order).to_dict("records")
    return ordered


def _link(path: str) -> str:
    return "../" + quote(path)
