"""Methods ranked over datasets at each label fraction: Friedman's test, Nemenyi's critical difference (Demšar 2006)."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atso_bench.reports.certainty.intervals import Floats
from atso_bench.reports.certainty.significance import ALPHA
from atso_bench.reports.data.means import SAME

RESHUFFLED = 9999


@dataclass(frozen=True, eq=False)
class Ranks:
    """Methods ranked within each dataset.

    Attributes:
        scores: a row per method, best mean rank first, a column per dataset.
        ranks: the same of ranks, 1 is best.
        p: of Friedman's test that all methods rank alike.
        critical: Nemenyi's critical difference of mean ranks.
        adjusted: ``p`` by Holm over all rankings of a report.
    """

    scores: pd.DataFrame
    ranks: pd.DataFrame
    p: float
    critical: float
    adjusted: float

    @property
    def means(self) -> pd.Series:
        """Mean rank of each method, ascending."""
        return self.ranks.mean(axis="columns")

    @property
    def differ(self) -> bool:
        """Whether the methods do not all rank alike; without that no two of them are told apart."""
        return self.adjusted < ALPHA

    @property
    def last_alike(self) -> list[int]:
        """For each method the place of the last one that is not shown to rank worse."""
        means = self.means.to_numpy()
        reach = self.critical if self.differ else math.inf
        return [int(np.flatnonzero((means - mean).round(SAME) < round(reach, SAME))[-1]) for mean in means]


def ranks(scores: pd.DataFrame, level: float = ALPHA, lower: Collection[str] = ()) -> Ranks:
    """Mean ranks, Friedman's p and the critical difference at ``level``.

    Friedman's p is found by reshuffling within datasets. The textbook's chi-squared is an approximation for many
    datasets, and Iman and Davenport's F raises false alarms with few: docs/statistics.md.

    Args:
        scores: a row per method, a column per dataset, without NaN.
        level: of the critical difference.
        lower: the datasets where a lower score is better; elsewhere a higher one is.
    """
    from scipy import stats

    signs = [1 if name in lower else -1 for name in scores.columns]
    each = (scores.round(SAME) * signs).rank(axis="index")
    order = each.mean(axis="columns").sort_values(kind="stable").index
    each = each.loc[order]
    methods, datasets = each.shape
    p = float(
        stats.permutation_test(
            tuple(each.to_numpy()),
            _squares,
            permutation_type="samples",
            alternative="greater",
            vectorized=True,
            n_resamples=RESHUFFLED,
            rng=np.random.default_rng(0),
        ).pvalue
    )
    quantile = stats.studentized_range.ppf(1 - level, methods, np.inf) / math.sqrt(2)
    critical = float(quantile * math.sqrt(methods * (methods + 1) / (6 * datasets)))
    return Ranks(scores.loc[order], each, p, critical, adjusted=p)


def _squares(*methods: Floats, axis: int) -> Floats:
    """Sum of the squared rank sums; all else in Friedman's chi-squared stays the same when ranks are reshuffled."""
    return np.asarray(sum(np.square(method.sum(axis=axis)) for method in methods))


# On the page
