"""How much there is to win at a label fraction, what this comparison could show of it, and whether steps are the limit.

A comparison ranks methods only where more labels would help (headroom), where more steps would not, and where the
difference between two methods is larger than what other seeds do to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd

from atso_bench.reports.certainty.significance import ALPHA
from atso_bench.reports.data.frame import Group
from atso_bench.reports.data.rows import BASELINE

POWER = 0.8
"""Of so many studies of the same size, the share that shows the difference."""
MOST_SEEDS = 100


@dataclass(frozen=True)
class Headroom:
    """What there is to win at one label fraction.

    Attributes:
        room: mean score with all labels minus the baseline's, over the seeds that both have; NaN where one is missing.
        lead: the best mean minus the baseline's; negative where the baseline leads, NaN where it is alone.
        noise: standard deviation over seeds of the difference between a method and the baseline, pooled over methods;
            NaN without two seeds of any.
        seeds: how many the best method shares with the baseline.
        fewer_steps: the budget of a shorter comparison with the same facts; 0 where there is none.
        from_steps: what the baseline gains from there to this budget, over shared seeds; NaN where there is none.
    """

    room: float
    lead: float
    noise: float
    seeds: int
    fewer_steps: int = 0
    from_steps: float = math.nan

    @property
    def detectable(self) -> float:
        """The smallest difference between two methods that so many seeds show with ``POWER``; NaN where unknown."""
        return self.noise * smallest_effect(self.seeds)

    @property
    def too_small(self) -> bool:
        """Whether a method that closed the whole gap would not be shown to be better."""
        return self.room < self.detectable

    @property
    def steps_bind(self) -> bool:
        """Whether the baseline gains more from steps than the best method gains over it."""
        return self.from_steps > max(self.lead, 0.0)

    def seeds_for(self, difference: float) -> int | None:
        """How many seeds show a difference of this size; None for more than ``MOST_SEEDS``, or where unknown."""
        if not difference > 0 or math.isnan(self.noise):
            return None
        return next((n for n in range(2, MOST_SEEDS + 1) if self.noise * smallest_effect(n) <= difference), None)


@cache
def smallest_effect(seeds: int) -> float:
    """In standard deviations, the true difference that a paired t-test on so many seeds shows with ``POWER``.

    NaN for fewer than two seeds.
    """
    if seeds < 2:
        return math.nan
    from scipy.optimize import brentq

    enough = 0.5
    while power(enough, seeds) < POWER:
        enough *= 2
    return float(brentq(lambda effect: power(effect, seeds) - POWER, 0.0, enough))


def power(effect: float, seeds: int) -> float:
    """Probability that a two-sided paired t-test on ``seeds`` pairs shows a difference of ``effect`` deviations."""
    from scipy.stats import nct, t

    freedom, away = seeds - 1, effect * math.sqrt(seeds)
    beyond = t.ppf(1 - ALPHA / 2, freedom)
    wrong_way = nct.cdf(-beyond, freedom, away)  # NaN where it is too small for scipy
    return float(nct.sf(beyond, freedom, away) + np.nan_to_num(wrong_way))


def headroom(group: Group, baseline: str) -> dict[str, Headroom]:
    """By label fraction but full supervision's; empty where the baseline was not run."""
    scores = {place: group.metric.gain(_by_seed(runs)) for place, runs in group.cells.items()}
    whole = next((scores[place] for place, runs in group.cells.items() if runs["upper"].all()), None)
    found = {}
    for fraction in group.fractions:
        base = scores.get((fraction, baseline))
        if base is None or group.runs.loc[group.runs.fraction == fraction, "upper"].all():
            continue
        others = {label: scores[text, label] for text, label in scores if text == fraction and label != baseline}
        differences = [(other - base).dropna() for other in others.values()]
        differences = [each for each in differences if len(each)]
        room = math.nan if whole is None else float((whole - base).mean())
        best = max(differences, key=lambda each: float(each.mean()), default=pd.Series(dtype=float))
        found[fraction] = Headroom(room, float(best.mean()), _pooled(differences), len(best))
    return found


def with_fewer_steps(known: Mapping[str, Headroom], group: Group, shorter: Group | None) -> dict[str, Headroom]:
    """The same with what the baseline gained from the budget of ``shorter`` to that of ``group``."""
    if shorter is None:
        return dict(known)
    found = {}
    for fraction, each in known.items():
        long, short = (group.metric.gain(_by_seed(_plain(part.runs, fraction))) for part in (group, shorter))
        gain = float((long - short).mean())
        steps = 0 if math.isnan(gain) else int(shorter.facts["steps"])
        found[fraction] = replace(each, fewer_steps=steps, from_steps=gain)
    return found


def shorter(group: Group, groups: Sequence[Group]) -> Group | None:
    """The comparison with the most steps, at most half as many, and everything else the same; None without one."""
    same = [
        each
        for each in groups
        if each.facts["steps"] * 2 <= group.facts["steps"]
        and all(each.facts[name] == value for name, value in group.facts.items() if name not in ("steps", "budget"))
        and (each.facts["budget"] == group.facts["budget"] or (_bare(each) and _bare(group)))
    ]
    return max(same, key=lambda each: each.facts["steps"], default=None)


def compared(groups: Sequence[Group]) -> list[Group]:
    """The comparisons without those that only say what fewer steps give: the baseline alone, beside a longer one."""
    beside = [found for group in groups if (found := shorter(group, groups)) is not None]
    return [
        group for group in groups if set(group.runs.method) != {BASELINE} or not any(group is each for each in beside)
    ]


def _bare(group: Group) -> bool:
    """Whether the budget is a number of steps, with the dataset's own recipe."""
    return str(group.facts["budget"]).isdecimal()


def _by_seed(runs: pd.DataFrame) -> pd.Series:
    return runs.dropna(subset=["score"]).groupby("seed")["score"].mean()


def _plain(runs: pd.DataFrame, fraction: str) -> pd.DataFrame:
    """The baseline's runs without options at a label fraction."""
    return runs[(runs.fraction == fraction) & (runs.method == BASELINE) & ~runs["overrides"].astype(bool)]


def _pooled(differences: list[pd.Series]) -> float:
    """Standard deviation around each one's own mean."""
    several = [each for each in differences if len(each) > 1]
    if not several:
        return math.nan
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in several)
    return float(np.sqrt(squares / sum(len(each) - 1 for each in several)))
