"""Which share of the gap between the baseline and all labels a method closes: the headline of transfer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from atso_bench.reports.certainty.intervals import LEVEL, Estimate, with_seeds


@dataclass(frozen=True)
class GapClosed:
    """A share of the gap: 0 is the baseline, 1 is all labels.

    Attributes:
        share: of the means; NaN where the gap is not certain.
        low: lower end of the interval; NaN where it cannot be said.
        high: upper end.
        reason: why there is no share; empty where there is one.
    """

    share: float
    low: float = math.nan
    high: float = math.nan
    reason: str = ""


def gap_closed(gain: Estimate, gap: Estimate, level: float = LEVEL, seed: int = 0) -> GapClosed:
    """``(method - baseline) / (all labels - baseline)``, as M3DA has it (arXiv 2502.17029).

    The interval resamples the test cases, the same for both, and draws the seeds of each by Student's t. There is no
    share where the interval of the gap holds 0: it would be a ratio to nothing.

    Args:
        gain: method minus baseline, over shared seeds.
        gap: all labels minus baseline, over shared seeds.
        level: of the interval.
        seed: of the draws.
    """
    if math.isnan(gain.mean) or math.isnan(gap.mean):
        return GapClosed(math.nan, reason="a score is missing")
    if gap.reason or not gap.cases or gap.low <= 0 <= gap.high:
        return GapClosed(math.nan, reason=gap.reason or "the gap is within noise")
    share = gain.mean / gap.mean
    if gain.reason or not gain.cases:
        return GapClosed(share)
    rng = np.random.default_rng([seed, 3])
    own, whole = (with_seeds(each.draws, each.seeds, each.seeds_error, rng) for each in (gain, gap))
    low, high = np.nanquantile(own / whole, [(1 - level) / 2, (1 + level) / 2])
    return GapClosed(share, float(low), float(high))
