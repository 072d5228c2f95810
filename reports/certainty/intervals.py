"""How sure a mean is. The nesting: every seed is scored on the same cases, so cases are resampled once for all seeds.

`docs/statistics.md` says why it is done in this way, and what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Scores = ArrayLike | Sequence[ArrayLike]
"""``(seeds, cases)``, ``(cases,)`` for one seed, or a list of ``(cases,)`` arrays of unequal lengths: other cases."""

SAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean over seeds, and how far it could be from that of other seeds and other cases.

    Attributes:
        mean: over seeds of the score of a seed; NaN where there is none.
        low: lower end of the interval; NaN where it cannot be said.
        high: upper end.
        seeds: how many are in the mean. With one, the interval is about other cases and says nothing of other seeds.
        cases: how many are in the mean; 0 where each seed has its own.
        cases_error: standard error of the mean over other cases, with these seeds.
        seeds_error: standard error of the mean over other seeds; NaN with one seed.
        draws: ``(samples,)`` of the mean with resampled cases and these seeds; equal cases are resampled equally.
        reason: why there is no interval; empty where there is one.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0
    cases: int = 0
    cases_error: float = math.nan
    seeds_error: float = math.nan
    draws: Floats = field(default_factory=lambda: np.full(SAMPLES, np.nan), repr=False)
    reason: str = ""

    def p_zero(self) -> float:
        """Two-sided p that the mean over all seeds and cases is 0 (Behrens-Fisher); NaN with fewer than two seeds."""
        from scipy.special import stdtr

        if self.reason or self.seeds < 2:
            return math.nan
        if self.mean == 0 or math.isnan(self.mean):
            return 1.0 if self.mean == 0 else math.nan
        tiny = np.finfo(float).tiny  # seeds that agree exactly
        if not self.cases:
            return float(2 * stdtr(self.seeds - 1, -abs(self.mean) / max(self.seeds_error, tiny)))
        steps, density = _student(self.cases - 1)
        with np.errstate(over="ignore"):
            beyond = (self.cases_error * steps - abs(self.mean)) / max(self.seeds_error, tiny)
        return float(min(1.0, 2 * stdtr(self.seeds - 1, beyond) @ density))


def interval(scores: Scores, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0) -> tuple[float, float]:
    """Low and high of the mean over seeds of the mean over cases; NaN where they cannot be said."""
    found = estimate(scores, level, samples, seed)
    return found.low, found.high


def estimate(scores: Scores, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0) -> Estimate:
    """Mean over seeds of the mean over cases.

    A case or a seed without any defined score is left out. Seeds of equal length are taken to have the same cases in
    the same order (crossed); seeds of unequal lengths, to have cases of their own (nested).

    Args:
        scores: NaN is undefined; differences of scores are welcome too.
        level: of the interval.
        samples: resamplings of the cases.
        seed: of the resampling; equal seeds resample equal numbers of cases equally.
    """
    rows = _rows(scores)
    if len({len(row) for row in rows}) > 1:
        return _nested([row[~np.isnan(row)] for row in rows], level, samples, seed)
    table = np.array(rows)
    table = table[~np.isnan(table).all(axis=1)] if table.size else np.empty((0, 0))
    if not len(table):
        return Estimate(math.nan, draws=np.full(samples, math.nan), reason="there is no score")
    by_case = np.nanmean(table[:, ~np.isnan(table).all(axis=0)], axis=0)
    means = np.nanmean(table, axis=1)
    if len(by_case) < 2:
        reason = "there is one case"
        return Estimate(float(means.mean()), seeds=len(table), cases=1, draws=np.full(samples, np.nan), reason=reason)
    known = ~np.isnan(table).all(axis=0)
    values = np.zeros(table.shape[1])
    values[known] = by_case
    weights = _weights(table.shape[1], samples, seed)
    with np.errstate(invalid="ignore"):  # a resampling without any defined case
        draws = (weights @ values) / (weights @ known)
    return _crossed(means, draws, by_case.mean(), len(by_case), level, seed)


def estimate_miou(
    counts: ArrayLike,
    baseline: ArrayLike | None = None,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean over seeds of the mIoU of summed counts over the classes that occur in the test set; frames are resampled.

    A class that occurs in no frame of a resampling is left out of that one.

    Args:
        counts: ``(seeds, frames, classes, 3)`` pixels: tp, fp, fn.
        baseline: the same of another method with the same seeds and frames: the estimate is of the difference.
        level: of the interval.
        samples: resamplings of the frames.
        seed: of the resampling.
    """
    parts = [np.asarray(each, dtype=float) for each in (counts, baseline) if each is not None]
    if any(part.ndim != 4 or part.shape[-1] != 3 for part in parts) or len({part.shape for part in parts}) > 1:
        shapes = " and ".join(str(part.shape) for part in parts)
        raise ValueError(f"counts must be (seeds, frames, classes, 3), the same for both methods, but got {shapes}")
    means, draws = map(_difference, zip(*(resample_miou(part, samples, seed) for part in parts), strict=True))
    return estimate_drawn(means, draws, parts[0].shape[1], level, seed)


