"""Records to frames: one row for each run, each phase, each pseudo-labelling, and each case and class of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from atso_bench.benchmark.scoring.headline import Metric, named
from atso_bench.benchmark.spec import LabelFraction, digest
from atso_bench.reports.data import rows
from atso_bench.reports.data.columns import spelled
from atso_bench.reports.data.listing import record_files
from atso_bench.reports.data.means import mean
from atso_bench.reports.data.reading import read_rows
from atso_bench.reports.data.rows import Failure
from atso_bench.reports.data.workers import Map
from atso_bench.reports.words import count, plain


@dataclass(frozen=True)
class Group:
    """Runs that may stand in one table: same data, test set, budget, recipe and metrics.

    Attributes:
        name: digest of ``facts``.
        facts: what these runs have in common and must have in common to be compared.
        runs: one row per run; ``label`` is the method with the options that set it apart.
        bare: rows of ``Frames.scores``.
        bare_phases: rows of ``Frames.phases``.
        bare_diagnostics: rows of ``Frames.diagnostics``.
        bare_classes: rows of ``Frames.classes``.
        fractions: the label fractions from few to many labelled cases, with the words for a column's head.
        labels: the values of ``runs.label``, the baseline first.
        places: of each label the place among all labels of the report, by which it has its colour in every figure.
    """

    name: str
    facts: dict[str, Any]
    runs: pd.DataFrame
    bare: pd.DataFrame
    bare_phases: pd.DataFrame
    bare_diagnostics: pd.DataFrame
    bare_classes: pd.DataFrame
    fractions: dict[str, str]
    labels: list[str]
    places: dict[str, int]

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per run (``key``), case and class, with ``label``, ``fraction`` and ``seed`` of the run.

        Made where it is asked for: the rows of all comparisons together would be most of a report's memory.
        """
        return _about_runs(self.bare, self.runs)

    @cached_property
    def phases(self) -> pd.DataFrame:
        """One row per run and phase, as ``scores`` are."""
        return _about_runs(self.bare_phases, self.runs)

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """One row per run and pseudo-labelling, as ``scores`` are."""
        return _about_runs(self.bare_diagnostics, self.runs)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """One row per run, pseudo-labelling (``entry`` of ``diagnostics``), rate and class, with words spelled out."""
        return spelled(self.bare_classes)

    @cached_property
    def cells(self) -> dict[tuple[str, str], pd.DataFrame]:
        """The runs of each label fraction and method that there are, in the order of the tables.

        In one pass: to look for each cell's runs among all takes as many passes as there are cells.
        """
        found = {(str(text), str(label)): runs for (text, label), runs in self.runs.groupby(["fraction", "label"])}
        return {place: found[place] for place in product(self.fractions, self.labels) if place in found}

    @cached_property
    def means(self) -> dict[tuple[str, str], float]:
        """By label fraction and method: the mean score over runs, see `mean`; NaN where no run has a score.

        Whatever compares, ranks or shows mean scores takes them from here: two ways to add up the same numbers may
        differ in the last digit, and then a leader would not be found among the means.
        """
        return {place: mean(runs["score"]) for place, runs in self.cells.items()}

    def means_at(self, fraction: str) -> dict[str, float]:
        """By method: the mean scores at a label fraction."""
        return {label: value for (text, label), value in self.means.items() if text == fraction}

    @cached_property
    def run_scores(self) -> pd.DataFrame:
        """A row per run (``key``), a column per case: mean Dice over classes, or mIoU over those in its reference."""
        rows_of = self.scores[self.scores["class"].isin(self.facts["classes"])]
        if self.metric.pooled:
            counts = rows_of[list(rows.COUNTS)].astype(float)
            values = (counts["tp"] / counts.sum(axis=1)).where(counts["tp"] + counts["fn"] > 0)
        else:
            values = rows_of[self.metric.ratio]
        return values.groupby([rows_of["key"], rows_of["case"]]).mean().unstack("case")

    @cached_property
    def learning_seconds(self) -> pd.Series:
        """By run (``key``): training and pseudo-labelling, shared phases in full; NaN where any part is undefined."""
        return self._learning("seconds")

    @cached_property
    def learning_cpu_seconds(self) -> pd.Series:
        """By run (``key``): the processor time of ``learning_seconds``; NaN where any part was not measured."""
        return self._learning("cpu_seconds")

    def _learning(self, name: str) -> pd.Series:
        spent = self.phases[self.phases["kind"].isin(rows.LEARNING)].groupby("key")[name]
        return spent.sum().where(spent.count() == spent.size()).astype(float)

    @property
    def metric(self) -> Metric:
        """What the scores are of."""
        return named(self.facts["metric"])

    @property
    def case(self) -> str:
        """What a case is called."""
        return self.metric.case

    @property
    def palette(self) -> dict[str, list[int]]:
        """Red, green and blue of each class as the data has them; empty where no record says."""
        return next((palette for palette in self.runs["palette"] if palette), {})


