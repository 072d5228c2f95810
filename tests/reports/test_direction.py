"""A metric of which less is better, and which is no share: whatever leads, ranks, marks or compares asks it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from records import CLASSES, case_scores, drawn_blank, group, make, section, short, texts, write

from atso_bench.benchmark.scoring import headline
from atso_bench.benchmark.scoring.headline import DICE, Metric
from atso_bench.benchmark.store.record import Record
from atso_bench.reports.certainty.evidence import evidence
from atso_bench.reports.certainty.headroom import headroom
from atso_bench.reports.certainty.leader import say
from atso_bench.reports.certainty.ranks import ranks
from atso_bench.reports.compare import compare
from atso_bench.reports.figures.cost import cost
from atso_bench.reports.pages import tables
from atso_bench.reports.pages.cases import hardest

HD95 = Metric(
    "hd95", "HD95", "hd95_mm", True, False, "case", "mean HD95 over classes", higher=False, unit="mm", most=math.inf
)
MEANS = {"supervised": 9.0, "atso": 4.0, "cps": 6.0}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(headline.METRICS, HD95.name, HD95)


def distances(method: str, mean: float, seed: int, fraction: str = "10", cases: int = 12, **more: object) -> Record:
    """A record of a run whose cases lie around this many millimetres."""
    rng = np.random.default_rng([seed, len(method)])
    each = mean + np.linspace(-1, 1, cases) + rng.normal(0, 0.05, cases)
    names = [f"t{place:02}" for place in range(cases)]
    scored = {
        name: {one: case_scores(hd95=value) for one in CLASSES}
        for name, value in zip(names, each.tolist(), strict=True)
    }
    split = {**make(fraction=fraction, seed=seed).split, "test": names}
    return make(method, fraction, seed, float(each.mean()), metric="hd95", cases=scored, split=split, **more)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write(tmp_path / "out", *(distances(name, mean, seed) for name, mean in MEANS.items() for seed in range(5)))


def test_the_lowest_mean_leads_and_its_lead_is_certain(results: Path) -> None:
    only = group(results)
    found = evidence(only).leaders["10"]
    assert (found.method, found.runner_up) == ("atso", "cps")
    text = say(found, "10 %", only.metric)
    assert "atso has the lowest mean HD95 (mm), 4.0" in text
    assert "below supervised (9.0" in text
    assert "The lead over supervised is statistically certain: 95 % interval of the difference −5." in text
    assert "Next is cps with 6.0" in text
    assert "higher." in text


def test_the_first_screen_the_tests_and_the_table_of_scores_say_so_too(results: Path) -> None:
    words = short(results)
    assert words.words[0] == "atso scored lowest, and its lead over supervised is statistically certain."
    (row,) = texts(words.parts[0])
    assert row[1] == "atso"
    assert row[3].startswith("+5.0")
    assert row[3].endswith("certain")
    assert row[4].startswith("+2.0")
    tested = {row[1]: row[2] for row in texts(section(results, "Paired tests against supervised").parts[0])}
    assert tested == {"atso": "better", "cps": "better"}
    scores = tables.scores(group(results), evidence(group(results)).estimates)
    assert [row[0].text for row in scores.rows if row[1].strong] == ["atso"]
    assert "HD95 (mm)" in scores.caption
    assert "0.0 to 1.0" not in drawn_blank(results)


def test_the_interval_of_a_distance_is_not_cut_at_one(results: Path) -> None:
    found = evidence(group(results)).estimates["10", "atso"]
    assert found.low > 3
    assert HD95.held(found.high) == found.high
    assert (DICE.held(1.2), DICE.held(-0.1)) == (1, 0)


def test_the_worst_cases_are_those_with_the_highest_distances(results: Path) -> None:
    assert [row[1] for row in texts(hardest(group(results)))] == ["t11", "t10", "t09", "t08", "t07"]


def test_only_methods_with_shorter_distances_are_worth_more_seconds(results: Path) -> None:
    drawing = cost(group(results))
    assert drawing is not None
    assert drawing.alt.endswith(": atso.")


def test_ranks_take_each_datasets_own_direction() -> None:
    scores = pd.DataFrame({"dice": [0.9, 0.8, 0.7], "mm": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])
    assert ranks(scores, lower={"mm"}).ranks.to_numpy().tolist() == [[1, 1], [2, 2], [3, 3]]


def test_full_supervision_gives_no_number_of_labels_that_95_percent_of_a_distance_take(tmp_path: Path) -> None:
    more = [distances("supervised", 2.0, seed, fraction="100") for seed in range(3)]
    only = group(write(tmp_path, *more, *(distances("atso", 4.0, seed) for seed in range(3))))
    assert only.runs["upper"].any()
    assert evidence(only).needed == {}


def test_shorter_distances_with_all_labels_are_what_there_is_to_win(tmp_path: Path) -> None:
    base = [distances("supervised", 9.0, seed) for seed in range(3)]
    more = [distances("supervised", 2.0, seed, fraction="100") for seed in range(3)]
    other = [distances("atso", 4.0, seed) for seed in range(3)]
    found = headroom(group(write(tmp_path, *base, *more, *other)), "supervised")
    assert found["10"].room == pytest.approx(7, abs=0.1)
    assert found["10"].lead == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize(("change", "word"), [(2.0, "worse"), (-2.0, "better")])
def test_a_gate_fails_on_longer_distances(change: float, word: str, tmp_path: Path) -> None:
    for name, mean in (("before", 5.0), ("after", 5.0 + change)):
        write(tmp_path / name, *(distances("atso", mean, seed) for seed in range(3)))
    found = compare(tmp_path / "before", tmp_path / "after")
    assert [each.word for each in found.differences] == [word]
