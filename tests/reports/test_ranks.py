"""Ranks over datasets: the published tables, ranks worked by hand, false alarms counted, and what the page says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from records import ALERT, CLASSES, case_scores, make, texts, write
from scipy import stats

from atso_bench.benchmark.spec import Budget
from atso_bench.reports.certainty import ranks as module
from atso_bench.reports.certainty.ranks import ranks
from atso_bench.reports.data.frame import read
from atso_bench.reports.figures.drawing import Drawing, in_page
from atso_bench.reports.figures.rank_diagram import critical_difference
from atso_bench.reports.pages.page import Picture, to_html, to_markdown
from atso_bench.reports.pages.ranks import OverDatasets, ranks_by_fraction

METHODS = ("atso", "mean-teacher", "self-learning", "supervised")


def table(methods: int, datasets: int, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).random((methods, datasets)))


def results(
    folder: Path, datasets: Sequence[str] | int, methods: Sequence[str] = METHODS, fraction: str = "10", **fields: Any
) -> Path:
    """A record per dataset and method with a test set of each dataset's own; every dataset has the methods' order."""
    names = [f"d{place}" for place in range(datasets)] if isinstance(datasets, int) else datasets
    for dataset, (place, method) in itertools.product(names, enumerate(methods)):
        spec = {"dataset": dataset, **fields.get("spec", {})}
        split = {**make(fraction=fraction).split, "test": [f"{dataset}-t0", f"{dataset}-t1"]}
        values = {"split": split, "score": 0.9 - place / 10, **fields, "spec": spec}
        write(folder, make(method, fraction, **values))
    return folder


def ranked(folder: Path) -> OverDatasets:
    found = ranks_by_fraction(read(folder).groups())
    assert found is not None
    return found


def picture(drawing: Drawing) -> Picture:
    return Picture(f"{drawing.name}.svg", in_page(drawing.svg), drawing.alt)


# The numbers


@pytest.mark.parametrize(("methods", "quantile"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_demsars_table(methods: int, quantile: float) -> None:
    expected = quantile * math.sqrt(methods * (methods + 1) / (6 * 14))
    assert ranks(table(methods, 14)).critical == pytest.approx(expected, rel=1e-3)


def test_ranks_worked_by_hand() -> None:
    """Once a and b share the places 1 and 2; what differs in the 13th decimal is the same."""
    scores = pd.DataFrame(
        [[0.1, 0.2, 0.3, 0.4, 0.5], [0.9, 0.8, 0.9, 0.7, 0.9], [0.8, 0.8 + 1e-14, 0.8, 0.6, 0.8]], index=["c", "a", "b"]
    )
    found = ranks(scores)
    assert list(found.means.items()) == [("a", pytest.approx(1.1)), ("b", pytest.approx(1.9)), ("c", pytest.approx(3))]
    assert found.ranks.loc["a"].tolist() == [1, 1.5, 1, 1, 1]
    assert found.scores.loc["c"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert found.critical == pytest.approx(2.343 * math.sqrt(12 / 30), rel=1e-3)  # 1.48: a and c differ, b has company
    assert found.last_alike == [1, 2, 2]


@pytest.mark.parametrize(
    ("order", "p"),
    [([[1, 2, 3]] * 4 + [[2, 1, 3]], 0.0085), ([[1, 2, 3]] * 3 + [[2, 1, 3]] * 2, 0.024), ([[1, 2, 3]] * 5, 0.00077)],
)
def test_p_is_that_of_the_exact_table_of_five_blocks_and_three_treatments(order: list[list[int]], p: float) -> None:
    """Friedman's chi-squared of 8.4, 7.6 and 10 (Hollander, Wolfe and Chicken, table of the exact distribution)."""
    assert ranks(-pd.DataFrame(order).T.astype(float)).p == pytest.approx(p, abs=5e-4)


def test_with_many_datasets_p_is_about_that_of_scipys_chi_squared() -> None:
    for seed in range(3):
        scores = table(4, 40, seed)
        scores.iloc[0] += 0.1 * seed
        assert ranks(scores).p == pytest.approx(stats.friedmanchisquare(*scores.to_numpy()).pvalue, abs=0.02)


def test_the_same_scores_give_the_same_p() -> None:
    assert ranks(table(6, 8)).p == ranks(table(6, 8)).p


