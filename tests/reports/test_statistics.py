"""Statistics of the report: numbers worked by hand, SciPy as oracle, and tables simulated where the truth is known."""

import math
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from atso_bench.benchmark.scoring.headline import MIOU
from atso_bench.reports.certainty import intervals, significance
from atso_bench.reports.certainty.intervals import Estimate, estimate, estimate_miou, interval, labels_needed
from atso_bench.reports.certainty.leader import leader, say
from atso_bench.reports.certainty.significance import adjust, holm, paired

CASES = 40


def dice(
    tables: int, methods: int, seeds: int, *, cases: int = CASES, training: float, gain: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Skewed Dice ``(tables, methods, seeds, cases)``: hard cases are hard for everybody, and trainings differ.

    Seen on hippocampus with three seeds: standard deviation 0.04 to 0.08 between cases, 0.005 to 0.023 between the
    means of seeds; here 0.06 and, with ``training`` 0.1, 0.015. The last method is better by ``gain`` (logits).
    """
    rng = np.random.default_rng(seed)
    hard = (2 - rng.gamma(2, 1, (tables, 1, 1, cases))) * 0.28
    logits = 1.5 + hard + rng.normal(0, 0.2, (tables, methods, seeds, cases))
    logits += training * rng.normal(size=(tables, methods, seeds, 1))
    logits[:, -1] += gain
    return 1 / (1 + np.exp(-logits))


@lru_cache
def known_mean(training: float) -> float:
    """Of `dice` without gain, over all seeds and cases."""
    return float(dice(1, 1, 1000, cases=1000, training=training, seed=99).mean())


# Intervals


@pytest.mark.parametrize(
    ("seeds", "cases", "training", "low", "high"),
    [
        (1, 15, 0.0, 0.88, 0.97),
        (1, 40, 0.0, 0.90, 0.98),
        (2, 40, 0.1, 0.93, 1.0),
        (3, 40, 0.0, 0.91, 0.99),
        (3, 40, 0.1, 0.93, 1.0),
        (5, 40, 0.1, 0.92, 0.99),
    ],
)
def test_intervals_hold_the_true_mean_as_often_as_they_say(
    seeds: int, cases: int, training: float, low: float, high: float
) -> None:
    truth = known_mean(training)
    found = [interval(scores[0], samples=500) for scores in dice(250, 1, seeds, cases=cases, training=training)]
    assert low < np.mean([ends[0] <= truth <= ends[1] for ends in found]) <= high


def test_resampling_two_seeds_misses_the_truth_more_often_than_the_interval_used() -> None:
    """Why seeds are drawn by Student's t: for a difference that hangs on the training, resampling them is too sure."""
    tables = dice(300, 2, 2, training=0.1)
    differences = tables[:, 1] - tables[:, 0]
    rng = np.random.default_rng(0)
    cases = rng.multinomial(CASES, np.full(CASES, 1 / CASES), 500) / CASES
    seeds = rng.multinomial(2, [0.5, 0.5], 500) / 2
    resampled = np.quantile(np.einsum("bs,nsc,bc->nb", seeds, differences, cases, optimize=True), [0.025, 0.975], 1)
    used = np.array([interval(each, samples=500) for each in differences]).T
    covered = [np.mean((ends[0] <= 0) & (ends[1] >= 0)) for ends in (resampled, used)]
    assert covered[0] < 0.85
    assert covered[1] > 0.93


def test_one_seed_gives_about_what_scipys_bootstrap_gives() -> None:
    scores = dice(1, 1, 1, cases=200, training=0.0)[0, 0, 0]
    oracle = stats.bootstrap((scores,), np.mean, n_resamples=4000, rng=1).confidence_interval
    width = oracle.high - oracle.low
    assert interval(scores, samples=4000) == pytest.approx((oracle.low, oracle.high), abs=0.07 * width)


def test_few_even_cases_get_about_the_interval_of_student() -> None:
    """Plain percentiles would be a fifth too narrow."""
    scores = stats.norm.ppf((np.arange(8) + 0.5) / 8)
    oracle = stats.t.interval(0.95, 7, loc=0, scale=stats.sem(scores))
    assert interval(scores, samples=20_000) == pytest.approx(oracle, rel=0.05)


def test_cases_error_is_that_of_the_mean_over_seeds() -> None:
    scores = dice(1, 1, 3, training=0.1)[0, 0]
    found = estimate(scores)
    assert found.cases_error == pytest.approx(stats.sem(scores.mean(axis=0)), rel=0.05)
    assert found.seeds_error == pytest.approx(stats.sem(scores.mean(axis=1)))
    assert found.mean == pytest.approx(scores.mean())


def test_seeds_that_share_cases_are_not_taken_for_more_cases() -> None:
    scores = dice(1, 1, 1, training=0.0)[0, 0]
    alone, copied = interval(scores), interval(np.repeat(scores, 3, axis=0))
    assert copied == pytest.approx(alone), "three copies of a seed say no more about other cases than one"


def test_seeds_with_cases_of_their_own_stand_on_the_means_of_the_seeds() -> None:
    low, high = interval([[0.5, 0.7], [0.8], [0.7, 0.7, 0.7]])
    oracle = stats.t.interval(0.95, 2, loc=0.7, scale=stats.sem([0.6, 0.8, 0.7]))
    assert (low, high) == pytest.approx(oracle)


@pytest.mark.parametrize("scores", [[], [[]], [[0.5]], [[0.5], [0.6]], [[math.nan, math.nan]], [[0.5, math.nan]]])
def test_an_interval_that_cannot_be_said_is_nan_and_says_why(scores: Any) -> None:
    found = estimate(scores)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.reason


def test_undefined_scores_are_left_out() -> None:
    scores = dice(1, 1, 2, training=0.1)[0, 0]
    holes = np.full((2, 5), np.nan)
    padded = estimate(np.hstack([scores, holes]))
    assert padded.mean == pytest.approx(scores.mean())
    assert padded.cases == CASES
    assert (padded.low, padded.high) == pytest.approx(interval(scores), abs=0.01)


def test_p_over_seeds_and_cases_agrees_with_numerical_integration() -> None:
    found = Estimate(1.0, seeds=3, cases=40, cases_error=0.3, seeds_error=0.1)
    oracle = integrate.quad(lambda step: stats.t.pdf(step, 39) * stats.t.cdf((0.3 * step - 1) / 0.1, 2), -20, 20)[0]
    assert found.p_zero() == pytest.approx(2 * oracle, rel=1e-6)


def test_p_over_seeds_and_cases_becomes_the_t_test_of_what_is_left() -> None:
    only_seeds = Estimate(1.0, seeds=4, cases=40, cases_error=0.0, seeds_error=0.2)
    only_cases = Estimate(1.0, seeds=4, cases=40, cases_error=0.4, seeds_error=0.0)
    assert only_seeds.p_zero() == pytest.approx(2 * stats.t.sf(5, 3), rel=1e-3)
    assert only_cases.p_zero() == pytest.approx(2 * stats.t.sf(2.5, 39), rel=0.05)
    assert Estimate(0.0, seeds=3, cases=40, cases_error=0.0, seeds_error=0.0).p_zero() == 1
    assert math.isnan(Estimate(1.0, seeds=1, cases=40, cases_error=0.4).p_zero())


# mIoU


def frames(seeds: int, number: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    size = rng.gamma(1, 1000, (1, number, classes))
    right = rng.beta(8, 2, (seeds, number, classes)) * size
    return np.stack([right, rng.gamma(1, 200, (seeds, number, classes)), size - right], axis=-1).round()


def test_miou_is_pooled_over_the_classes_that_occur() -> None:
    counts = np.zeros((1, 2, 3, 3))
    counts[0, :, 0] = [[6, 2, 0], [2, 0, 2]]  # 8 / 12
    counts[0, :, 1] = [[1, 0, 1], [0, 1, 1]]  # 1 / 4
    counts[0, :, 2] = [[0, 5, 0], [0, 5, 0]]  # never in the reference
    assert estimate_miou(counts).mean == pytest.approx((8 / 12 + 1 / 4) / 2)


def test_the_interval_of_miou_agrees_with_scipys_bootstrap_of_frames() -> None:
    counts = frames(1, 60)

    def miou(chosen: np.ndarray, axis: int) -> np.ndarray:
        summed = counts[0, chosen].sum(axis=chosen.ndim - 1 if axis == -1 else axis)
        return (summed[..., 0] / summed.sum(axis=-1)).mean(axis=-1)

    oracle = stats.bootstrap((np.arange(60),), miou, method="percentile", n_resamples=4000, vectorized=True, rng=1)
    found = estimate_miou(counts, samples=4000)
    assert found.cases_error == pytest.approx(oracle.standard_error, rel=0.06)
    width = found.high - found.low
    ends = oracle.confidence_interval
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.07 * width)


def test_the_interval_of_miou_holds_the_truth_as_often_as_it_says() -> None:
    truth = estimate_miou(frames(1, 100_000), samples=2).mean
    found = [estimate_miou(frames(1, 40, seed=seed), samples=400) for seed in range(1, 251)]
    assert 0.90 < np.mean([each.low <= truth <= each.high for each in found]) < 0.99


def test_a_class_of_one_frame_does_not_make_resamplings_without_it_undefined() -> None:
    counts = frames(2, 30)
    counts[:, 1:, 2] = 0
    found = estimate_miou(counts)
    assert np.isfinite(found.draws).all()
    assert found.low < found.mean < found.high


def test_the_difference_of_miou_is_surer_than_either_where_frames_are_hard_for_both() -> None:
    counts = frames(3, 50)
    worse = counts + np.array([-0.02, 0.0, 0.02]) * counts.sum(axis=-1, keepdims=True)
    apart = estimate_miou(counts, np.maximum(worse, 0))
    assert apart.low > 0
    assert apart.high - apart.low < 0.5 * (estimate_miou(counts).high - estimate_miou(counts).low)
    assert apart.p_zero() < 0.05
    with pytest.raises(ValueError, match="the same for both"):
        estimate_miou(counts, counts[:, 1:])


# Tests of pairs


def test_a_pair_worked_by_hand() -> None:
    """Ranks of 1, 2, 3, 4, -5, 6, 7, 8 hundredths: 5 of 36 against, p over all 2**8 signs."""
    baseline = np.full(9, 0.5)
    method = baseline + np.array([1, 2, 3, 4, -5, 6, 7, 8, 0]) / 100
    test = paired(method, baseline)
    assert (test.n, test.zeros, test.seeds) == (8, 1, 1)
    assert test.effect == pytest.approx((31 - 5) / 36)
    assert test.difference == pytest.approx(26 / 900)
    subsets = sum(sum(chosen) <= 5 for size in range(9) for chosen in combinations(range(1, 9), size))
    assert test.p == pytest.approx(2 * subsets / 2**8), "every sign is as likely as the other"
    assert math.isnan(test.p_seeds)
    assert test.low < test.difference < test.high


def test_tied_differences_get_the_p_of_scipy() -> None:
    differences = np.round(np.random.default_rng(0).normal(0.02, 0.05, 60), 2)
    test = paired(0.5 + differences, np.full(60, 0.5))
    assert test.zeros == (differences == 0).sum() > 0
    assert test.p == pytest.approx(stats.wilcoxon(differences, zero_method="wilcox").pvalue)


def test_rounding_makes_no_difference_of_equal_scores() -> None:
    scores = dice(1, 1, 3, training=0.1)[0, 0]
    test = paired(scores, scores + 1e-15)
    assert (test.n, test.zeros) == (0, CASES)
    assert test.reason
    assert math.isnan(test.p)
    assert math.isnan(test.effect)


def test_five_pairs_are_refused_and_six_are_not() -> None:
    differences = np.arange(1, 7) / 100
    few = paired(differences[:5], np.zeros(5))
    assert math.isnan(few.p)
    assert "at least 6" in few.reason
    assert few.effect == 1
    enough = paired(differences, np.zeros(6))
    assert enough.p == pytest.approx(2 / 2**6)
    assert not enough.reason


def test_pairs_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 8\) and \(3, 8\)"):
        paired(np.zeros((2, 8)), np.zeros((3, 8)))


