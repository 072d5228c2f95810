"""`--deterministic`: what torch can do is done, what it cannot is said, and on a CPU nothing changes."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grids
import pytest
import torch
from toy import ToyDataset, ToyTask
from typer.testing import CliRunner

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.engines import local
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.record import Record, read_all
from atso_bench.benchmark.training.execution import CUBLAS, PLAIN, Execution, noticing, settled

DETERMINISTIC = Execution(deterministic=True)
LOSS = ToyTask.loss


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--dataset toy`` is the toy."""
    real = registry.dataset
    monkeypatch.setattr(registry, "dataset", lambda name, c="2d": ToyDataset() if name == "toy" else real(name, c))
    monkeypatch.setattr("atso_bench.reports.build.build", lambda out: out)  # takes most of the time


def run(out: Path, *words: str, methods: str = "self-learning") -> list[Record]:
    given = ["run", "-m", methods, "-f", "10", "-d", "toy", "--budget", "14", "--device", "cpu", "--workers", "0"]
    result = CliRunner().invoke(app, [*given, "--out", str(out), *words])
    assert result.exit_code == 0, result.output
    return read_all(out)


def state() -> list[Any]:
    cudnn = torch.backends.cudnn
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    enabled = torch.are_deterministic_algorithms_enabled()
    return [enabled, warn_only, cudnn.benchmark, cudnn.deterministic, os.environ.get(CUBLAS)]


def loss_that_scatters(task: ToyTask, output: torch.Tensor, label: torch.Tensor, **_: bool) -> Any:
    """With an operation that has no deterministic way on any device, and one that has."""
    torch.zeros(3).put_(torch.tensor([1]), torch.tensor([2.0]))
    torch.zeros(3).index_add_(0, torch.tensor([1, 1]), torch.ones(2))
    return LOSS(task, output, label, **_)


def test_on_a_cpu_weights_and_scores_are_the_same_with_it(tmp_path: Path) -> None:
    methods = "self-learning,mean-teacher"
    plain, same = (
        run(tmp_path / name, *words, methods=methods) for name, words in (("a", ()), ("b", ("--deterministic",)))
    )
    assert len(plain) == len(same) == 2
    for one, other in zip(plain, same, strict=True):
        models = [
            torch.load(tmp_path / side / "stages" / "models" / f"{one.spec.key}.pt", weights_only=True) for side in "ab"
        ]
        assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())
        assert json.dumps(one.cases) == json.dumps(other.cases)
        assert (one.environment["deterministic"], other.environment["deterministic"]) == (False, True)
        assert other.environment["nondeterministic"] == []
        assert one.warnings == other.warnings


def test_the_record_names_what_torch_could_not_do_also_of_phases_that_were_found_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyTask, "loss", loss_that_scatters)
    (first,) = run(tmp_path, "--deterministic")
    (tmp_path / "records" / first.spec.path).unlink()
    (again,) = run(tmp_path, "--deterministic")
    assert all(phase.reused for phase in again.phases if phase.kind == "train")
    for record in (first, again):
        assert record.environment["nondeterministic"] == ["put_"]
        assert any("torch has no deterministic algorithm here for put_" in warning for warning in record.warnings)
        assert {phase.kind for phase in record.phases if phase.nondeterministic} == {"train"}


def test_without_the_option_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTask, "loss", loss_that_scatters)
    (record,) = run(tmp_path)
    assert record.environment["nondeterministic"] == []
    assert not any("deterministic" in warning for warning in record.warnings)


def test_phases_with_and_without_it_are_not_taken_for_each_other(tmp_path: Path) -> None:
    (plain,) = run(tmp_path)
    (tmp_path / "records" / plain.spec.path).unlink()
    (other,) = run(tmp_path, "--deterministic")
    assert not any(phase.reused for phase in other.phases)
    assert not {phase.key for phase in plain.phases if phase.key} & {phase.key for phase in other.phases}


@pytest.mark.parametrize("given", [None, ":16:8"])
def test_torch_is_as_it_was_afterwards(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CUBLAS, raising=False)
    if given:
        monkeypatch.setenv(CUBLAS, given)
    before = state()
    during = []

    def stopped() -> None:
        with settled(DETERMINISTIC):
            during.extend(state())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert during == [True, True, False, True, given or ":4096:8"]
    assert state() == before
    with settled(PLAIN):
        assert state() == before


def test_torch_is_told_before_the_device_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuBLAS reads its variable once, when CUDA starts."""
    seen = []
    monkeypatch.setattr(local, "settle", lambda device, threads: seen.append(state()[0] and CUBLAS in os.environ))
    grids.work([], tmp_path, "cpu", 0, execution=DETERMINISTIC)
    assert seen == [True]


class Spawned:
    """A process that gets what a real one would get, and is dead at once."""

    exitcode = 1  # it is not started again

    def __init__(self, target: Any, args: Any) -> None:
        *args, _ = args
        self.sent = pickle.dumps((target, args))
        self.sentinel = os.open(os.devnull, os.O_RDONLY)

    def start(self) -> None:
        _, (_, _, order, *_) = pickle.loads(self.sent)
        with (order.results / "told").open("a") as file:
            file.write(f"{order.execution}\n")

    def join(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.sentinel)


def test_every_process_of_a_grid_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: SimpleNamespace(Process=Spawned))
    specs = grid.make_specs(["toy"], ["supervised"], ["10"], [0, 1], Budget.parse("4"), grid.Options({}, {}))
    assert grids.run(specs, tmp_path, ["cpu", "cpu"], execution=DETERMINISTIC) == 2
    assert (tmp_path / "told").read_text().splitlines() == [str(DETERMINISTIC)] * 2


def warn_of_several() -> list[str]:
    with settled(DETERMINISTIC), noticing() as found:
        for _ in range(3):
            torch.zeros(3).put_(torch.tensor([1]), torch.tensor([2.0]))
        warnings.warn("this operation is not deterministic because it uses CuBLAS", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    return found


def test_other_warnings_go_on_and_each_operation_is_named_once() -> None:
    with pytest.warns(UserWarning, match="something else") as shown:
        found = warn_of_several()
    assert found == ["put_", "this operation is not deterministic because it uses CuBLAS"]
    assert len(shown) == 1