def resample_miou(counts: Floats, samples: int = SAMPLES, seed: int = 0) -> tuple[Floats, Floats]:
    """``(..., frames, classes, 3)`` to mIoU ``(...)`` and its draws ``(..., samples)`` with resampled frames."""
    drawn = np.einsum("bf,...fkc->...bkc", _weights(counts.shape[-3], samples, seed), counts, optimize=True)
    return miou(counts.sum(axis=-3)), miou(drawn)


def estimate_drawn(means: Floats, draws: Floats, frames: int, level: float = LEVEL, seed: int = 0) -> Estimate:
    """From the mIoU of each seed ``(seeds,)`` and its draws ``(seeds, samples)``, or from differences of both."""
    if not len(means) or np.isnan(means).any():
        return Estimate(math.nan, reason="there is no score")
    if frames < 2:
        return Estimate(float(means.mean()), seeds=len(means), cases=1, reason="there is one frame")
    return _crossed(means, draws.mean(axis=0), float(means.mean()), frames, level, seed)


def _rows(scores: Scores) -> list[Floats]:
    rows: list[Any] = list(scores)  # type: ignore[arg-type]
    rows = [rows] if rows and np.ndim(rows[0]) == 0 else rows
    return [np.asarray(row, dtype=float) for row in rows]


def _difference(parts: Sequence[Floats]) -> Floats:
    return parts[0] - parts[1] if len(parts) == 2 else parts[0]


def miou(counts: Floats) -> Floats:
    """``(..., classes, 3)`` to ``(...)``: the mean over classes that some pixel of the reference has."""
    occurs = counts[..., 0] + counts[..., 2] > 0
    iou = np.where(occurs, counts[..., 0] / np.maximum(counts.sum(axis=-1), 1), 0)
    number = occurs.sum(axis=-1)
    return np.where(number > 0, iou.sum(axis=-1) / np.maximum(number, 1), np.nan)


@lru_cache(maxsize=8)
def _weights(cases: int, samples: int, seed: int) -> Floats:
    """``(samples, cases)``: how often a resampling holds a case."""
    even = np.full(cases, 1 / max(cases, 1))
    weights = np.random.default_rng(seed).multinomial(cases, even, size=samples).astype(float)
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=64)
def _student(freedom: int) -> tuple[Floats, Floats]:
    """A grid of Student's t, fine in the middle and reaching far out, with the probability of each step."""
    from scipy import stats

    even = np.linspace(-8, 8, 2401)
    steps = np.sinh(even)
    density = stats.t.pdf(steps, freedom) * np.cosh(even)
    return steps, density / density.sum()


def _crossed(means: Floats, draws: Floats, center: float, cases: int, level: float, seed: int) -> Estimate:
    """Percentiles of resampled cases plus seeds by Student's t: two or three seeds cannot be resampled honestly."""
    from scipy.special import ndtri, stdtrit

    mean, seeds = float(means.mean()), len(means)
    defined = draws[~np.isnan(draws)]
    error = float(defined.std(ddof=1) * math.sqrt(cases / (cases - 1)))
    upper = (1 + level) / 2
    wider = stdtrit(cases - 1, upper) / ndtri(upper) * math.sqrt(cases / (cases - 1))
    draws = mean + wider * (draws - center)  # Hesterberg's expanded percentiles
    seeds_error = float(means.std(ddof=1) / math.sqrt(seeds)) if seeds > 1 else math.nan
    drawn = with_seeds(draws, seeds, seeds_error, np.random.default_rng([seed, 1]))
    low, high = np.nanquantile(drawn, [1 - upper, upper])
    return Estimate(mean, float(low), float(high), seeds, cases, error, seeds_error, draws)


