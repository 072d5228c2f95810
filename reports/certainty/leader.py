"""Which method leads at one label fraction, and how certain that is, in words made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from atso_bench.benchmark.scoring.headline import DICE, Metric
from atso_bench.reports.certainty.significance import PairedTest
from atso_bench.reports.words import ALIKE, signed


@dataclass(frozen=True)
class Leader:
    """The best mean at one label fraction, beside the baseline and the runner-up.

    Attributes:
        method: which has the best mean; empty where nobody can say.
        mean: its mean.
        baseline: which method the others are held against.
        baseline_mean: NaN where it was not run.
        runner_up: which has the second best mean; empty where one method was run.
        runner_up_mean: NaN where one method was run.
        over_baseline: leader against baseline; None where the leader is the baseline or nothing was tested.
        over_runner_up: leader against runner-up; None where nothing was tested.
        reason: why there is no leader; empty where there is one.
    """

    method: str
    mean: float
    baseline: str
    baseline_mean: float
    runner_up: str = ""
    runner_up_mean: float = math.nan
    over_baseline: PairedTest | None = None
    over_runner_up: PairedTest | None = None
    reason: str = ""


def leader(
    means: Mapping[str, float],
    baseline: str,
    against: Mapping[str, PairedTest],
    pairs: Mapping[tuple[str, str], PairedTest],
    metric: Metric = DICE,
) -> Leader:
    """The best mean of a label fraction.

    Args:
        means: the headline of each method, mean over seeds.
        baseline: its name.
        against: each method against the baseline, adjusted over the whole table.
        pairs: the leader against the runner-up, in either order, adjusted over *all pairs* of the whole table:
            which two are at the top is known only after looking.
        metric: what the means are of.
    """
    scored = (name for name, mean in means.items() if not math.isnan(mean))
    order = sorted(scored, key=lambda name: metric.gain(means[name]), reverse=True)
    base = means.get(baseline, math.nan)
    if not order:
        return Leader("", math.nan, baseline, base, reason="no method has a score")
    first, second = order[0], order[1] if len(order) > 1 else ""
    if not second:
        reason = f"only {first} has a score, so there is nothing to compare"
        return Leader("", math.nan, baseline, base, reason=reason)
    over_second = pairs.get((first, second))
    if over_second is None and (second, first) in pairs:
        over_second = pairs[second, first].turned()
    over_base = against.get(first)
    if second == baseline:
        over_second = over_base  # planned before looking, so it need not pay for all pairs
    elif first == baseline and second in against:
        over_second = against[second].turned()
    return Leader(first, means[first], baseline, base, second, means[second], over_base, over_second)


def say(found: Leader, where: str, metric: Metric = DICE) -> str:
    """What can be said of a leader, as a paragraph.

    Args:
        found: the leader.
        where: the label fraction, as it stands in the head of a column: ``10 % (4 cases)``.
        metric: what the means are of.
    """
    score, case = metric.heading, metric.case
    top, above, lower = ("highest", "above", "lower") if metric.higher else ("lowest", "below", "higher")
    if found.reason:
        return f"At {where}, {found.reason}."
    if found.mean == found.runner_up_mean:
        return f"At {where}, {found.method} and {found.runner_up} tie with a mean {score} of {found.mean:.3f}."
    said = [f"At {where}, {_role(found.method, found)} has the {top} mean {score}, {found.mean:.3f}"]
    if found.method == found.baseline:
        said[0] += "."
    elif math.isnan(found.baseline_mean):
        said[0] += f". Without a run of {found.baseline}, the gain from the unlabelled {case}s is unknown."
    else:
        gain = metric.gain(found.mean - found.baseline_mean)
        said[0] += f", {gain:.3f} {above} {found.baseline} ({found.baseline_mean:.3f})."
        said.append(_certainty(found.over_baseline, found.baseline, metric))
    if found.runner_up != found.baseline or found.method == found.baseline:
        lead = metric.gain(found.mean - found.runner_up_mean)
        less = f"{lead:.3f}" if lead >= ALIKE else "less than 0.001"
        said.append(f"Next is {found.runner_up} with {found.runner_up_mean:.3f}, {less} {lower}.")
        said.append(_certainty(found.over_runner_up, found.runner_up, metric))
    return " ".join(said)


def _role(method: str, found: Leader) -> str:
    return f"the baseline {method}" if method == found.baseline else method


def _certainty(test: PairedTest | None, other: str, metric: Metric) -> str:
    """Whether the lead holds for the methods, only for these trainings of them, or for neither."""
    case = metric.case
    lead = f"The lead over {other} is"
    if test is None:
        return f"{lead} not tested."
    if test.reason:
        return f"{lead} not testable: {test.reason}."
    cases = test.n + test.zeros
    if test.seeds < 2:
        better = test.these_differ and metric.gain(test.difference) > 0
        seen = "this training was better" if better else "there is no significant difference"
        return f"{lead} not testable with one seed. On {cases:,} {case}s {seen} ({_p(test.adjusted)})."
    basis = f"{cases:,} {case}s and {test.seeds} seeds"
    ends = f"95 % interval of the difference {signed(test.low)} to {signed(test.high)}"
    if test.certain and metric.gain(test.difference) > 0:
        return f"{lead} statistically certain: {ends}, {_p(test.adjusted_both)}, on {basis}."
    if test.these_differ and metric.gain(test.effect) > 0:
        return (
            f"{lead} not statistically certain. These trainings were better ({_p(test.adjusted)} over {case}s), but "
            f"other seeds may not be ({_p(test.adjusted_both)} over seeds too; {ends}, on {basis})."
        )
    return f"{lead} not statistically certain: {ends}, {_p(test.adjusted_both)}, on {basis}."


def _p(value: float) -> str:
    if math.isnan(value):
        return "adjusted p unknown"
    return "adjusted p < 0.001" if value < 0.001 else f"adjusted p = {value:.3f}"
