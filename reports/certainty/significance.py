"""Which differences are more than chance: paired tests, Holm over a whole table."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from atso_bench.benchmark.split_notes import FEWEST_TEST
from atso_bench.reports.certainty.intervals import Estimate, Floats, estimate
from atso_bench.reports.data.means import SAME

Key = TypeVar("Key", bound=Hashable)

FEWEST_PAIRS = FEWEST_TEST
ALPHA = 0.05


@dataclass(frozen=True)
class PairedTest:
    """One method against another, on the same cases with the same seeds.

    Attributes:
        p: two-sided p of Wilcoxon's signed-rank test on cases; NaN where ``reason`` says why. It is about *these*
            trainings.
        n: pairs with a difference, on which the test was made.
        zeros: pairs without one, which the test leaves out.
        effect: matched-pairs rank-biserial correlation, from -1 (every case lower) to 1 (every case higher).
        difference: mean of the differences, method minus baseline.
        low: lower end of its interval.
        high: upper end.
        seeds: how many both methods have.
        p_seeds: two-sided p of the difference over other seeds and other cases; NaN with one seed.
        adjusted: ``p`` by Holm over the whole table; NaN before `adjust`.
        adjusted_both: the larger of ``p`` and ``p_seeds`` by Holm over the whole table; NaN before `adjust`.
        reason: why there is no ``p``; empty where there is one.
    """

    p: float
    n: int
    zeros: int
    effect: float
    difference: float
    low: float
    high: float
    seeds: int = 1
    p_seeds: float = math.nan
    adjusted: float = math.nan
    adjusted_both: float = math.nan
    reason: str = ""

    @property
    def p_both(self) -> float:
        """Small only where the cases and the seeds both say so; NaN where one of them says nothing."""
        return math.nan if math.isnan(self.p) or math.isnan(self.p_seeds) else max(self.p, self.p_seeds)

    @property
    def these_differ(self) -> bool:
        """Whether these trainings differ on cases like these, whatever other seeds would give."""
        return self.adjusted < ALPHA

    @property
    def certain(self) -> bool:
        """Whether the methods differ, and not only these trainings of them."""
        apart = (self.effect > 0 and self.low > 0) or (self.effect < 0 and self.high < 0)
        return self.adjusted_both < ALPHA and apart

    def turned(self) -> PairedTest:
        """The baseline against the method."""
        return replace(self, effect=-self.effect, difference=-self.difference, low=-self.high, high=-self.low)


def paired(method: ArrayLike, baseline: ArrayLike, difference: Estimate | None = None) -> PairedTest:
    """Wilcoxon's signed-rank test on cases, of the mean over seeds.

    Args:
        method: ``(seeds, cases)``, or ``(cases,)`` for one seed or where the seeds are not known.
        baseline: the same cases and seeds in the same order.
        difference: of the headline, where that is no mean over cases (`estimate_miou`); otherwise taken from the cases.
    """
    from scipy import stats

    one, other = (np.atleast_2d(np.asarray(each, dtype=float)) for each in (method, baseline))
    if one.shape != other.shape or one.ndim != 2:
        raise ValueError(f"pairs need the same seeds and cases, but got shapes {one.shape} and {other.shape}")
    differences = one - other
    found = estimate(differences) if difference is None else difference
    defined = ~np.isnan(differences).all(axis=0)
    by_case = np.asarray(np.nanmean(differences[:, defined], axis=0)).round(SAME)
    nonzero = by_case[by_case != 0]
    n, zeros = len(nonzero), int(len(by_case) - len(nonzero))
    p, reason, effect = math.nan, "", math.nan
    if n:
        ranks = stats.rankdata(np.abs(nonzero))
        effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
    if n < FEWEST_PAIRS:
        reason = f"{n} of {len(by_case)} pairs differ; a test needs at least {FEWEST_PAIRS}"
    else:
        p = float(stats.wilcoxon(nonzero).pvalue)
    ends = found.mean, found.low, found.high
    return PairedTest(p, n, zeros, effect, *ends, seeds=found.seeds, p_seeds=found.p_zero(), reason=reason)


def holm(values: ArrayLike) -> Floats:
    """Holm's adjusted p; NaN stays NaN and does not count as a test."""
    p = np.asarray(values, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN sorts last
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def adjust(tests: Mapping[Key, PairedTest]) -> dict[Key, PairedTest]:
    """All tests of a table with what Holm makes of their p."""
    cases, both = (holm([getattr(test, name) for test in tests.values()]) for name in ("p", "p_both"))
    return {
        key: replace(test, adjusted=float(one), adjusted_both=float(other))
        for (key, test), one, other in zip(tests.items(), cases, both, strict=True)
    }


def untested(reason: str) -> PairedTest:
    """What stands in a table for a test that could not be made."""
    return PairedTest(math.nan, 0, 0, math.nan, math.nan, math.nan, math.nan, seeds=0, reason=reason)


def adjust_one(test: PairedTest, pairs: int) -> PairedTest:
    """One test that was picked after looking from so many, by Bonferroni: the others need not be made."""
    adjusted, both = np.minimum([test.p * pairs, test.p_both * pairs], 1)  # NaN stays NaN
    return replace(test, adjusted=float(adjusted), adjusted_both=float(both))