def with_seeds(draws: Floats, seeds: int, seeds_error: float, rng: np.random.Generator) -> Floats:
    """Draws of the mean over other cases, and over other seeds too where there are two or more."""
    return draws + seeds_error * rng.standard_t(seeds - 1, len(draws)) if seeds > 1 else draws


def _nested(rows: list[Floats], level: float, samples: int, seed: int) -> Estimate:
    """Each seed with cases of its own: the spread of the seeds' means holds that of the cases."""
    from scipy.special import stdtrit

    means = np.array([row.mean() for row in rows if len(row)])
    if len(means) < 2:
        if len(means):
            return estimate(next(row for row in rows if len(row)), level, samples, seed)
        return Estimate(math.nan, reason="there is no score")
    error = float(means.std(ddof=1) / math.sqrt(len(means)))
    low, high = means.mean() + error * stdtrit(len(means) - 1, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(means.mean()), float(low), float(high), len(means), 0, math.nan, error)


# Label efficiency


@dataclass(frozen=True)
class LabelsNeeded:
    """How many labelled cases a share of full supervision takes.

    Attributes:
        cases: where the curve of the means first reaches ``target``; NaN where it does not.
        low: lower end of the interval; the fewest labelled cases that were tried means "or fewer".
        high: upper end; infinite means more than were tried; NaN where the interval cannot be said.
        target: the score to reach.
        reason: why ``cases`` is no crossing; empty where it is one.
    """

    cases: float
    low: float
    high: float
    target: float
    reason: str = ""


def labels_needed(
    labelled: Sequence[float],
    curve: Sequence[Estimate],
    full: Estimate,
    share: float = 0.95,
    level: float = LEVEL,
    seed: int = 0,
) -> LabelsNeeded:
    """Where a method first reaches a share of full supervision, linear in log2 of the labelled cases between points.

    The interval resamples the test cases, the same for every point and for full supervision, and draws each point's
    seeds by Student's t; points with one seed add nothing for seeds.

    Args:
        labelled: labelled cases of each point, more than 0.
        curve: the method's estimate at each point; points without a mean are left out.
        full: the estimate of full supervision.
        share: of the mean of full supervision.
        level: of the interval.
        seed: of the draws.
    """
    points = sorted(
        ((float(number), each) for number, each in zip(labelled, curve, strict=True) if not math.isnan(each.mean)),
        key=lambda point: point[0],
    )
    target = share * full.mean
    if math.isnan(target) or not points:
        reason = "no score with all labels" if math.isnan(target) else "there is no score"
        return LabelsNeeded(math.nan, math.nan, math.nan, target, reason)
    numbers = np.array([number for number, _ in points])
    cases = float(_first(numbers, np.array([[each.mean] for _, each in points]), np.array([target]))[0])
    reason = ""
    if math.isinf(cases):
        cases, reason = math.nan, f"not reached with up to {numbers[-1]:,.0f} labelled"
    elif cases == numbers[0]:
        reason = f"already reached with the fewest tried, {numbers[0]:,.0f} labelled"
    rng = np.random.default_rng([seed, 2])
    every = [full, *(each for _, each in points)]
    if any(each.reason or not each.cases for each in every):
        return LabelsNeeded(cases, math.nan, math.nan, target, reason)
    drawn = [with_seeds(each.draws, each.seeds, each.seeds_error, rng) for each in every]
    found = _first(numbers, np.array(drawn[1:]), share * drawn[0])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")  # some are infinite
    return LabelsNeeded(cases, float(low), float(high), target, reason)


def _first(numbers: Floats, curves: Floats, target: Floats) -> Floats:
    """``(points,)``, ``(points, draws)`` and ``(draws,)`` to ``(draws,)``: infinite where no point reaches it."""
    reached = curves >= target
    after = reached.argmax(axis=0)
    before = np.maximum(after - 1, 0)
    each = np.arange(curves.shape[1])
    rise = np.where(after > 0, curves[after, each] - curves[before, each], 1)
    way = np.where(after > 0, (target - curves[before, each]) / rise, 0)
    steps = np.log2(numbers)
    crossing = 2 ** (steps[before] + way * (steps[after] - steps[before]))
    return np.where(reached.any(axis=0), np.where(after > 0, crossing, numbers[0]), np.inf)
