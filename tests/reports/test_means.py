"""One way to take a mean: what compares two of them never meets a difference that rounding alone made."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from records import CLASSES, case_scores, group, make, texts, write
from test_short import rows

from atso_bench.reports.certainty.evidence import evidence
from atso_bench.reports.certainty.rank_fields import blocks_of, fields_of
from atso_bench.reports.compare import compare
from atso_bench.reports.data.means import mean
from atso_bench.reports.figures.overlays import _ranks
from atso_bench.reports.pages import tables

METHODS = ["supervised", "atso", *(f"method-{place}" for place in range(11))]


def drawn(results: Path, seeds: int, fractions: int = 8, dataset: str = "phantom") -> None:
    """A grid of random scores."""
    rng = np.random.default_rng([seeds, sum(map(ord, dataset))])
    for number in range(fractions):
        for method in METHODS:
            for seed in range(seeds):
                score = float(rng.uniform(0.6, 0.9))
                write(results, make(method, str(10 + number), seed, score, spec={"dataset": dataset}))


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_first_screen_the_table_and_the_sentences_name_the_same_winner(seeds: int, tmp_path: Path) -> None:
    drawn(tmp_path, seeds)
    made = group(tmp_path)
    known = evidence(made)
    table = tables.scores(made)
    first = rows(tmp_path)
    assert len(first) == 8
    for place, (fraction, row) in enumerate(zip(made.fractions, first, strict=True), start=1):
        true = made.runs[made.runs.fraction == fraction].groupby("label")["score"].apply(list)
        best = max(true.index, key=lambda label: math.fsum(true[label]))
        assert row["best method"] == best
        assert known.leaders[fraction].method == best
        assert [cells[0].text for cells in table.rows if cells[place].strong] == [best]


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_same_scores_in_any_order_are_the_same_mean(seeds: int, tmp_path: Path) -> None:
    scores = np.random.default_rng(seeds).uniform(0.6, 0.9, seeds).tolist()
    orders = list(permutations(scores))
    assert len({mean(order) for order in orders}) == 1
    methods = dict(zip(METHODS, orders[:: len(orders) // 6], strict=False))
    for method, order in methods.items():
        write(tmp_path, *(make(method, seed=seed, score=score) for seed, score in enumerate(order)))
    (row,) = rows(tmp_path)
    assert row["best method"].endswith("tied")
    assert all(method in row["best method"] for method in methods)
    table = tables.scores(group(tmp_path))
    assert all(cells[1].strong for cells in table.rows), texts(table)


def test_a_mean_is_over_what_is_defined() -> None:
    assert mean([0.1, math.nan, 0.2]) == 0.15
    assert math.isnan(mean([]))
    assert math.isnan(mean([math.nan]))


def test_equal_scores_over_datasets_share_a_rank_whatever_their_order(tmp_path: Path) -> None:
    scores = np.random.default_rng(1).uniform(0.6, 0.9, 5).tolist()
    made = []
    for size, dataset in enumerate(("one", "two")):  # with other true labels: they are two datasets
        folder = tmp_path / dataset
        cases = {case: {name: case_scores(tp=8 + size) for name in CLASSES} for case in ("t0", "t1")}
        for method, order in zip(METHODS[:4], permutations(scores), strict=False):
            facts: dict[str, Any] = {"spec": {"dataset": dataset}, "cases": cases}
            write(folder, *(make(method, seed=seed, score=score, **facts) for seed, score in enumerate(order)))
        made.append(group(folder))
    (field,) = fields_of(made, blocks_of(made))
    assert (field.scores.nunique() == 1).all()


def test_a_fall_that_is_the_noise_itself_is_noise_whatever_the_last_digit(tmp_path: Path) -> None:
    """Means of 0.7 and 0.7 - d, where the deviation within the candidate makes the pooled noise d as well."""
    for number, fall in enumerate(np.linspace(0.02, 0.2, 19).tolist()):
        old, new = tmp_path / f"{number}" / "old", tmp_path / f"{number}" / "new"
        write(old, make(score=0.7), make(seed=1, score=0.7))
        write(new, make(score=0.7 - 2 * fall), make(seed=1, score=0.7))
        assert [each.word for each in compare(old, new).differences] == ["noise"]


def test_cases_of_equal_means_stand_in_their_own_order() -> None:
    almost = pd.Series({"a": 0.1 + 0.2, "b": 0.3, "c": 0.3 + 1e-15, "d": 0.2})
    assert _ranks(almost) == {"best": "a", "median": "c", "worst": "d"}
    assert _ranks(almost[["b", "c", "a", "d"]]) == {"best": "b", "median": "a", "worst": "d"}
