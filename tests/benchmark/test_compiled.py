"""`--compile`: another way to the same weights, whose first step is shown."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import TOY
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.record import read_all
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.execution import Execution

REAL = torch.nn.Module.compile


def fit(folder: Path, *, compiled: bool, method: str = "mean-teacher") -> tuple[Any, Trainer]:
    spec = RunSpec(TOY.name, method, "10", 0, Budget.parse("28"))
    split = make_split(TOY, spec)
    task = TOY.task(split.labelled, (*split.labelled, *split.unlabelled), spec.budget, {})
    learner = registry.method(method, {})
    trainer = Trainer(task, spec.budget, 0, Stages(folder), execution=Execution(compiled=compiled), method=learner)
    data = TrainData(Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images))
    return learner.fit(trainer, data), trainer


@pytest.mark.parametrize(
    ("method", "networks"), [("mean-teacher", 2), ("cps", 2), ("unimatch", 1), ("urpc", 1), ("st-plus-plus", 5)]
)
def test_a_compiled_training_ends_in_the_same_weights_and_shows_its_first_step(
    method: str, networks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def counting(module: torch.nn.Module) -> None:
        seen.append(module)
        REAL(module, backend="eager")  # torch's tracer without a compiler behind it

    monkeypatch.setattr(torch.nn.Module, "compile", counting)
    plain, trainer = fit(tmp_path / "plain", compiled=False, method=method)
    assert seen == []
    assert trainer.phases[0].warm_up is None
    model, trainer = fit(tmp_path / "compiled", compiled=True, method=method)
    assert len(seen) == networks  # student and teacher; two networks; M0 with two earlier ones, and two students
    assert weights_digest(model) == weights_digest(plain)
    phase = trainer.phases[0]
    assert phase.warm_up is not None
    assert 0 < phase.warm_up < phase.seconds
    assert model._compiled_call_impl is None  # cases to predict have other shapes


def test_compiled_phases_are_not_taken_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(REAL, backend="eager"))
    keys = [fit(tmp_path, compiled=on)[1].phases[0] for on in (False, True, False)]
    assert keys[0].key == keys[2].key != keys[1].key
    assert [phase.reused for phase in keys] == [False, False, True]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    real = registry.dataset
    monkeypatch.setattr(registry, "dataset", lambda name, c="2d": ToyDataset() if name == "toy" else real(name, c))
    given = ["run", "-m", "supervised", "-f", "10", "-d", "toy", "--budget", "4", "--device", "cpu", "--compile"]
    return [*given, "--out", str(tmp_path / "out")]


def test_without_a_compiler_the_command_says_so(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "C++ compiler" in result.output


@pytest.mark.slow
def test_a_run_is_compiled_for_real(words: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "compiled in" in result.output
    (record,) = read_all(tmp_path / "out")
    assert record.environment["compiled"] is True
    assert record.phases[0].warm_up > 0
