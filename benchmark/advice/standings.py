"""Who is ahead in a race, by the validation set and the tests of the report, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path

from atso_bench.reports.certainty.evidence import duels
from atso_bench.reports.certainty.significance import PairedTest, adjust_one
from atso_bench.reports.data.frame import read
from atso_bench.reports.words import signed


@dataclass(frozen=True)
class Standing:
    """A method after a round.

    Attributes:
        method: its name.
        score: mean over seeds on the validation set.
        behind: how much better the first one is.
        test: the first one against it, adjusted for all pairs of the race; None for the first one itself.
    """

    method: str
    score: float
    behind: float = 0.0
    test: PairedTest | None = None

    @property
    def told(self) -> str:
        """How sure it is that the first one is better."""
        if self.test is None:
            return "first"
        if self.test.certain:
            return "behind, certain"
        if self.test.these_differ:
            return "behind in these trainings; other seeds may differ"
        return "not distinguishable from the first" + (f": {self.test.reason}" if self.test.reason else "")


def standings(results: Path, files: Sequence[Path], field: int) -> tuple[list[Standing], str]:
    """The methods of these records, the best first, and what the score is.

    Args:
        results: the results folder.
        files: records of runs with equal steps.
        field: how many methods began the race: the two at the top are known only after looking at all pairs.

    Raises:
        ValueError: if the records do not belong together, or there is none.
    """
    groups = read(results, files=files).groups()
    if len(groups) != 1 or len(groups[0].fractions) != 1:
        raise ValueError(f"the runs of one round make {len(groups)} comparisons; were they made by one version?")
    (group,) = groups
    fraction = next(iter(group.fractions))
    means = {label: mean for label, mean in group.means_at(fraction).items() if not math.isnan(mean)}
    order = sorted(means, key=lambda label: group.metric.gain(means[label]), reverse=True)
    if not order:
        raise ValueError("no run of this round has a score")
    names = dict(zip(group.runs["label"], group.runs["method"], strict=True))
    first, tests = order[0], duels(group, fraction, order[0])
    found = [Standing(names[first], means[first])]
    for label in order[1:]:
        behind = float(group.metric.gain(means[first] - means[label]))
        found.append(Standing(names[label], means[label], behind, adjust_one(tests[label], comb(field, 2))))
    return found, group.metric.title


def verdict(found: Sequence[Standing], costs: Mapping[str, float], seeds: int) -> list[str]:
    """The recommendation, or that there is none, in words.

    Args:
        found: after the last round.
        costs: seconds of a whole run of each method.
        seeds: that the two at the top have.
    """
    first, others = found[0], found[1:]
    if not others:
        return [f"only {first.method} has a score; there is nothing to hold it against"]
    equal = [each for each in others if each.test is not None and not each.test.certain]
    if not equal:
        return [
            f"recommended: {first.method}. It is better than every method that was left, for other seeds and cases."
        ]
    names = [first.method, *(each.method for each in equal)]
    cheapest = min(names, key=lambda name: costs[name])
    said = [f"not distinguishable within this budget: {', '.join(names)} ({seeds} seed{'s' * (seeds != 1)})."]
    told = f"{first.method} has the best mean, by {signed(equal[0].behind)}"
    if cheapest == first.method:
        return [*said, f"{told}, and it is the cheapest of them: take it."]
    times = costs[first.method] / costs[cheapest]
    return [*said, f"{told}; {cheapest} is the cheapest ({first.method} takes {times:.1f} times as long)."]