def test_turning_a_test_turns_its_signs() -> None:
    scores = dice(1, 2, 3, training=0.1, gain=0.3)[0]
    there, back = paired(scores[1], scores[0]).turned(), paired(scores[0], scores[1])
    assert there.p == pytest.approx(back.p)
    assert (there.effect, there.difference) == pytest.approx((back.effect, back.difference))
    assert (there.low, there.high) == pytest.approx((back.low, back.high), abs=0.01)


@pytest.mark.parametrize(
    ("effect", "low", "adjusted_both", "certain"),
    [(0.9, 0.01, 0.01, True), (0.9, 0.01, 0.2, False), (0.9, -0.01, 0.01, False), (-0.9, 0.01, 0.01, False)],
)
def test_certain_takes_cases_seeds_and_an_interval_on_one_side(
    effect: float, low: float, adjusted_both: float, certain: bool
) -> None:
    found = significance.PairedTest(
        0.001, 40, 0, effect, 0.02, low, 0.03, 3, adjusted=0.001, adjusted_both=adjusted_both
    )
    assert found.these_differ
    assert found.certain is certain


# Holm


@pytest.mark.parametrize(
    ("values", "adjusted"),
    [
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, math.nan, 0.7], [1, math.nan, 1]),
        ([math.nan], [math.nan]),
        ([], []),
    ],
)
def test_holm_worked_by_hand(values: list[float], adjusted: list[float]) -> None:
    assert holm(values) == pytest.approx(adjusted, nan_ok=True)


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    """A hypothesis falls where Bonferroni rejects every set of hypotheses that holds it."""
    for values in np.random.default_rng(0).beta(0.4, 4, (20, 5)):
        subsets = list(chain.from_iterable(combinations(range(5), size) for size in range(1, 6)))
        closed = [max(min(1, len(s) * values[list(s)].min()) for s in subsets if index in s) for index in range(5)]
        assert holm(values) == pytest.approx(closed)


