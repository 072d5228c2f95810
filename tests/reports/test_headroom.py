"""What a comparison can show: headroom, the smallest difference that its seeds show, and whether steps bind."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from records import blank, make, report, write
from scipy import stats

from atso_bench.benchmark import grid
from atso_bench.benchmark.spec import Budget
from atso_bench.reports.certainty.headroom import Headroom, compared, headroom, power, shorter, smallest_effect
from atso_bench.reports.data.frame import read
from atso_bench.reports.pages import limits
from atso_bench.reports.pages.limits import at_hand


@pytest.mark.parametrize(("effect", "seeds"), [(1.0, 5), (2.0, 3), (0.5, 20), (0.0, 4)])
def test_the_power_is_that_of_simulated_t_tests(effect, seeds):
    drawn = np.random.default_rng(0).normal(effect, 1.0, (40_000, seeds))
    shown = stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05
    assert power(effect, seeds) == pytest.approx(shown.mean(), abs=0.01)


def test_the_smallest_effect_has_the_power_and_shrinks_with_seeds():
    effects = [smallest_effect(seeds) for seeds in range(2, 30)]
    assert effects == sorted(effects, reverse=True)
    assert power(smallest_effect(3), 3) == pytest.approx(0.8)
    assert math.isnan(smallest_effect(1))


def test_the_seeds_for_a_difference_are_the_fewest_that_show_it():
    found = Headroom(room=0.1, lead=0.02, noise=0.01, seeds=3)
    seeds = found.seeds_for(0.02)
    assert found.noise * smallest_effect(seeds) <= 0.02 < found.noise * smallest_effect(seeds - 1)
    assert found.seeds_for(0.0001) is None  # more than anybody will run
    assert Headroom(0.1, 0.02, math.nan, 1).seeds_for(0.02) is None


def results(folder: Path, leads=(0.05, 0.07, 0.06), room=0.2, from_steps=0.01) -> Path:
    """Supervised at 0.5 with some spread, a method, all labels, and supervised with half the steps."""
    for seed, lead in enumerate(leads):
        base = 0.5 + 0.03 * seed
        write(
            folder,
            make("supervised", seed=seed, score=base),
            make("atso", seed=seed, score=base + lead),
            make("supervised", "100", seed=seed, score=base + room),
            make("supervised", seed=seed, score=base - from_steps, steps=600),
        )
    return folder


def test_headroom_lead_and_noise_are_of_the_shared_seeds(tmp_path: Path) -> None:
    long = next(group for group in read(results(tmp_path)).groups() if group.facts["steps"] == 1200)
    found = headroom(long, "supervised")
    assert set(found) == {"10"}  # nothing to win at 100 %
    each = found["10"]
    assert (each.room, each.lead, each.seeds) == (pytest.approx(0.2), pytest.approx(0.06), 3)
    assert each.noise == pytest.approx(np.std([0.05, 0.07, 0.06], ddof=1))  # the seeds' own spread is in neither


def words(folder: Path) -> str:
    chapters = blank(read(folder).groups())
    return " ".join(text for chapter in chapters for text in chapter.section.words)


def test_where_labels_bind_nothing_is_said_and_the_table_says_so(tmp_path: Path) -> None:
    said = words(results(tmp_path))
    assert "cannot rank" not in said
    assert "steps are the limit" not in said
    (chapter,) = blank(read(tmp_path).groups())
    table, *_ = next(part for part in chapter.section.sections if "can show" in part.title).parts
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["limit"].text, row["gain from steps"].note) == ("labels", "from 600 steps")
    assert row["headroom"].text == "+0.200"


def test_half_the_budget_is_no_comparison_of_its_own(tmp_path: Path) -> None:
    groups = read(results(tmp_path)).groups()
    assert sorted(group.facts["steps"] for group in groups) == [600, 1200]
    assert [group.facts["steps"] for group in compared(groups)] == [1200]
    write(tmp_path, make("atso", steps=600))
    assert len(compared(read(tmp_path).groups())) == 2  # now it compares something
    _, text = report(tmp_path)
    assert "only supervised has a score" not in text


def test_where_steps_bind_the_page_says_so_before_the_scores(tmp_path: Path) -> None:
    said = words(results(tmp_path, from_steps=0.08))
    assert "At 10 % (4 cases), steps are the limit, not labels. From 600 steps to this budget supervised" in said


def test_without_room_the_page_says_that_methods_cannot_be_ranked(tmp_path: Path) -> None:
    said = words(results(tmp_path, leads=(0.05, -0.05, 0.0), room=0.02))
    assert "this comparison cannot rank methods. All labels gain +0.020 Dice" in said


def test_plan_says_what_the_records_at_hand_show(tmp_path: Path) -> None:
    specs = [make("supervised").spec]
    assert at_hand(tmp_path, specs) == []
    (line,) = at_hand(results(tmp_path), specs)
    assert line.startswith("phantom, 10 % (4 cases): headroom +0.200; 3 seeds show a difference of 0.0")
    assert "the best lead, 0.060, takes" in line
    assert at_hand(tmp_path, [replace(specs[0], dataset="hippocampus")]) == []


def test_plan_reads_no_other_records_and_not_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100,000 records each would be read whole."""
    folder = results(tmp_path)
    write(folder, *(make("supervised", seed=seed, spec={"dataset": "streets"}) for seed in range(3)))
    opened: list[Path] = []
    monkeypatch.setattr(limits, "read", lambda results, files: opened.extend(files) or read(results, files=files))
    assert len(at_hand(folder, [make("supervised").spec])) == 1
    assert len(opened) == 12
    monkeypatch.setattr(limits, "MOST", 11)
    (line,) = at_hand(folder, [make("supervised").spec])
    assert line == "12 records are at hand; `atso-bench report` says what they can show"
    assert len(opened) == 12


def test_one_seed_or_no_upper_bound_gives_no_verdict(tmp_path: Path) -> None:
    write(tmp_path, make("supervised"), make("atso", score=0.6))
    (group,) = read(tmp_path).groups()
    each = headroom(group, "supervised")["10"]
    assert math.isnan(each.room)
    assert math.isnan(each.noise)
    assert not each.too_small
    assert not each.steps_bind


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [("small", 600, True), ("small", 601, False), ("standard", 600, False), ("small", 1200, False)],
)
def test_a_shorter_comparison_has_half_the_steps_and_the_same_recipe(tmp_path, name, steps, expected):
    write(tmp_path, make(spec={"budget": Budget("small", 1200)}), make(spec={"budget": Budget(name, steps)}))
    groups = read(tmp_path).groups()
    long = max(groups, key=lambda group: (group.facts["steps"], group.facts["budget"]))
    assert (shorter(long, groups) is not None) == expected


def test_half_budget_adds_supervised_with_half_of_the_steps():
    specs = grid.make_specs(
        ["phantom"], ["atso"], ["10"], [0, 1], Budget.parse("100"), grid.Options({}, {}), half_budget=True
    )
    added = [(spec.method, spec.seed, spec.budget) for spec in specs if spec.method != "atso"]
    assert added == [("supervised", seed, Budget("50", 50)) for seed in (0, 1)]
    assert Budget.parse("small:3000", "line").halved == Budget("small", 1500, "line")
