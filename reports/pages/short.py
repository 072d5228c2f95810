"""The answer before anything else: who leads at each label fraction, how certain that is, what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from atso_bench.benchmark.scoring.headline import Metric
from atso_bench.benchmark.split_notes import of_test
from atso_bench.reports.certainty.evidence import Evidence
from atso_bench.reports.certainty.leader import Leader
from atso_bench.reports.certainty.significance import PairedTest
from atso_bench.reports.data.frame import Group
from atso_bench.reports.data.times import time_multiple
from atso_bench.reports.pages.page import Cell, Section, Table
from atso_bench.reports.words import NONE, count, decimals, signed

CERTAIN = "certain"
FEW = 6
"""So many methods' times still fit into a cell."""


def short(
    groups: Sequence[Group],
    known: Sequence[Evidence],
    titles: Sequence[str],
    anchors: Sequence[str],
    failures: int = 0,
    missing: int = 0,
) -> Section:
    """One line for each comparison and a table; validation scores are not ranked."""
    rows, words = [], []
    several = len(groups) > 1
    for group, evident, title, anchor in zip(groups, known, titles, anchors, strict=True):
        words += [f"{title}: {told}" if several else told for told in _in_a_line(group, evident)]
        for fraction, found in evident.leaders.items():
            head = [Cell(title, link=f"#{anchor}")] if several else []
            rows.append([*head, Cell(group.fractions[fraction]), *_of_leader(group, found, fraction)])
    if any(group.facts["scored"] != "test" for group in groups):
        words.append("Validation scores are for tuning and are not ranked here.")
    elif not rows:
        words.append("Only full supervision was run. There is nothing to compare.")
    if failures or missing:
        words.append(f"Not included: {count(failures, 'failure')}, {count(missing, 'missing run')}. See below.")
    if not rows:
        return Section("In short", "short", words)
    words = [*_too_few(groups), *words]
    kinds = {group.case for group in groups}
    case = kinds.pop() if len(kinds) == 1 else "case"
    words.append(
        f"Certain: the tests below show it for other {case}s and other seeds. These trainings only: other seeds may "
        "give another result. Relative time: training and pseudo-labelling, as a multiple of the baseline, mean over "
        "runs. It is processor time where that was measured, device time on a GPU, and wall-clock time otherwise. It "
        "is not given where equal steps took very different times."
    )
    heads = [*(["comparison"] if several else []), "label fraction", "best method", "score", "gain over baseline"]
    heads += ["gain over next best", "relative time"]
    return Section(
        "In short", "short", words, [Table("The best method at each label fraction", heads, rows, words=2 + several)]
    )


def _too_few(groups: Sequence[Group]) -> list[str]:
    """That a test set is too small to show anything."""
    sizes = {(group.facts["dataset"], int(group.runs["cases"].max())) for group in groups
             if group.facts["scored"] == "test"}  # fmt: skip
    return [f"{name}: {note}." for name, size in sorted(sizes) for note in of_test(size)]


def _in_a_line(group: Group, known: Evidence) -> list[str]:
    """Whether any method beats the baseline anywhere; nothing where the baseline or everything else is missing."""
    led = [found for found in known.leaders.values() if not found.reason and not math.isnan(found.baseline_mean)]
    if not led:
        return []
    better = [found for found in led if group.metric.gain(found.mean - found.baseline_mean) > 0]
    sure = [found for found in better if _sure(found.over_baseline, group.metric) == CERTAIN]
    higher, highest = ("higher", "highest") if group.metric.higher else ("lower", "lowest")
    if not better:
        return [f"No method scored {higher} than {known.baseline}{' at any label fraction' if len(led) > 1 else ''}."]
    names = ", ".join(dict.fromkeys(found.method for found in better))
    if len(led) == 1:
        certain = "and its lead over {} is" if sure else "but its lead over {} is not"
        return [f"{names} scored {highest}, {certain.format(known.baseline)} statistically certain."]
    certain = {0: "at none of them", len(better): "at all of them"}.get(len(sure), f"at {len(sure)} of them")
    words = f"At {len(better)} of {len(led)} label fractions, a method scored {higher} than {known.baseline} ({names})."
    return [f"{words} The lead is statistically certain {certain}."]


def _of_leader(group: Group, found: Leader, fraction: str) -> list[Cell]:
    if found.reason:
        return [Cell(NONE, found.reason), *[Cell(NONE)] * 4]
    means = group.means_at(fraction)
    best = [label for label in group.labels if means.get(label) == found.mean]
    alone = found.baseline in best or math.isnan(found.baseline_mean)
    over = f"{found.baseline} {decimals(found.baseline_mean)}; {_sure(found.over_baseline, group.metric)}"
    following = f"{found.runner_up} {decimals(found.runner_up_mean)}; {_sure(found.over_runner_up, group.metric)}"
    return [
        Cell(" and ".join(best), "tied" if len(best) > 1 else "", strong=len(best) == 1),
        Cell(decimals(found.mean)),
        Cell(NONE) if alone else Cell(signed(group.metric.gain(found.mean - found.baseline_mean)), over),
        Cell(NONE) if len(best) > 1 else Cell(signed(group.metric.gain(found.mean - found.runner_up_mean)), following),
        _time(group, fraction, found),
    ]


def _time(group: Group, fraction: str, found: Leader) -> Cell:
    """The leader's; those of the others beside it, where there are not too many."""
    times = {
        label: time_multiple(group, fraction, label, found.baseline)
        for label in group.labels
        if label != found.baseline
    }
    told = {label: multiple.text for label, multiple in times.items() if multiple.text}
    own = told.pop(found.method, "")
    others = ", ".join(f"{label} {text}" for label, text in told.items()) if len(told) <= FEW else ""
    withheld = times[found.method].reason if found.method in times else ""
    return Cell(own or ("1 ×" if found.method == found.baseline and others else NONE), withheld or others)


def _sure(test: PairedTest | None, metric: Metric) -> str:
    if test is None or test.reason:
        return "not tested"
    if test.seeds < 2:
        return "one seed: not testable"
    if test.certain and metric.gain(test.difference) > 0:
        return CERTAIN
    return "these trainings only" if test.these_differ and metric.gain(test.effect) > 0 else "not certain"