# False alarms and power: the table in docs/statistics.md is made the same way, of more tables


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid for any number of reshufflings, of which fewer only cost power."""
    monkeypatch.setattr(module, "RESHUFFLED", 99)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("methods", "datasets"), [(3, 5), (8, 6)])
def test_methods_without_a_true_difference_seldom_raise_a_false_alarm(methods: int, datasets: int) -> None:
    found = [ranks(table(methods, datasets, seed)) for seed in range(150)]
    assert np.mean([each.p < 0.05 for each in found]) < 0.1
    assert np.mean([np.ptp(each.means) >= each.critical for each in found]) < 0.1


def test_iman_and_davenports_f_raises_more_alarms_than_it_says() -> None:
    """Why it is not used: of four label fractions at 0.05 / 4 each, 0.09 of the reports instead of 0.05."""
    datasets, methods = 5, 3
    orders = np.array(list(itertools.permutations((1, 2, 3))))
    every = orders[np.array(list(itertools.product(range(6), repeat=datasets)))]  # all equally likely: 6 ** 5
    chi = 12 * datasets / (methods * (methods + 1)) * ((every.mean(axis=1) - 2) ** 2).sum(axis=1)
    with np.errstate(divide="ignore"):
        f = (datasets - 1) * chi / (datasets * (methods - 1) - chi)
    p = stats.f.sf(f, methods - 1, (methods - 1) * (datasets - 1))
    assert 1 - (1 - np.mean(p < 0.05 / 4)) ** 4 == pytest.approx(0.094, abs=0.005)
    exact = np.array([np.mean(chi >= value - 1e-9) for value in np.unique(chi)])
    assert np.max(exact[exact < 0.05 / 4]) == pytest.approx(0.0085, abs=0.0005)  # what reshuffling rejects


@pytest.mark.usefixtures("quick")
def test_five_datasets_show_an_order_and_seldom_a_pair_and_ten_show_both() -> None:
    """The first of four methods is better by two standard deviations of what varies between datasets."""

    def power(datasets: int) -> tuple[float, float]:
        found = []
        for seed in range(60):
            scores = pd.DataFrame(np.random.default_rng(seed).normal(size=(4, datasets)))
            scores.iloc[0] += 2
            each = ranks(scores)
            found.append((each.p < 0.05, each.p < 0.05 and each.means[1] - each.means[0] >= each.critical))
        order, pair = np.mean(found, axis=0).tolist()
        return order, pair

    order, pair = power(5)
    assert order > 0.4
    assert pair < 0.4
    order, pair = power(10)
    assert order > 0.85
    assert pair > 0.55


# What the page says


def test_five_datasets_of_one_order_tell_first_from_last(tmp_path: Path) -> None:
    """Mean ranks 1 to 4, and 2.569 * sqrt(20 / 30) = 2.10: places three apart differ, places two apart do not."""
    found = ranked(results(tmp_path, 5))
    (ranking,) = found.rankings
    assert ranking.title == "At 10 % of the labels"
    assert ranking.words == [
        "atso has the best mean rank, 1.00, of 4 methods on 5 datasets. The methods do not all rank alike, p < 0.001. "
        "Mean ranks 2.10 or more apart differ."
    ]
    assert ranking.table.columns == ["method", "ranks better than", "mean rank", "d0", "d1", "d2", "d3", "d4"]
    assert texts(ranking.table)[:2] == [
        ["atso", "supervised", "1.00", *["1 0.900"] * 5],
        ["mean-teacher", "–", "2.00", *["2 0.800"] * 5],
    ]
    assert "Holm" not in " ".join([*found.words, *ranking.words])
    assert not any("share test cases" in text or "Ranks need" in text for text in found.words)


def test_label_fractions_pay_for_one_another(tmp_path: Path) -> None:
    results(tmp_path, 5)
    results(tmp_path, 5, fraction="5")
    found = ranked(results(tmp_path, 3, fraction="20"))
    assert [each.title for each in found.rankings] == ["At 5 % of the labels", "At 10 % of the labels"]
    assert [each.drawing.name for each in found.rankings] == ["critical-difference-5", "critical-difference-10"]
    assert all("p < 0.001 (Holm). Mean ranks 2.3" in each.words[0] for each in found.rankings)  # 2.10 for one alone
    assert "adjusted by Holm over all 2 rankings" in found.words[0]
    assert found.words[-1].endswith("there are 4 methods on 3 datasets at 20 % of the labels.")


def test_two_label_fractions_may_show_less_than_one(tmp_path: Path) -> None:
    """Rank sums 6, 10 and 14 on five datasets: p = 0.039 (exact table), and by Holm 0.079 where there are two of it."""
    orders = ["abc", "abc", "abc", "bac", "acb"]

    def told(folder: Path, *fractions: str) -> list[str]:
        for fraction, (place, order) in itertools.product(fractions, enumerate(orders)):
            results(folder, [f"d{place}"], tuple(order), fraction)
        return [ranking.words[0] for ranking in ranked(folder).rankings]

    (alone,) = told(tmp_path / "one", "10")
    assert "The methods do not all rank alike, p = 0.039. Mean ranks 1.48 or more apart differ." in alone
    assert all(
        text.endswith("No difference is significant, p = 0.079 (Holm).") for text in told(tmp_path / "two", "10", "20")
    )


def test_what_is_not_shown_joins_all_methods(tmp_path: Path) -> None:
    turned = METHODS[::-1]
    results(tmp_path, ["a", "b", "c"])
    (ranking,) = ranked(results(tmp_path, ["d", "e", "f"], turned)).rankings
    assert ranking.words == [
        "supervised, atso, mean-teacher and self-learning share the best mean rank, 2.50, of 4 methods on "
        "6 datasets. No difference is significant, p = 1.000."
    ]
    assert [row[1] for row in texts(ranking.table)] == ["–"] * 4


def test_one_dataset_is_not_spoken_of(tmp_path: Path) -> None:
    results(tmp_path, 1)
    results(tmp_path, 1, spec={"configuration": "3d_fullres"})
    assert ranks_by_fraction(read(tmp_path).groups()) is None


def test_few_datasets_and_few_methods_are_said_to_be_few(tmp_path: Path) -> None:
    few = ranked(results(tmp_path / "datasets", 2))
    assert few == OverDatasets(
        [
            "Ranks need 3 methods, each with a score on 5 datasets; there are 4 methods on 2 datasets at 10 % of the "
            "labels."
        ],
        [],
    )
    assert "there are 2 methods on 5 datasets at" in ranked(results(tmp_path / "methods", 5, METHODS[:2])).words[0]
    results(tmp_path / "apart", ["a"])
    (said,) = ranked(results(tmp_path / "apart", ["b"], fraction="20")).words
    assert said.endswith("there are no two datasets with the same label fraction and budget.")


def test_gaps_are_left_out_and_said(tmp_path: Path) -> None:
    """A method of one dataset and a dataset of one method cost themselves, and nobody else."""
    results(tmp_path, 5)
    results(tmp_path, ["d0"], ["uamt"])
    results(tmp_path, ["alone"], ["atso"])
    (ranking,) = ranked(tmp_path).rankings
    assert ranking.words[1:] == [
        "Left out (no score on every dataset ranked): uamt.",
        "Left out (no score of every method ranked): alone.",
    ]
    assert "of 4 methods on 5 datasets" in ranking.words[0]


def test_a_method_is_left_out_rather_than_the_fifth_dataset(tmp_path: Path) -> None:
    results(tmp_path, 4)
    (ranking,) = ranked(results(tmp_path, ["d4"], METHODS[:3])).rankings
    assert "of 3 methods on 5 datasets" in ranking.words[0]


def test_an_undefined_score_is_a_gap_and_no_last_place(tmp_path: Path) -> None:
    results(tmp_path, 5)
    (ranking,) = ranked(results(tmp_path, ["d5"], ["atso"], score=None)).rankings
    assert ranking.words[1:] == []
    assert "on 5 datasets" in ranking.words[0]


def test_scores_on_v_full_supervision_and_other_budgets_are_not_mixed_in(tmp_path: Path) -> None:
    results(tmp_path, 5, METHODS[1:])
    results(tmp_path, 5, ["atso"], spec={"validation": 10.0, "scored": "validation"})
    results(tmp_path, 5, ["atso"], spec={"budget": Budget("1200", 1200, "phase")})
    results(tmp_path, 5, ["supervised"], "100", labelled=40)
    found = ranked(tmp_path)
    (ranking,) = found.rankings
    assert ranking.title == "At 10 % of the labels, budget 1200 in total"
    assert ranking.drawing.name == "critical-difference-10-1200-total"
    assert "mean-teacher has the best mean rank, 1.00, of 3 methods" in ranking.words[0]
    assert found.words[-1].endswith(
        "there are 1 method on 5 datasets at 10 % of the labels, budget 1200 in each training."
    )


def test_of_several_comparisons_the_fullest_is_ranked_and_named(tmp_path: Path) -> None:
    results(tmp_path, 5)
    results(tmp_path, ["d0"], METHODS[::-1][:3], spec={"configuration": "3d_fullres"})
    found = ranked(tmp_path)
    assert found.rankings[0].table.columns[3:5] == ["d0, 2d, 1,200 steps", "d1"]
    assert "the one with the most methods at the label fraction is ranked" in found.words[2]


def test_datasets_that_share_their_test_cases_count_once(tmp_path: Path) -> None:
    results(tmp_path, 4)
    split = {**make().split, "test": ["d0-t0", "d0-t1"]}
    found = ranked(results(tmp_path, ["d0-extra"], split=split))
    assert found.rankings == []
    assert found.words[0] == "d0-extra and d0 share test cases and reference labels, and count as one dataset."
    assert "on 4 datasets" in found.words[1]
    (tmp_path / "alone").mkdir()
    results(tmp_path / "alone", ["d0"])
    assert ranked(results(tmp_path / "alone", ["d0-extra"], split=split)).words == [
        "d0-extra and d0 share test cases and reference labels, and count as one dataset.",
        "Ranks need 3 methods, each with a score on 5 datasets; there is one.",
    ]


def test_datasets_that_only_name_their_test_cases_alike_are_ranked_each(tmp_path: Path) -> None:
    """``t0`` and ``t1`` everywhere, with other true labels; that methods find more or less of them changes nothing."""
    for (place, dataset), (rank, method) in itertools.product(enumerate(["a", "b", "c", "d", "e"]), enumerate(METHODS)):
        size = 10 + place
        cases = {case: {each: case_scores(tp=rank, fn=size - rank) for each in CLASSES} for case in ("t0", "t1")}
        write(tmp_path, make(method, score=0.9 - rank / 10, cases=cases, data=dataset, spec={"dataset": dataset}))
    found = ranked(tmp_path)
    assert "of 4 methods on 5 datasets" in found.rankings[0].words[0]
    assert not any("share" in text and "test cases" in text for text in found.words)


def test_datasets_without_counts_are_not_taken_for_one(tmp_path: Path) -> None:
    for dataset, method in itertools.product(("a", "b"), METHODS):
        cases = {"t0": {each: case_scores(tp=None, fn=None) for each in CLASSES}}
        write(tmp_path, make(method, cases=cases, data=dataset, spec={"dataset": dataset}))
    assert "on 2 datasets" in ranked(tmp_path).words[0]


def test_methods_of_other_splits_are_not_ranked_against_one_another(tmp_path: Path) -> None:
    results(tmp_path, 6)
    for name, dataset in (("uamt", "d0"), ("cps", "d0")):
        split = {**make().split, "test": [f"{dataset}-t0", f"{dataset}-t1"], "hash": name}
        results(tmp_path, [dataset], [name], split=split)
    (ranking,) = ranked(tmp_path).rankings
    assert "on 5 datasets" in ranking.words[0]
    assert "Left out (methods with different splits): d0." in ranking.words


# The diagram


def drawn_bars(means: Mapping[str, float], critical: float, last_alike: list[int]) -> int:
    drawing = critical_difference("name", pd.Series(means), critical, last_alike, 6)
    root = ElementTree.fromstring(drawing.svg)
    return sum("stroke-width: 4" in (path.get("style") or "") for path in root.iter("{http://www.w3.org/2000/svg}path"))


def test_a_bar_joins_every_longest_row_of_methods_that_are_not_told_apart() -> None:
    means = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert drawn_bars(means, 2.5, [2, 3, 3, 3]) == 2
    assert drawn_bars(means, 1.5, [1, 2, 3, 3]) == 3
    assert drawn_bars(means, 0.5, [0, 1, 2, 3]) == 0
    assert drawn_bars(means, 9.0, [3, 3, 3, 3]) == 1


def test_hostile_names_break_neither_diagram_nor_page(tmp_path: Path) -> None:
    odd = [f"{ALERT}$x$", "_hidden", "a|b\n" + "long" * 50, "supervised"]
    write_odd = {f"option{place}": name for place, name in enumerate(odd)}
    for option in write_odd.items():
        results(tmp_path, 5, ["atso"], spec={"options": dict([option])}, score=len(option[1]) / 1000)
    found = ranked(tmp_path)
    section = found.section([picture(each.drawing) for each in found.rankings])
    assert ALERT not in to_html("title", [section])
    assert "<script" not in to_markdown("title", [section])
    for ranking in found.rankings:
        ElementTree.fromstring(ranking.drawing.svg)
