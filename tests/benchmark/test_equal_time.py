"""Parity ``time``: a method's steps are as many as fit into the time of supervised training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atso_bench.benchmark.cli import app
from atso_bench.benchmark.forecast import equal_time
from atso_bench.benchmark.forecast.equal_time import Machine, scaled
from atso_bench.benchmark.forecast.plan import Forecast
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import read_all

HERE = Machine("cpu", 0, 1)
SECONDS = {"supervised": (10.0, 0.0), "cutmix": (16.0, 0.0), "self-learning": (10.0, 4.0), "slow": (10.0, 10.1)}
"""By method what its trainings and its pseudo-labelling take."""


def spec(method, seed=0, parity="time"):
    return RunSpec("toy", method, "10", seed, Budget.parse("100", parity))


@pytest.fixture
def asked(monkeypatch):
    """The runs whose times were looked at."""
    seen = []

    def forecast(specs, *_):
        seen.append([one.method for one in specs])
        for one in specs:
            training, labelling = SECONDS[one.method]
            yield Forecast(one, False, trainings=1, training=training, labelling=labelling)

    monkeypatch.setattr(equal_time, "forecast", forecast)
    return seen


def test_a_budget_and_the_keys_of_other_parities_are_as_before():
    plain = Budget.parse("small:3000", "line")
    assert plain.own is plain
    assert plain.facts == {name: value for name, value in asdict(plain).items() if name != "scale"}
    assert Budget("100", 100, "time", 0.625).own == Budget("100", 62, "total")
    assert RunSpec.from_json(json.loads(json.dumps(asdict(spec("cutmix"))))) == spec("cutmix")
    with pytest.raises(ValueError, match="scale"):
        Budget("100", 100, "total", 0.5)


def test_training_and_labelling_together_take_what_supervised_training_takes(tmp_path, asked):
    said = []
    made = scaled([spec("supervised"), spec("cutmix"), spec("self-learning")], tmp_path, HERE, said.append)
    assert [one.budget.scale for one in made] == [1, 0.62, 0.6]
    assert [one.budget.own.steps for one in made] == [100, 62, 60]
    assert said[1] == "equal time: cutmix on toy has 62 steps where supervised training has 100"


def test_the_same_command_makes_the_same_runs_and_seeds_share_a_scale(tmp_path, asked, monkeypatch):
    first = scaled([spec("cutmix", seed) for seed in range(3)], tmp_path, HERE, lambda _: None)
    assert asked == [["supervised", "cutmix"]]
    monkeypatch.setitem(SECONDS, "cutmix", (20.0, 0.0))
    again = scaled([spec("cutmix", seed) for seed in range(3)], tmp_path, HERE, lambda _: None)
    assert again == first
    assert len(asked) == 1


def test_other_parities_are_not_timed(tmp_path, asked):
    runs = [spec("cutmix", parity="line")]
    assert scaled(runs, tmp_path, HERE, print) == runs
    assert not asked
    assert not [*tmp_path.iterdir()]


def test_a_method_whose_labelling_leaves_no_time_is_refused(tmp_path, asked):
    with pytest.raises(ValueError, match=r"slow labels for 10 s, and 100 steps .* take 10 s; raise --budget"):
        scaled([spec("slow")], tmp_path, HERE, print)
    assert not (tmp_path / equal_time.FILE).exists()


def test_a_method_spends_its_own_steps_and_stands_in_the_table_of_the_others(tmp_path):
    command = ["run", "-m", "supervised,cps", "-f", "10", "--budget", "smoke", "--parity", "time"]
    done = CliRunner().invoke(app, [*command, "--device", "cpu", "--workers", "0", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "equal time: cps on phantom has" in done.output
    records = {record.spec.method: record for record in read_all(tmp_path)}
    assert {record.spec.budget.steps for record in records.values()} == {24}
    assert records["supervised"].spent_steps == 24
    assert records["cps"].spent_steps == records["cps"].spec.budget.own.steps
    page = Path(tmp_path, "report", "report.md").read_text(encoding="utf-8")
    assert "24 steps of supervised training, and every method has the time that they take" in page


def test_other_machines_are_not_timed_here(tmp_path):
    command = ["run", "-m", "cps", "-f", "10", "--parity", "time", "--on", "slurm", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "--parity time measures steps on this machine" in done.output
