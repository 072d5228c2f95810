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


def gap_closed(method: Estimate, baseline: Estimate, full: Estimate, level: float = LEVEL, seed: int = 0) -> GapClosed:
    """``(method - baseline) / (full - baseline)``, as M3DA has it (arXiv 2502.17029).

    The interval resamples the test cases, the same for all three, and draws the seeds of each by Student's t. There is
    no share where the interval of the gap holds 0: it would be a ratio to nothing.
    """
    room = full.mean - baseline.mean
    three = (method, baseline, full)
    if math.isnan(room) or math.isnan(method.mean):
        return GapClosed(math.nan, reason="a score is missing")
    if any(each.reason or not each.cases for each in three):
        return GapClosed((method.mean - baseline.mean) / room if room else math.nan, reason="" if room else "no gap")
    rng = np.random.default_rng([seed, 3])
    own, base, whole = (with_seeds(each.draws, each.seeds, each.seeds_error, rng) for each in three)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.nanquantile(whole - base, ends)
    if low <= 0 <= high:
        return GapClosed(math.nan, reason="the gap is within noise")
    low, high = np.nanquantile((own - base) / (whole - base), ends)
    return GapClosed((method.mean - baseline.mean) / room, float(low), float(high))