@dataclass(frozen=True)
class Frames:
    """Everything that a report is made from.

    Attributes:
        runs: one row per run.
        scores: one row per run (``key``), case and class; words are categories, see ``columns.spelled``.
        phases: one row per run and phase, in the same way.
        diagnostics: one row per run and pseudo-labelling, in the same way.
        classes: one row per run, pseudo-labelling, rate and class, in the same way.
        failures: runs that left no score, and files that are no record.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    phases: pd.DataFrame
    diagnostics: pd.DataFrame
    classes: pd.DataFrame
    failures: list[Failure]

    @property
    def scored_run(self) -> NDArray[np.integer[Any]]:
        """The place among ``runs`` of the run of each row of ``scores``."""
        return _run_of(self.scores)

    def groups(self) -> list[Group]:
        """The comparisons, each apart from the others, in a stable order."""
        if self.runs.empty:
            return []
        names, comparison = np.unique(self.runs["comparison"].to_numpy(dtype=str), return_inverse=True)
        runs = [self.runs.iloc[own] for own in _rows_by(comparison, len(names))]
        tables = [
            [frame.iloc[own] for own in _rows_by(comparison[_run_of(frame)], len(names))]
            for frame in (self.scores, self.phases, self.diagnostics, self.classes)
        ]
        every = {label: place for place, label in enumerate(_in_order(self.runs))}
        found = [_group(str(name), every, *each) for name, *each in zip(names, runs, *tables, strict=True)]
        return sorted(found, key=lambda group: _place(group.facts, group.name))


def _run_of(frame: pd.DataFrame) -> NDArray[np.integer[Any]]:
    """Of each row the place of its run among all: the keys are categories in that order."""
    return frame["key"].cat.codes.to_numpy()


def _about_runs(bare: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The rows, spelled out, with ``label``, ``fraction`` and ``seed`` of their run behind its ``key``."""
    frame = spelled(bare)
    run = pd.Index(runs["key"]).get_indexer(pd.Index(frame["key"]))
    about = runs[["label", "fraction", "seed"]].take(run).set_axis(frame.index)
    return pd.concat([frame["key"], about, frame.drop(columns="key")], axis=1)


def _rows_by(number: NDArray[np.intp], numbers: int) -> list[slice | NDArray[np.intp]]:
    """The rows of each number below ``numbers``, in order; a slice, which copies nothing, where they lie together."""
    order = np.argsort(number, kind="stable")
    found: list[slice | NDArray[np.intp]] = []
    for own in np.split(order, np.searchsorted(number[order], np.arange(1, numbers))):
        together = len(own) and own[-1] - own[0] == len(own) - 1
        found.append(slice(own[0], own[-1] + 1) if together else own)
    return found


def _group(
    name: str,
    every: dict[str, int],
    runs: pd.DataFrame,
    scores: pd.DataFrame,
    phases: pd.DataFrame,
    diagnostics: pd.DataFrame,
    classes: pd.DataFrame,
) -> Group:
    facts = runs["facts"].iloc[0]
    by_fraction = {str(text): part for text, part in runs.groupby("fraction")}
    order = sorted(by_fraction, key=lambda text: (by_fraction[text]["labelled"].mean(), text))
    heads = {text: _fraction_head(text, by_fraction[text], named(facts["metric"]).case) for text in order}
    labels = _in_order(runs)
    places = {label: every[label] for label in labels}
    return Group(name, facts, runs, scores, phases, diagnostics, classes, heads, labels, places)


