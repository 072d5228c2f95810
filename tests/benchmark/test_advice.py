"""A race: its rounds fit its hours, the better half goes on, it resumes, and it says only what it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from records import case_scores, make
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.advice.race import Race
from atso_bench.benchmark.advice.schedule import Round, foreseen, kept, least, next_round, rounds
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Phase, read_all

FIELD = {"supervised": 0.60, "cutmix": 0.70, "cps": 0.61, "atso": 0.62}
"""The true mean of each method."""
COST = 60.0


def names(number: int) -> list[str]:
    return [f"m{each}" for each in range(number)]


@pytest.mark.parametrize("methods", [2, 3, 8, 13, 20])
@pytest.mark.parametrize("hours", [0.3, 1, 2, 8])
def test_the_rounds_fit_the_hours_and_halve_the_field(methods: int, hours: float) -> None:
    costs = dict.fromkeys(names(methods), 300.0)
    found = foreseen(names(methods), costs, 3000, 3600 * hours)
    assert sum(each.seconds(costs, 3000) for each in found) <= 3600 * hours
    if 3600 * hours < least(names(methods), costs):
        assert not found
        return
    assert len(found) <= rounds(methods)
    for one, following in pairwise(found):
        assert len(following.methods) == kept(len(one.methods))
        assert following.steps >= one.steps
    whole = [seed for each in found if each.steps == 3000 for seed in each.seeds]
    assert whole == list(range(len(whole)))


def test_few_hours_make_short_runs_and_many_make_seeds() -> None:
    costs = dict.fromkeys(names(4), 100.0)
    assert next_round(names(4), costs, 1000, 400, 0) == Round(tuple(names(4)), 500, (0,))
    assert next_round(names(4), costs, 1000, 1600, 0) == Round(tuple(names(4)), 1000, (0, 1))
    assert next_round(names(4), costs, 1000, 90, 0) is None
    assert next_round(names(4), costs, 1000, 400, 2) is None  # short runs would say less than there is


def spec(method: str) -> RunSpec:
    return RunSpec("toy", method, "50", 0, Budget("1000", 1000), validation=20.0, scored="validation")


class Bench:
    """Makes records in no time; counts runs."""

    def __init__(self, results: Path, field: dict[str, float], spread: float = 0.003, broken: str = "") -> None:
        self.results, self.field, self.spread, self.broken, self.made = results, field, spread, broken, 0

    def __call__(self, specs: Sequence[RunSpec]) -> int:
        for each in specs:
            if (self.results / "records" / each.path).exists() or each.method == self.broken:
                continue
            self.made += 1
            luck = np.random.default_rng([sum(map(ord, each.method)), each.seed]).normal(0, self.spread)
            hard = np.random.default_rng(7).normal(0, 0.05, 12)
            scores = self.field[each.method] + luck + hard
            noise = np.random.default_rng([1, sum(map(ord, each.method)), each.seed]).normal(0, 0.01, 12)
            cases = {f"v{n}": {name: case_scores(float(s)) for name in ("organ", "lesion")}
                     for n, s in enumerate(scores + noise)}  # fmt: skip
            phases = [Phase("M0", "train", COST * each.budget.steps / 1000, steps=each.budget.steps)]
            made = make(each.method, seed=each.seed, cases=cases, score=float(np.mean(scores + noise)), phases=phases)
            replace(made, spec=each).write(self.results)
        return 0


def race(results: Path, hours: float, bench: Bench) -> Race:
    made = Race({name: spec(name) for name in bench.field}, results, 3600 * hours, bench)
    made.costs = dict.fromkeys(bench.field, COST)
    return made


def test_a_clear_winner_is_recommended_with_its_cost(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FIELD)
    said: list[str] = []
    told = race(tmp_path, 0.6, bench).run(said.append)
    assert told[0].startswith("recommended: cutmix")
    assert "round 1: 4 methods" in said[0]
    assert sum(COST for _ in range(bench.made)) <= 3600 * 0.6
    assert "it took" in told[-1]
    seeds = {(record.spec.method, record.spec.seed) for record in read_all(tmp_path)}
    assert len([seed for name, seed in seeds if name == "cutmix"]) > len([s for n, s in seeds if n == "supervised"])


def test_equal_methods_are_not_told_apart(tmp_path: Path) -> None:
    told = race(tmp_path, 0.6, Bench(tmp_path, dict.fromkeys(FIELD, 0.6))).run(lambda line: None)
    assert told[0].startswith("not distinguishable within this budget")


def test_one_seed_makes_nothing_certain(tmp_path: Path) -> None:
    told = race(tmp_path, 0.1, Bench(tmp_path, FIELD)).run(lambda line: None)
    assert told[0].startswith("not distinguishable within this budget: cutmix")


def test_equal_methods_seldom_win(tmp_path: Path) -> None:
    """Over other seeds; 20 races, of which at most one may be wrong at the 5 % that the tests allow."""
    wrong = 0
    for number in range(20):
        field = {f"{'abcd'[k]}{number}": 0.6 for k in range(4)}
        bench = Bench(tmp_path / str(number), field, spread=0.02)
        told = race(tmp_path / str(number), 0.5, bench).run(lambda line: None)
        wrong += told[0].startswith("recommended")
    assert wrong <= 1


def test_a_race_that_was_stopped_goes_on_as_it_was_planned(tmp_path: Path) -> None:
    whole = race(tmp_path / "whole", 0.6, Bench(tmp_path / "whole", FIELD)).run(lambda line: None)

    class Stops(Bench):
        def __call__(self, specs: Sequence[RunSpec]) -> int:
            super().__call__(specs[:2])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race(tmp_path / "two", 0.6, Stops(tmp_path / "two", FIELD)).run(lambda line: None)
    again = race(tmp_path / "two", 0.6, Bench(tmp_path / "two", FIELD))
    again.costs = {}
    assert again.resume()
    assert again.run(lambda line: None)[:-1] == whole[:-1]


def test_a_method_that_fails_leaves_the_race(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FIELD, broken="cutmix")
    told = race(tmp_path, 0.6, bench).run(lambda line: None)
    assert "cutmix" not in told[0]


def test_one_method_with_a_score_is_no_race(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"atso": 0.6, "cutmix": 0.7}, broken="cutmix")
    assert race(tmp_path, 0.6, bench).run(lambda line: None)[0].startswith("only atso has a score")


def test_too_few_hours_are_refused_with_how_many_it_takes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="4 methods take 60 s at least, --hours allows 36 s"):
        race(tmp_path, 0.01, Bench(tmp_path, FIELD)).plan()


def test_the_command_races_and_never_looks_at_the_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Watched(ToyDataset):
        def reference(self, case_id: str):
            asked.append(case_id)
            return super().reference(case_id)

    dataset = Watched(cases=40)
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": dataset)
    words = ["advise", "toy", "--hours", "0.005", "-m", "supervised,cutmix", "-f", "50", "--budget", "8"]
    words += ["--validation", "30", "--device", "cpu", "--workers", "0", "--out", str(tmp_path)]
    shown = CliRunner().invoke(app, [*words, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "race of 2 methods" in shown.output
    assert not list((tmp_path / "records").rglob("seed*.json"))
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "recommended" in result.output or "not distinguishable within this budget" in result.output
    assert not set(asked) & set(dataset.test)
    assert {record.spec.scored for record in read_all(tmp_path)} == {"validation"}
