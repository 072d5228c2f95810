"""What the page says of certainty: sentences and tables for records whose scores are known."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import (
    ALERT,
    CLASSES,
    STREET,
    case_scores,
    counted,
    drawn,
    drawn_blank,
    group,
    make,
    report,
    section,
    street,
    texts,
    volumes,
    without_script,
    write,
)

from atso_bench.benchmark.store.record import Phase, Record
from atso_bench.reports.certainty.evidence import evidence
from atso_bench.reports.certainty.intervals import estimate, estimate_miou, interval, labels_needed, miou
from atso_bench.reports.certainty.significance import PairedTest, adjust, paired
from atso_bench.reports.pages import answers, tables
from atso_bench.reports.pages.page import Table
from atso_bench.reports.words import decimals, signed

HEAD = "10 % (4 cases)"


def told(results: Path) -> list[str]:
    made = group(results)
    return answers.leaders(made, evidence(made))


def paired_table(results: Path) -> list[dict[str, str]]:
    (table,) = section(results, "Paired tests against supervised").parts
    assert isinstance(table, Table)
    return [dict(zip(table.columns, row, strict=True)) for row in texts(table)]


# Sentences


def test_a_clear_lead_of_five_seeds_and_thirty_cases_is_certain_and_has_its_cost(tmp_path: Path) -> None:
    """Trained for 10 s + 30 s and pseudo-labelled for 5 s, beside 20 s: 2.25 times."""
    phases = [Phase("training", "train", 20.0, steps=600), Phase("evaluation", "evaluate", 99.0)]
    write(tmp_path, *volumes(drawn(gain=0.06), "atso"), *volumes(drawn(seed=1), "supervised", phases=phases))
    (said,) = told(tmp_path)
    assert said.startswith(f"At {HEAD}, atso has the highest mean Dice, 0.7")
    assert "The lead over supervised is statistically certain: 95 % interval of the difference +0.0" in said
    assert "on 30 cases and 5 seeds." in said
    assert said.endswith("Training and pseudo-labelling took 2.2 times as long as supervised.")
    page, text = report(tmp_path)
    for shown in (page, text):
        assert said.replace("<", "&lt;") in shown
        assert shown.index(said[:30]) < shown.index("Dice on the test set, mean"), "the answer comes first"
        assert "the sentences above say whether a lead may be chance" in shown
        assert "no test was made" not in shown
    assert [row["verdict"] for row in paired_table(tmp_path)] == ["better"]


def test_one_seed_is_never_certain(tmp_path: Path) -> None:
    write(tmp_path, *volumes(drawn(1, gain=0.06), "atso"), *volumes(drawn(1, seed=1), "supervised"))
    (said,) = told(tmp_path)
    assert "not testable with one seed. On 30 cases this training was better" in said
    (row,) = paired_table(tmp_path)
    assert (row["p over seeds and cases (Holm)"], row["verdict"]) == ("– one seed", "better in this training")


def test_a_tie_has_no_leader_and_no_cost(tmp_path: Path) -> None:
    write(tmp_path, *volumes(drawn(), "atso"), *volumes(drawn(), "supervised"))
    (said,) = told(tmp_path)
    assert "supervised and atso tie with a mean Dice" in said
    assert "took" not in said
    assert paired_table(tmp_path)[0]["verdict"].startswith("not tested 0 of 30 pairs differ")


def test_the_cost_of_another_machine_is_not_compared(tmp_path: Path) -> None:
    other = {"environment": {"platform": "elsewhere"}}
    write(tmp_path, *volumes(drawn(gain=0.06), "atso", **other), *volumes(drawn(seed=1), "supervised"))
    (said,) = told(tmp_path)
    assert said.endswith("the runs used different machines.")
    assert "times as long" not in said


def test_nothing_is_said_of_the_upper_bound_alone_or_of_scores_on_v(tmp_path: Path) -> None:
    assert told(write(tmp_path / "upper", make("supervised", "100"))) == []
    spec = {"validation": 10.0, "scored": "validation"}
    tuned = write(tmp_path / "tuned", make("supervised", spec=spec), make("atso", spec=spec))
    (said,) = told(tuned)
    assert "neither ranked nor tested" in said
    assert "Paired tests" not in drawn_blank(tuned)


def test_the_runner_up_pays_for_all_pairs_of_the_table(tmp_path: Path) -> None:
    """Three methods at each of two label fractions: six pairs."""
    parts = {"supervised": drawn(), "atso": drawn(gain=0.02, seed=1), "mean-teacher": drawn(gain=0.021, seed=2)}
    for fraction, (name, scores) in product(("10", "20"), parts.items()):
        write(tmp_path, *volumes(scores, name, fraction))
    found = evidence(group(tmp_path)).leaders["10"]
    assert (found.method, found.runner_up) == ("mean-teacher", "atso")
    alone = paired(parts["mean-teacher"], parts["atso"])
    assert found.over_runner_up is not None
    assert found.over_runner_up.adjusted == pytest.approx(min(1, 6 * alone.p))
    assert found.over_runner_up.adjusted_both == pytest.approx(min(1, 6 * alone.p_both))


# The table of tests


def same(found: PairedTest, expected: PairedTest) -> bool:
    names = ("p", "n", "zeros", "effect", "difference", "low", "high", "seeds", "adjusted", "adjusted_both")
    return all(getattr(found, name) == pytest.approx(getattr(expected, name)) for name in names)


def test_the_table_holds_what_the_modules_say_adjusted_over_all_fractions_and_methods(tmp_path: Path) -> None:
    parts: dict[tuple[str, str], np.ndarray] = {}
    for place, fraction in enumerate(("10", "20")):
        for each, name in enumerate(("supervised", "atso", "mean-teacher")):
            parts[fraction, name] = drawn(gain=0.002 * each * (1 - 2 * place), seed=10 * place + each)
            write(tmp_path, *volumes(parts[fraction, name], name, fraction))
    places = [place for place in parts if place[1] != "supervised"]
    expected = adjust({place: paired(parts[place], parts[place[0], "supervised"]) for place in places})
    found = evidence(group(tmp_path)).against
    assert list(found) == places
    assert all(same(found[place], expected[place]) for place in places)
    apart = adjust({place: paired(parts[place], parts[place[0], "supervised"]) for place in places[:2]})
    assert apart[places[0]].adjusted != expected[places[0]].adjusted, "Holm over one fraction would be another number"
    for row, test in zip(paired_table(tmp_path), expected.values(), strict=True):
        assert (row["difference"], row["effect size"]) == (signed(test.difference), signed(test.effect, 2))
        assert row["95 % interval"] == f"{signed(test.low)} to {signed(test.high)}"
        assert (row["pairs"], row["seeds"]) == ("30", "5")
        assert row["p over seeds and cases (Holm)"] == decimals(test.adjusted_both)
    assert "4 tests on 30 pairs" in section(tmp_path, "Paired tests against supervised").words[0]


def test_a_method_without_the_baselines_seeds_or_splits_is_not_tested(tmp_path: Path) -> None:
    write(tmp_path, *volumes(drawn(2), "supervised"), *volumes(drawn(2, gain=0.1), "atso", seeds=(2, 3)))
    other = volumes(drawn(1), "mean-teacher")[0]
    other.split["hash"] = "else"
    write(tmp_path, other)
    why = "share no seed and split"
    rows = paired_table(tmp_path)
    assert [row["verdict"] for row in rows] == [
        f"not tested {name} and supervised {why}" for name in ("atso", "mean-teacher")
    ]
    assert rows[0]["difference"] == "–"
    (said,) = told(tmp_path)
    assert f"The lead over supervised is not testable: atso and supervised {why}." in said
    assert "Means use all seeds of a method" in said


def test_only_shared_seeds_and_cases_of_every_record_are_paired(tmp_path: Path) -> None:
    one, two = drawn(3, gain=0.01), drawn(5, seed=1)
    records = [*volumes(one, "atso", seeds=(1, 2, 7)), *volumes(two, "supervised")]
    del records[0].cases["t29"]
    write(tmp_path, *records)
    made = evidence(group(tmp_path))
    assert same(made.against["10", "atso"], adjust({0: paired(one[:2, :29], two[1:3, :29])})[0])
    assert made.left_out == 1
    assert (
        "left out of all tests and intervals: 1 test case"
        in section(tmp_path, "Paired tests against supervised").words[-1]
    )


def test_without_supervised_the_leader_is_held_against_the_runner_up(tmp_path: Path) -> None:
    write(tmp_path, *volumes(drawn(gain=0.06), "atso"), *volumes(drawn(seed=1), "mean-teacher"))
    (said,) = told(tmp_path)
    assert "Without a run of supervised" in said
    assert "The lead over mean-teacher is statistically certain" in said
    assert "Paired tests against" not in drawn_blank(tmp_path)


# Intervals and labels needed


def test_the_interval_stands_beside_its_mean_and_not_beside_another(tmp_path: Path) -> None:
    scores = drawn(3)
    write(tmp_path, *volumes(scores, "supervised"), *volumes(scores, "atso", score=0.123))
    made = group(tmp_path)
    low, high = interval(scores)
    notes = [row[1].note for row in tables.scores(made, evidence(made).estimates).rows]
    assert notes == [f"n = 3, {decimals(low)} to {decimals(high)}", "n = 3"]


def test_labels_needed_are_those_of_the_module_and_need_an_upper_bound(tmp_path: Path) -> None:
    points = {"10": drawn(3, gain=-0.1), "20": drawn(3, gain=-0.03, seed=1)}
    full = drawn(3, seed=2)
    for fraction, scores in points.items():
        write(tmp_path, *volumes(scores, "atso", fraction))
    assert answers.needed(group(tmp_path), evidence(group(tmp_path))) == []
    write(tmp_path, *volumes(full, "supervised", "100"))
    expected = labels_needed([4, 8], [estimate(scores) for scores in points.values()], estimate(full))
    made = evidence(group(tmp_path))
    assert list(made.needed) == ["atso"]
    found = made.needed["atso"]
    assert (found.cases, found.low, found.high) == pytest.approx((expected.cases, expected.low, expected.high))
    (said,) = answers.needed(group(tmp_path), made)
    assert f"(Dice {expected.target:.3f})" in said
    assert f"atso: {expected.cases:.1f} (95 % interval: {expected.low:.1f} to " in said
    assert said in drawn_blank(tmp_path)


def test_labels_that_were_not_enough_are_said(tmp_path: Path) -> None:
    write(tmp_path, *volumes(drawn(3, gain=-0.3), "atso"), *volumes(drawn(3), "supervised", "100"))
    (said,) = answers.needed(group(tmp_path), evidence(group(tmp_path)))
    assert "atso: not reached with up to 4 labelled (95 % interval: more than tried)" in said


# Street scenes, and records of another shape


def streets(counts: np.ndarray, method: str) -> list[Record]:
    """A record per seed of ``(seeds, frames, classes, 3)``."""
    return [
        street(
            method,
            seed=seed,
            score=float(miou(each.sum(axis=0))),
            cases={
                f"jena_{place:06}_000019": dict(zip(STREET, (counted(*row) for row in frame.tolist()), strict=True))
                for place, frame in enumerate(each)
            },
        )
        for seed, each in enumerate(counts)
    ]


def test_frames_are_ranked_one_by_one_and_their_difference_is_that_of_pooled_counts(tmp_path: Path) -> None:
    worse = np.random.default_rng(0).integers(1, 50, (3, 12, len(STREET), 3))
    better = worse + np.array([20, 0, 0])
    write(tmp_path, *streets(better, "atso"), *streets(worse, "supervised"))
    made = group(tmp_path)
    known = evidence(made)
    expected = paired(miou(better.astype(float)), miou(worse.astype(float)), estimate_miou(better, worse))
    assert same(known.against["10", "atso"], adjust({0: expected})[0])
    assert known.estimates["10", "atso"].low == pytest.approx(estimate_miou(better).low)
    (said,) = told(tmp_path)
    assert "atso has the highest mean mIoU" in said
    assert "12 frames and 3 seeds" in said
    note = tables.scores(made, known.estimates).rows[1][1].note
    assert note.endswith(
        f"{decimals(known.estimates['10', 'atso'].low)} to {decimals(known.estimates['10', 'atso'].high)}"
    )
    assert "pooled mIoU" in section(tmp_path, "Paired tests against supervised").words[0]


@pytest.mark.parametrize("cases", [{}, {"f": {}}, {"f": {"road": {}}}, {"f": {"road": counted(0, 0, 0)}}])
def test_a_street_record_without_counts_is_in_no_test_and_hides_no_other(tmp_path: Path, cases: dict[str, Any]) -> None:
    counts = np.random.default_rng(0).integers(1, 50, (2, 8, len(STREET), 3))
    write(tmp_path / "alone", street(cases=cases), street("supervised", cases=cases))
    assert not evidence(group(tmp_path / "alone")).tested
    assert "no test was made" in drawn_blank(tmp_path / "alone")
    write(tmp_path, *streets(counts, "supervised"), street("atso", cases={"f": {"road": {}}}))
    made = evidence(group(tmp_path))
    assert made.against["10", "atso"].reason == "atso has no score"
    assert made.estimates["10", "supervised"].cases == 8


@pytest.mark.parametrize("cases", [{}, {"t0": {}}, {"t0": {CLASSES[0]: {}}}, {"t0": {"other": case_scores()}}])
def test_a_volume_record_without_cases_is_in_no_test(tmp_path: Path, cases: dict[str, Any]) -> None:
    write(tmp_path, make(cases=cases), make("supervised", cases=cases), make("supervised", "100", cases=cases))
    assert not evidence(group(tmp_path)).tested
    assert "no test was made" in drawn_blank(tmp_path)


def test_names_in_sentences_and_tests_never_become_markup(tmp_path: Path) -> None:
    odd = {"spec": {"options": {"name": f"{ALERT}|*x*"}}, "options": {"name": f"{ALERT}|*x*"}}
    for fraction in ("10", "100"):
        write(tmp_path, *volumes(drawn(gain=0.06), "atso", fraction, **odd), *volumes(drawn(), "supervised", fraction))
    page, text = report(tmp_path)
    assert "<script" not in without_script(page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;|*x*) has the highest mean" in page
    assert "<" not in text
    assert r"\|\*x\*) has the highest mean" in text
