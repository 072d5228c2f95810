"""What a reader asks first: who leads, how sure that is, at what cost, and with how many labels."""

from __future__ import annotations

import math

import pandas as pd

from atso_bench.benchmark.scoring.headline import Metric
from atso_bench.reports.certainty.evidence import Evidence
from atso_bench.reports.certainty.intervals import LabelsNeeded
from atso_bench.reports.certainty.leader import Leader, say
from atso_bench.reports.certainty.significance import PairedTest
from atso_bench.reports.data.frame import Group, headline
from atso_bench.reports.data.times import time_multiple
from atso_bench.reports.pages.page import Cell, Section, Table
from atso_bench.reports.words import NONE, count, decimals, ranges, signed


def leaders(group: Group, known: Evidence) -> list[str]:
    """A paragraph for each label fraction."""
    if group.facts["scored"] != "test":
        return ["These are validation scores, for tuning. Methods are neither ranked nor tested on them."]
    said = []
    for fraction, found in known.leaders.items():
        told = [say(found, group.fractions[fraction], group.metric)]
        runs = group.runs[group.runs.fraction == fraction]
        rivals = [runs[runs.label == label] for label in (found.method, found.baseline, found.runner_up)]
        if len({ranges(part["seed"].tolist()) for part in rivals if len(part)}) > 1:
            told.append("Means use all seeds of a method, tests the seeds that two methods share.")
        said.append(" ".join([*told, *_cost(group, fraction, found, *rivals[:2])]))
    return said


def _cost(group: Group, fraction: str, found: Leader, runs: pd.DataFrame, baseline: pd.DataFrame) -> list[str]:
    """Seconds of training and pseudo-labelling beside the baseline's; on one machine or not at all."""
    if found.method == found.baseline or found.mean == found.runner_up_mean or not (len(runs) and len(baseline)):
        return []
    if len({*runs["machine"], *baseline["machine"]}) > 1:
        return ["Times are not comparable: the runs used different machines."]
    multiple = time_multiple(group, fraction, found.method, found.baseline)
    if math.isnan(multiple.value):
        return [f"Its relative time is {multiple.reason}."] if multiple.reason else []
    if multiple.kind != "processor":
        return [f"Training and pseudo-labelling took {multiple.value:.1f} times as long as {found.baseline}."]
    clock = f" ({multiple.clock:.1f} times by the clock, because the runs had to wait)" if multiple.slowed else ""
    used = f"{multiple.value:.1f} times the processor time of {found.baseline}"
    return [f"Training and pseudo-labelling took {used}{clock}."]


def tests(group: Group, known: Evidence) -> Section:
    """Every other method against the baseline."""
    made = [test for test in known.against.values() if not test.reason]
    pairs = ranges([test.n + test.zeros for test in made])
    basis = (
        f"{count(len(made), 'test')} on {pairs} pairs, with p adjusted by Holm over all tests. " if made else
        "no test was possible; the verdict gives the reason. "
    )  # fmt: skip
    score = group.metric.of_case
    pooled = f" Difference and interval refer to the pooled {headline(group)}." if group.metric.pooled else ""
    seeds = max((test.seeds for test in made), default=0)
    least, most = ("worse", "better") if group.metric.higher else ("better", "worse")
    about = (
        f"The p over seeds and {group.case}s covers the methods, and so does the interval. Better or worse: this p is "
        "below 0.05 and the interval excludes 0. In these trainings: only Wilcoxon's p is below 0.05, and other seeds "
        "may give another result."
        if seeds > 1
        else f"One seed says nothing about other trainings: the interval covers other {group.case}s only, and there is "
        "no p over seeds."
    )
    words = [
        f"Each method against {known.baseline} at the same label fraction: {basis}"
        f"A pair is one test {group.case}: its {score} with each of the two methods, averaged over their shared seeds."
        f"{pooled} The effect size is the matched-pairs rank-biserial correlation, from −1 (every {group.case} "
        f"{least}) to 1 (every {group.case} {most}).",
        f"Wilcoxon's signed-rank test holds the seeds fixed: it covers these trainings only. {about} p is adjusted for "
        "the number of tests, the interval is not. Details: docs/statistics.md.",
    ]
    if known.left_out:
        words.append(
            "Missing from a record, and so left out of all tests and intervals: "
            f"{count(known.left_out, f'test {group.case}')}."
        )
    heads = ["label fraction", "method", "verdict", "difference", "95 % interval", "effect size", "pairs", "seeds"]
    heads += ["p, Wilcoxon (Holm)", f"p over seeds and {group.case}s (Holm)"]
    rows = [
        [Cell(group.fractions[fraction]), Cell(label), *_of_test(test, group.metric)]
        for (fraction, label), test in known.against.items()
    ]
    table = Table(f"{headline(group)}, difference from {known.baseline}", heads, rows, words=3)
    return Section(f"Paired tests against {known.baseline}", words=words, parts=[table])


def _of_test(test: PairedTest, metric: Metric) -> list[Cell]:
    ends = NONE if math.isnan(test.low) else f"{signed(test.low)} to {signed(test.high)}"
    alike = f"{test.zeros:,} tied" if test.zeros else ""
    return [
        _verdict(test, metric),
        Cell(signed(test.difference)),
        Cell(ends),
        Cell(signed(test.effect, 2)),
        Cell(f"{test.n + test.zeros:,}", alike),
        Cell(f"{test.seeds:,}"),
        Cell(_p(test.adjusted)),
        Cell(_p(test.adjusted_both), "one seed" if test.seeds == 1 else ""),
    ]


def _verdict(test: PairedTest, metric: Metric) -> Cell:
    if test.reason:
        return Cell("not tested", test.reason)
    if test.certain:
        return Cell("better" if metric.gain(test.difference) > 0 else "worse")
    if test.these_differ:
        trainings = "these trainings" if test.seeds > 1 else "this training"
        return Cell(f"{'better' if metric.gain(test.effect) > 0 else 'worse'} in {trainings}")
    return Cell("not significant")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else decimals(value)


def needed(group: Group, known: Evidence) -> list[str]:
    """How many labelled cases 95 % of full supervision take, by method."""
    if not known.needed:
        return []
    target = next(iter(known.needed.values())).target
    fewest = group.runs.groupby(["label", "fraction"])["labelled"].mean().groupby("label").min()
    said = "; ".join(f"{label}: {_labelled(found, fewest[label])}" for label, found in known.needed.items())
    return [
        f"Labelled {group.case}s needed for 95 % of full supervision"
        f"{'' if math.isnan(target) else f' ({headline(group)} {decimals(target)})'}, interpolated on a logarithmic "
        f"axis: {said}. An interval from one seed does not cover other seeds."
    ]


def _labelled(found: LabelsNeeded, fewest: float) -> str:
    told = found.reason or _amount(found.cases)
    if math.isnan(found.low):
        return told
    if found.low <= fewest and math.isinf(found.high):
        return f"{told} (95 % interval: unbounded)"
    ends = [
        "more than tried" if math.isinf(end) else _amount(end) + " or fewer" * bool(end <= fewest)
        for end in (found.low, found.high)
    ]
    return f"{told} (95 % interval: {' to '.join(dict.fromkeys(ends))})"


def _amount(cases: float) -> str:
    return decimals(cases, 1 if cases < 20 and cases % 1 else 0)