# False alarms and power of a whole table


def table_p(tables: np.ndarray, fractions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Adjusted p ``(tables, fractions x methods - 1)``: of Wilcoxon alone, and of cases and seeds together."""
    tables = tables.reshape(-1, fractions, *tables.shape[1:])
    apart = tables[:, :, 1:] - tables[:, :, :1]
    cases = stats.wilcoxon(apart.mean(axis=-2), axis=-1).pvalue
    means, seeds = apart.mean(axis=(-1, -2)), apart.shape[-2]
    errors = stats.sem(apart.mean(axis=-2), axis=-1), stats.sem(apart.mean(axis=-1), axis=-1)
    each = zip(*(part.ravel() for part in (means, *errors)), strict=True)
    runs = [Estimate(mean, seeds=seeds, cases=CASES, cases_error=a, seeds_error=b).p_zero() for mean, a, b in each]
    both = np.maximum(cases, np.reshape(runs, cases.shape))
    alone, together = (np.array([holm(table.ravel()) for table in part]) for part in (cases, both))
    return alone, together


def test_a_table_made_at_once_is_what_pairs_and_adjust_make() -> None:
    tables = dice(4, 4, 3, training=0.05, gain=0.3)
    alone, together = table_p(tables)
    tests = {(row, each): paired(tables[row, each], tables[row, 0]) for row in range(4) for each in (1, 2, 3)}
    found = list(adjust(tests).values())
    assert [test.adjusted for test in found] == pytest.approx(alone[0], rel=1e-6)
    assert [test.adjusted_both for test in found] == pytest.approx(together[0], rel=0.4, abs=0.01)  # resampled errors


def test_a_table_without_a_true_difference_seldom_raises_a_false_alarm() -> None:
    """400 tables, 4 methods at 4 fractions: 0.05 of them may, and three standard errors of 0.05 are 0.033."""
    same_training = table_p(dice(1600, 4, 3, training=0.0))
    assert np.mean((same_training[0] < 0.05).any(axis=1)) < 0.083
    assert np.mean((same_training[1] < 0.05).any(axis=1)) < 0.083
    alone, together = table_p(dice(1600, 4, 3, training=0.1))
    assert np.mean((together < 0.05).any(axis=1)) < 0.083
    assert np.mean((alone < 0.05).any(axis=1)) > 0.5, "Wilcoxon on cases takes the luck of a training for a method"


def test_a_real_difference_is_found() -> None:
    last = np.arange(2, 12, 3)
    alone, _ = table_p(dice(200, 4, 3, training=0.0, gain=0.15))
    assert np.mean(alone[:, last] < 0.05) > 0.9
    _, together = table_p(dice(200, 4, 5, training=0.04, gain=0.3))
    assert np.mean(together[:, last] < 0.05) > 0.85


# Label efficiency


def curve(*levels: float, seeds: int = 3, spread: float = 0.01) -> list[Estimate]:
    """Estimates on the same cases whose means are exactly ``levels``."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.05, CASES)
    found = []
    for level in levels:
        scores = hard + rng.normal(0, spread, (seeds, CASES))
        found.append(estimate(scores - scores.mean() + level))
    return found


def test_labels_needed_are_interpolated_over_doublings() -> None:
    *points, full = curve(0.5, 0.7, 0.9, 1.0)
    found = labels_needed([4, 8, 32], points, full, share=0.8)
    assert found.cases == pytest.approx(16)  # half the way from 8 to 32 doublings
    assert found.low < 16 < found.high
    assert not found.reason
    shuffled = labels_needed([32, 4, 8], [points[2], points[0], points[1]], full, share=0.8)
    assert shuffled.cases == pytest.approx(16)


def test_an_unsure_full_supervision_makes_labels_needed_unsure() -> None:
    *points, full = curve(0.5, 0.7, 0.9, 1.0)
    unsure = estimate(np.array([[0.9], [1.0], [1.1]]) + np.zeros(CASES))
    assert unsure.mean == pytest.approx(full.mean)
    sure, other = (labels_needed([4, 8, 32], points, each, share=0.8) for each in (full, unsure))
    assert other.high - other.low > 3 * (sure.high - sure.low)


def test_labels_needed_beyond_both_ends_say_so() -> None:
    *points, full = curve(0.5, 0.7, 0.9)
    never = labels_needed([4, 8], points, full)
    assert math.isnan(never.cases)
    assert math.isinf(never.high)
    assert never.reason == "not reached with up to 8 labelled"
    at_once = labels_needed([4, 8], points, full, share=0.5)
    assert (at_once.cases, at_once.low) == (4, 4)
    assert at_once.reason == "already reached with the fewest tried, 4 labelled"


def test_labels_needed_without_full_supervision_say_so() -> None:
    found = labels_needed([4, 8], curve(0.5, 0.7), Estimate(math.nan))
    assert math.isnan(found.cases)
    assert "all labels" in found.reason


def test_the_interval_of_labels_needed_holds_the_truth() -> None:
    hits = []
    levels, truth = [0.60, 0.70, 0.80], known_mean(0.1)
    for table in dice(150, 4, 3, training=0.1, seed=3):
        noise = table - truth
        points = [estimate(level + part, samples=400) for level, part in zip(levels, noise[:3], strict=True)]
        found = labels_needed([4, 8, 16], points, estimate(0.8 + noise[3], samples=400))
        hits.append(found.low <= 2**3.6 <= found.high)  # 0.95 * 0.80 = 0.76
    assert np.mean(hits) > 0.93


# Words


def told(scores: np.ndarray, names: tuple[str, ...] = ("supervised", "atso", "cps")) -> str:
    """What is said of ``(methods, seeds, cases)``, the first being the baseline."""
    parts = dict(zip(names, scores, strict=True))
    against = adjust({name: paired(part, parts[names[0]]) for name, part in parts.items() if name != names[0]})
    pairs = adjust({(a, b): paired(parts[a], parts[b]) for a, b in combinations(names, 2)})
    means = {name: float(part.mean()) for name, part in parts.items()}
    return say(leader(means, names[0], against, pairs), "10 % (4 cases)")


def three(gain: float, training: float, seeds: int = 3, cases: int = CASES) -> np.ndarray:
    """Three methods, the second better by ``gain`` (Dice)."""
    scores = dice(1, 3, seeds, cases=cases, training=training, seed=5)[0]
    scores[1] += gain
    return scores


def test_a_clear_lead_is_said_to_be_certain() -> None:
    scores = three(0.1, 0.01, seeds=5)
    scores[2] += 0.05
    text = told(scores)
    assert text.startswith("At 10 % (4 cases), atso has the highest mean Dice, ")
    assert "The lead over supervised is statistically certain: 95 % interval of the difference +0." in text
    assert "on 40 cases and 5 seeds." in text
    assert "Next is cps with 0." in text
    assert "The lead over cps is statistically certain" in text


def test_a_lead_that_hangs_on_the_seeds_is_not_certain() -> None:
    scores = three(0.0, 0.0)
    scores[1] += np.array([[0.01], [0.03], [0.09]])
    text = told(scores)
    assert "These trainings were better" in text
    assert "other seeds may not be" in text
    assert "is statistically certain" not in text


def test_one_seed_is_never_certain_and_is_said() -> None:
    text = told(three(0.2, 0.0, seeds=1))
    assert "not testable with one seed. On 40 cases this training was better (adjusted p < 0.001)." in text
    assert "is statistically certain" not in text


def test_too_few_cases_are_said() -> None:
    text = told(three(0.2, 0.0, cases=4))
    assert "not testable: 4 of 4 pairs differ; a test needs at least 6." in text


def test_a_leading_baseline_is_said() -> None:
    text = told(three(-0.2, 0.0) + np.array([0.3, 0, 0])[:, None, None])
    assert "the baseline supervised has the highest mean Dice" in text
    assert "Next is cps" in text


def test_a_lone_method_and_nothing_at_all_are_said() -> None:
    assert say(leader({"atso": 0.5, "cps": math.nan}, "supervised", {}, {}), "10 %") == (
        "At 10 %, only atso has a score, so there is nothing to compare."
    )
    assert say(leader({}, "supervised", {}, {}), "10 %") == "At 10 %, no method has a score."
    untested = say(leader({"atso": 0.5, "cps": 0.4}, "supervised", {}, {}), "10 %", MIOU)
    assert "Without a run of supervised" in untested
    assert "The lead over cps is not tested." in untested


def test_equal_means_have_no_leader() -> None:
    assert "tie with a mean Dice" in told(np.stack([three(0.0, 0.0)[0]] * 3))


def test_the_runner_up_pays_for_all_pairs_unless_it_is_the_baseline() -> None:
    scores = three(0.05, 0.02)
    planned, pair = paired(scores[1], scores[0]), paired(scores[0], scores[1])
    means = {"supervised": 0.7, "atso": 0.8}
    found = leader(means, "supervised", {"atso": planned}, {("supervised", "atso"): pair})
    assert found.over_runner_up is planned
    found = leader({**means, "supervised": 0.6, "cps": 0.7}, "supervised", {"atso": planned}, {("cps", "atso"): pair})
    assert found.over_runner_up == pair.turned()


def test_thresholds_are_those_that_the_documentation_names() -> None:
    assert significance.FEWEST_PAIRS == 6
    assert (significance.ALPHA, intervals.LEVEL, intervals.SAMPLES) == (0.05, 0.95, 2000)