def _in_order(runs: pd.DataFrame) -> list[str]:
    """The labels, the baseline's first."""
    methods = dict(zip(runs["label"], runs["method"], strict=True))
    return sorted(methods, key=lambda label: (methods[label] != rows.BASELINE, label))


def read(results: Path, each: Map = map, files: Sequence[Path] | None = None) -> Frames:
    """Read all records and failures below ``results/records``; a file that cannot be read becomes a failure.

    Args:
        results: the results folder.
        each: reads the parts of many files, here or in other processes.
        files: these alone, in the order of their paths.

    Raises:
        ValueError: if there is neither a record nor a failure.
    """
    found = read_rows(record_files(results) if files is None else files, results, each)
    failures = [found.failures[path] for path in sorted(found.failures, key=Path)]
    if not found.runs and not failures:
        raise ValueError(f"there are no records under {results / 'records'}; make some with `atso-bench run`")
    runs = _labelled_by_options(pd.DataFrame([*found.runs.values()], columns=None if found.runs else ["comparison"]))
    keys = pd.Index([*found.runs], dtype=str)  # one object, which goes to another process once
    scores, phases, diagnostics, classes = (table.frame(keys) for table in found.tables)
    return Frames(runs, scores, phases, diagnostics, classes, failures)


# Names


def _labelled_by_options(runs: pd.DataFrame) -> pd.DataFrame:
    """Add ``label``: the method and those of its options that were set, or that differ within a comparison."""
    if runs.empty:
        return runs
    labels: dict[Any, str] = {}
    for (_, method), part in runs.groupby(["comparison", "method"]):
        defaults = _defaults(part)
        every = {name for options in part["options"] for name in options}
        full = [{**defaults, **options} for options in part["options"]]
        differ = {name for name in every if len({digest(options.get(name)) for options in full}) > 1}
        for index, overrides, options in zip(part.index, part["overrides"], full, strict=True):
            values = {**overrides, **options}
            shown = ", ".join(f"{each}={plain(values.get(each))}" for each in sorted({*overrides, *differ}))
            labels[index] = f"{method} ({shown})" if shown else str(method)
    return _warned_of_code(runs.assign(label=[labels[index] for index in runs.index]))


def _defaults(runs: pd.DataFrame) -> dict[str, Any]:
    """Values of a method's options that nobody set: what an option that came later was in runs from before it."""
    pairs = zip(runs["overrides"], runs["options"], strict=True)
    return {name: value for given, options in pairs for name, value in options.items() if name not in given}


def _warned_of_code(runs: pd.DataFrame) -> pd.DataFrame:
    """A method that was edited between its runs is several methods under one name, which its runs then say."""
    told = dict(zip(runs.index, runs["warnings"], strict=True))
    for (_, label), part in runs.groupby(["comparison", "label"]):
        versions = len({code for code in part["code"] if code})
        if versions > 1:
            text = (
                f"the {len(part)} runs of {label} come from {versions} versions of its code; run the same command again"
            )
            told |= {index: [*told[index], text] for index in part.index}
    return runs.assign(warnings=[told[index] for index in runs.index])


def _place(facts: dict[str, Any], name: str) -> tuple:
    """Results before scores on the validation set, equal budgets before equal phases."""
    parity = facts["parity"] != "total"
    return facts["scored"] != "test", facts["dataset"], facts["configuration"], parity, facts["steps"], name


def _fraction_head(text: str, runs: pd.DataFrame, noun: str) -> str:
    """``10 % (4 cases)``; the number of cases may vary over seeds, since a split never divides a group."""
    fraction = LabelFraction(text)
    low, high = int(runs["labelled"].min()), int(runs["labelled"].max())
    cases = count(low, noun) if low == high else f"{low:,}–{high:,} {noun}s"
    if fraction.listed:
        cases += ", published list"
    if fraction.cases is None:
        return f"{fraction.bare} % ({cases})"
    return f"{cases} ({runs['percent'].mean():.3g} %)"


def headline(group: Group) -> str:
    return group.metric.heading


def case_scores(group: Group) -> pd.DataFrame:
    """A row per case, a column per (label fraction, method): mean over seeds; NaN is undefined."""
    places = group.runs.set_index("key")[["fraction", "label"]]
    scores = group.run_scores.join(places)
    return scores.groupby(["fraction", "label"]).mean().T
