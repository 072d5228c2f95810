"""What the runs of a comparison say together: intervals, tests against the baseline, leaders, labels needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import comb

import numpy as np
import pandas as pd

from atso_bench.benchmark.split_notes import FEWEST_TEST
from atso_bench.reports.certainty.gap import GapClosed, gap_closed
from atso_bench.reports.certainty.headroom import Headroom, headroom, with_fewer_steps
from atso_bench.reports.certainty.intervals import (
    Estimate,
    Floats,
    LabelsNeeded,
    estimate,
    estimate_drawn,
    labels_needed,
    miou,
    resample_miou,
)
from atso_bench.reports.certainty.leader import Leader, leader
from atso_bench.reports.certainty.significance import PairedTest, adjust, adjust_one, paired, untested
from atso_bench.reports.data.frame import Group
from atso_bench.reports.data.rows import BASELINE, COUNTS

Place = tuple[str, str]
"""A label fraction and a method."""


@dataclass(frozen=True)
class Evidence:
    """What the runs of a comparison say together.

    Attributes:
        baseline: the label of the method that the others are held against, whether it was run or not.
        estimates: the score of every method at every label fraction.
        against: every other method against the baseline, adjusted over all of them; a test that could not be made has
            the reason. Empty where the baseline was not run.
        leaders: of every label fraction at which something but the upper bound was run.
        needed: per method, how many labelled cases 95 % of full supervision take; empty without an upper bound, and
            where a lower score is better, of which 95 % would be more than full supervision has.
        headroom: by label fraction, what there is to win and which differences can be shown.
        closed: of every other method the share of the gap to all labels; empty without an upper bound.
        left_out: cases that some record lacks; they are in no test and no interval.
    """

    baseline: str
    estimates: dict[Place, Estimate]
    against: dict[Place, PairedTest]
    leaders: dict[str, Leader]
    needed: dict[str, LabelsNeeded]
    left_out: int = 0
    headroom: dict[str, Headroom] = field(default_factory=dict)
    closed: dict[Place, GapClosed] = field(default_factory=dict)

    @property
    def tested(self) -> bool:
        led = [test for each in self.leaders.values() for test in (each.over_baseline, each.over_runner_up)]
        return any(test is not None and not test.reason for test in (*self.against.values(), *led))


def evidence(group: Group, fewer_steps: Group | None = None) -> Evidence:
    """All of it; nothing for validation scores: what was chosen by them looks too good on them.

    Args:
        group: the comparison.
        fewer_steps: the same with half of the steps or fewer, where it was run.
    """
    baseline = _baseline(group)
    if group.facts["scored"] != "test":
        return Evidence(baseline, {}, {}, {}, {})
    scored = _Scored(group)
    runs = group.cells
    estimates = {place: scored.estimate(part["key"].tolist()) for place, part in runs.items()}
    against = {}
    if baseline in group.labels:
        others = [place for place in runs if place[1] != baseline]
        against = adjust({place: scored.test(runs, place, (place[0], baseline)) for place in others})
    return Evidence(
        baseline,
        estimates,
        against,
        _leaders(group, baseline, runs, against, scored),
        _needed(group, baseline, runs, estimates),
        scored.left_out,
        with_fewer_steps(headroom(group, baseline), group, fewer_steps),
        _closed(group, baseline, runs, scored),
    )


def duels(group: Group, fraction: str, first: str) -> dict[str, PairedTest]:
    """One method against each other one at a label fraction, not adjusted; of validation scores too, for a race."""
    scored = _Scored(group)
    others = [label for text, label in group.cells if text == fraction and label != first]
    return {label: scored.test(group.cells, (fraction, first), (fraction, label)) for label in others}


def _baseline(group: Group) -> str:
    """With the options as they come, where variants of it were run."""
    runs = group.runs[group.runs.method == BASELINE]
    plain = [label for label, overrides in zip(runs["label"], runs["overrides"], strict=True) if not overrides]
    return min(plain or runs["label"], default=BASELINE)


def _leaders(
    group: Group, baseline: str, runs: dict[Place, pd.DataFrame], against: dict[Place, PairedTest], scored: _Scored
) -> dict[str, Leader]:
    means = {fraction: group.means_at(fraction) for fraction in group.fractions}
    pairs = sum(comb(sum(not math.isnan(mean) for mean in each.values()), 2) for each in means.values())
    found = {}
    for fraction, each in means.items():
        if group.runs.loc[group.runs.fraction == fraction, "upper"].all():
            continue
        tests = {label: test for (place, label), test in against.items() if place == fraction}
        first = leader(each, baseline, tests, {}, group.metric)
        top = (first.method, first.runner_up)
        if not first.reason and first.over_runner_up is None:
            test = scored.test(runs, (fraction, top[0]), (fraction, top[1]))
            first = leader(each, baseline, tests, {top: adjust_one(test, pairs)}, group.metric)
        found[fraction] = first
    return found


def _closed(group: Group, baseline: str, runs: dict[Place, pd.DataFrame], scored: _Scored) -> dict[Place, GapClosed]:
    """Gains pair runs of one seed and split; the gap pairs runs of one seed, as all labels are another split."""
    upper = [part["key"] for (_, label), part in runs.items() if label == baseline and part["upper"].all()]
    if not upper:
        return {}
    bases = {fraction: part["key"] for (fraction, label), part in runs.items() if label == baseline}
    gaps = {fraction: scored.difference(upper[-1], base, split=False) for fraction, base in bases.items()}
    return {
        place: gap_closed(scored.difference(part["key"], bases[place[0]]), gaps[place[0]])
        for place, part in runs.items()
        if place[1] != baseline and place[0] in bases
    }


def _needed(
    group: Group, baseline: str, runs: dict[Place, pd.DataFrame], estimates: dict[Place, Estimate]
) -> dict[str, LabelsNeeded]:
    upper = [place for place, part in runs.items() if place[1] == baseline and part["upper"].all()]
    if not upper or not group.metric.higher:
        return {}
    found = {}
    for label in group.labels:
        places = [place for place in runs if place[1] == label]
        if set(places) != set(upper):
            labelled = [float(runs[place]["labelled"].mean()) for place in places]
            found[label] = labels_needed(labelled, [estimates[place] for place in places], estimates[upper[-1]])
    return found


class _Scored:
    """The runs' scores, case by case; runs without a score or without cases are left out.

    Attributes:
        left_out: cases that some run lacks.
    """

    def __init__(self, group: Group) -> None:
        defined = group.runs.dropna(subset=["score"]).set_index("key")[["seed", "split"]]
        columns = ["key", "case", "class", *(COUNTS if group.metric.pooled else [group.metric.ratio])]
        rows = group.scores.loc[group.scores["class"].isin(group.facts["classes"]), columns]
        if group.metric.pooled:
            rows = rows[~rows["key"].isin(rows.loc[rows[list(COUNTS)].isna().any(axis=1), "key"])]
        rows = rows[rows["key"].isin(defined.index)]
        present = rows.groupby(["key", "case"]).size().unstack("case")
        common = present.columns[present.notna().all()]
        self.left_out = len(present.columns) - len(common)
        rows = rows[rows["case"].isin(common)]
        self._pooled = group.metric.pooled
        self._places = {key: place for place, key in enumerate(present.index)}
        seeds, splits = defined["seed"].tolist(), defined["split"].tolist()
        self._trainings = dict(zip(defined.index, zip(seeds, splits, strict=True), strict=True))
        self._drawn: dict[str, tuple[Floats, Floats]] = {}
        if group.metric.pooled:
            self._counts = _counts(rows, present.index, common, list(dict.fromkeys(group.facts["classes"])))
            self._by_case = miou(self._counts)
        else:
            self._by_case = group.run_scores.reindex(index=present.index, columns=common).to_numpy(dtype=float)

    def estimate(self, keys: Sequence[str]) -> Estimate:
        """Of the headline of the runs."""
        known = [key for key in keys if key in self._places]
        if not self._pooled:
            return self._said(estimate(self._cases(known)))
        return self._said(estimate_drawn(*self._draws(known), self._by_case.shape[1]))

    def difference(self, keys: Iterable[str], others: Iterable[str], *, split: bool = True) -> Estimate:
        """Of the headlines of runs of the same seeds, and with ``split`` of the same splits."""
        one, two = (
            {self._trainings[key][: 1 + split]: key for key in each if key in self._places} for each in (keys, others)
        )
        both = sorted(set(one) & set(two))
        mine, theirs = [one[each] for each in both], [two[each] for each in both]
        if not both:
            return Estimate(math.nan, reason="no seed is in both")
        if not self._pooled:
            return self._said(estimate(self._cases(mine) - self._cases(theirs)))
        means, draws = (a - b for a, b in zip(self._draws(mine), self._draws(theirs), strict=True))
        return self._said(estimate_drawn(means, draws, self._by_case.shape[1]))

    def _said(self, found: Estimate) -> Estimate:
        """Without an interval where the test set is too small for one, however narrow it came out."""
        cases = self._by_case.shape[1]
        if found.reason or cases >= FEWEST_TEST:
            return found
        return replace(found, low=math.nan, high=math.nan, reason=f"there are fewer than {FEWEST_TEST} test cases")

    def test(self, runs: dict[Place, pd.DataFrame], method: Place, other: Place) -> PairedTest:
        """One method against another: the seeds that both have, and with each the same split."""
        one, two = (
            {self._trainings[key]: key for key in runs[place]["key"] if key in self._places} if place in runs else {}
            for place in (method, other)
        )
        for place, found in ((method, one), (other, two)):
            if not found:
                return untested(f"{place[1]} has no score")
        both = sorted(set(one) & set(two))
        if not both:
            return untested(f"{method[1]} and {other[1]} share no seed and split")
        keys, others = [one[each] for each in both], [two[each] for each in both]
        difference = None
        if self._pooled:
            means, draws = (a - b for a, b in zip(self._draws(keys), self._draws(others), strict=True))
            difference = estimate_drawn(means, draws, self._by_case.shape[1])
        tested = paired(self._cases(keys), self._cases(others), difference)
        few = self._by_case.shape[1] < FEWEST_TEST
        return replace(tested, low=math.nan, high=math.nan) if few else tested

    def _cases(self, keys: Sequence[str]) -> Floats:
        """``(runs, cases)``."""
        return self._by_case[[self._places[key] for key in keys]]

    def _draws(self, keys: Sequence[str]) -> tuple[Floats, Floats]:
        """``(runs,)`` and ``(runs, samples)``; resampling a run's frames takes long, so it is done once."""
        for key in keys:
            if key not in self._drawn:
                self._drawn[key] = resample_miou(self._counts[self._places[key]])
        means, draws = zip(*(self._drawn[key] for key in keys), strict=True) if keys else ((), np.empty((0, 0)))
        return np.array(means), np.array(draws)


def _counts(rows: pd.DataFrame, keys: pd.Index, cases: pd.Index, classes: list[str]) -> Floats:
    """``(runs, frames, classes, 3)`` pixels: tp, fp, fn; a class that a frame does not name has none."""
    found = np.zeros((len(keys), len(cases), len(classes), len(COUNTS)))
    places = zip((keys, cases, pd.Index(classes)), ("key", "case", "class"), strict=True)
    where = tuple(index.get_indexer(pd.Index(rows[name])) for index, name in places)
    found[where] = rows[list(COUNTS)].to_numpy(dtype=float)
    return found
