"""SIGINT and SIGTERM to real processes: they save, say where they are, and the same again ends as if undisturbed."""

from __future__ import annotations

import functools
import importlib
import math
import multiprocessing
import os
import re
import signal
import sys
import time
from pathlib import Path

import children
import grids
import pytest
from fitting import METHODS, fit
from toy import ToyDataset, ToyTask
from typer.testing import CliRunner
from waiting import until

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import read_all
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.training import loop

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def heard():
    """SIGINT is heard, which a background shell has ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ended(do, said, *given):
    """The exit code of a child that does this; ``said`` gets what it says of its end."""
    return children.ended(stoppable, do, said, given)


def stoppable(do, said, given):
    try:
        with stopping.at_once():
            do(*given)
    except stopping.Interrupted as stop:
        said.write_text(str(stop))
        sys.exit(stop.code)


def calls(owner, name, count, do):
    """Have ``do`` done in the ``count``-th call of a function."""
    real = getattr(owner, name)

    def called(*given, **more):
        called.left -= 1
        if called.left == 0:
            do()
        return real(*given, **more)

    called.left = count
    setattr(owner, name, called)


def signalled(number, folder, name, owner, function, count, workers=0, times=1):
    """Fit, and let the whole group of processes have a signal in the middle."""

    def send():
        for _ in range(times):
            os.killpg(0, number)
            time.sleep(0.02)

    calls(owner, function, count, send)
    fit(name, folder, workers=workers)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights of a method's undisturbed fit."""
    return functools.cache(lambda name: fit(name, tmp_path_factory.mktemp(name))[0])


def steps_of(name, folder, monkeypatch):
    """The weights of a fit, and its steps: how many their training had made before each."""
    made, one_step = [], loop.Training._one_step

    def counting(training, batch):
        made.append(training.done)
        one_step(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_one_step", counting)
        return fit(name, folder)[0], made


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_stops_at_the_next_step_and_goes_on_from_it(number, workers, tmp_path, undisturbed, monkeypatch):
    """Though a terminal and SLURM signal the loaders' processes too, and the same signal comes more than once."""
    given = (number, tmp_path, "self-learning", loop.Training, "_one_step", 5, workers, 3)
    assert ended(signalled, tmp_path / "said", *given) == 128 + number
    said = (tmp_path / "said").read_text()
    assert said == "stopped in phase 'M0' at step 5 of 14; the same command continues from here"
    (checkpoint,) = tmp_path.glob("*/*/progress.pt")
    assert Stages.load(checkpoint)["done"] == 5
    weights, made = steps_of("self-learning", tmp_path, monkeypatch)
    assert weights == undisturbed("self-learning")
    assert made[:9] == list(range(5, 14))  # no step twice


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_to_all_processes_while_the_training_waits_for_a_batch_leaves_the_loader_alive(number, tmp_path):
    draw = loop.Batches.__getitem__

    def drawn(batches, step):
        if step == 9:
            time.sleep(0.3)  # the training comes to wait for it
            os.killpg(0, number)
            time.sleep(0.1)
        return draw(batches, step)

    def do():
        loop.Batches.__getitem__ = drawn
        fit("self-learning", tmp_path, workers=1)

    assert ended(do, tmp_path / "said") == 128 + number
    assert "in phase 'M0' at step 10 of 14" in (tmp_path / "said").read_text()
    assert Stages.load(next(tmp_path.glob("*/*/progress.pt")))["done"] == 10


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_on_from_where_it_was_stopped(name, tmp_path, undisturbed, monkeypatch):
    given = (signal.SIGTERM, tmp_path, name, loop.Training, "_one_step", 19)
    assert ended(signalled, tmp_path / "said", *given) == 143
    weights, made = steps_of(name, tmp_path, monkeypatch)
    assert weights == undisturbed(name)
    assert len(made) == 28 - 19


def test_labelling_stops_at_the_next_case_and_goes_on_from_it(tmp_path, undisturbed, monkeypatch):
    given = (signal.SIGTERM, tmp_path, "self-learning", ToyTask, "predict", 7)
    assert ended(signalled, tmp_path / "said", *given) == 143
    said = (tmp_path / "said").read_text()
    assert said == "stopped in phase 'M0 labels R' at 7 of 20 cases; the same command continues from here"
    seen, predict, whole = [], ToyTask.predict, undisturbed("self-learning")
    monkeypatch.setattr(ToyTask, "predict", lambda *given, **more: seen.append(1) or predict(*given, **more))
    assert fit("self-learning", tmp_path)[0] == whole
    assert len(seen) == 80 - 7


def test_a_stop_in_the_last_step_or_the_last_case_finishes_the_phase(tmp_path):
    for place, (owner, function, count, phase) in enumerate(
        [(loop.Training, "_one_step", 14, "M0"), (ToyTask, "predict", 20, "M0 labels R")]
    ):
        folder = tmp_path / str(place)
        assert (
            ended(signalled, tmp_path / "said", signal.SIGINT, folder, "self-learning", owner, function, count) == 130
        )
        assert (tmp_path / "said").read_text().startswith(f"stopped after phase {phase!r};")
        assert len(list(folder.glob("*/*/phase.json"))) == place + 1


def test_a_second_signal_ends_at_once(tmp_path, undisturbed):
    def hang():
        stopping.ONE_AND_THE_SAME = 0.0
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)  # a step that takes its time
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)

    def do():
        calls(loop.Training, "_one_step", 5, hang)
        fit("supervised", tmp_path)

    assert ended(do, tmp_path / "said") == 130
    assert (tmp_path / "said").read_text() == "stopped; the same command continues from here"
    assert not list(tmp_path.glob("*/*/progress.pt"))
    assert fit("supervised", tmp_path)[0] == undisturbed("supervised")


def test_a_failure_after_a_signal_does_not_let_the_next_run_begin(tmp_path):
    def fail():
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("the device is gone")

    def do():
        calls(loop.Training, "_one_step", 5, fail)
        fit("supervised", tmp_path)

    assert ended(do, tmp_path / "said") == 143


def test_outside_trainings_and_labellings_a_signal_ends_at_once(tmp_path):
    def do():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    began = time.monotonic()
    assert ended(do, tmp_path / "said") == 143
    assert time.monotonic() - began < 10


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(tmp_path):
    """As nohup and a shell's background have it."""

    def do():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signalled(signal.SIGINT, tmp_path, "supervised", loop.Training, "_one_step", 5)

    assert ended(do, tmp_path / "said") == 0


def test_handlers_are_as_they_were_behind_a_training(tmp_path):
    before = [signal.getsignal(number) for number in BOTH]
    fit("supervised", tmp_path)
    assert [signal.getsignal(number) for number in BOTH] == before


def test_loader_processes_end_with_their_parent(tmp_path):
    """They ignore the signals that end it."""

    def note_and_die():
        loaders = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8")
        (tmp_path / "loaders").write_text(loaders)
        os.kill(os.getpid(), signal.SIGKILL)

    def do():
        calls(loop.Training, "_one_step", 3, note_and_die)
        fit("supervised", tmp_path, workers=2)

    with children.started(do) as child:
        assert child.end() == -signal.SIGKILL
        loaders = [int(word) for word in (tmp_path / "loaders").read_text().split()]
        assert len(loaders) == 2
        until(lambda: not any(map(alive, loaders)), seconds=20)  # they look for their parent every five


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("whole_group", [False, True])
def test_with_several_devices_every_process_saves(whole_group, tmp_path, monkeypatch):
    """SIGTERM to the first process, as ``docker stop`` sends it, or to all of them, as SLURM does."""
    specs = [RunSpec("toy", "supervised", "10", seed, Budget.parse("12")) for seed in range(2)]
    told = tmp_path / "told"

    def do():
        fork, one_step = multiprocessing.get_context("fork"), loop.Training._one_step
        multiprocessing.get_context = lambda kind: fork  # of a child that has computed nothing; it keeps the toy

        def slow(training, batch):
            one_step(training, batch)
            (tmp_path / f"training {os.getpid()}").touch()
            time.sleep(0.1)

        loop.Training._one_step = slow
        grids.run(specs, tmp_path, ["cpu", "cpu"], 0, fresh=False)

    with children.started(stoppable, do, tmp_path / "said", (), said=told) as child:
        until(lambda: len(list(tmp_path.glob("training *"))) == 2)
        (os.killpg if whole_group else os.kill)(child.pid, signal.SIGTERM)
        assert child.end() == 143
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: children.Context())
    told = told.read_text()
    for name in "12":
        assert re.search(rf"^{name} \(cpu\): stopped in phase 'M0' at step \d+ of 12; the same command", told, re.M)
    done = [Stages.load(file)["done"] for file in tmp_path.glob("stages/*/*/progress.pt")]
    assert len(done) == 2
    assert all(0 < number < 12 for number in done)
    assert not list((tmp_path / "records").rglob("*.json"))
    assert grids.run(specs, tmp_path, ["cpu", "cpu"], 0, fresh=False) == 0
    assert grids.run(specs, tmp_path / "whole", ["cpu", "cpu"], 0, fresh=False) == 0
    again, whole = ([each.summary for each in read_all(folder)] for folder in (tmp_path, tmp_path / "whole"))
    assert again == whole


@pytest.mark.parametrize("number", BOTH)
def test_the_command_says_where_it_stopped_and_a_stop_is_no_failure(number, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())
    monkeypatch.setattr(stopping, "_last", -math.inf)
    words = ["run", "-m", "supervised", "-f", "10", "--budget", "12", "--device", "cpu", "--workers", "0"]
    words += ["--out", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_one_step", loop.Training._one_step)  # to be undone
        calls(loop.Training, "_one_step", 5, lambda: os.kill(os.getpid(), number))
        stopped = CliRunner().invoke(app, words)
    assert stopped.exit_code == 128 + number
    assert "stopped in phase 'M0' at step 5 of 12; the same command continues from here" in stopped.output
    assert not list((tmp_path / "records").rglob("*.json"))
    assert CliRunner().invoke(app, words).exit_code == 0


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize(
    ("words", "work"),
    [
        (["evaluate", "--predictions", ".", "--references", "."], "benchmark.scoring.evaluate.evaluate_folders"),
        (["plan", "-m", "supervised", "-f", "10", "--device", "cpu"], "benchmark.forecast.plan.forecast"),
        (["prepare", "phantom"], "benchmark.registry.dataset"),
        (["report", "."], "reports.build.build"),
        (["compare", ".", "."], "reports.compare.compare"),
        (["export", "abc", "--to", "there"], "benchmark.export.export"),
        (["list", "datasets"], "benchmark.registry.names"),
    ],
)
def test_a_command_that_keeps_nothing_does_not_say_that_it_goes_on(words, work, number, monkeypatch):
    module, _, name = f"atso_bench.{work}".rpartition(".")
    if words[0] == "plan":
        monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())
    monkeypatch.setattr(importlib.import_module(module), name, lambda *given, **more: os.kill(os.getpid(), number))
    monkeypatch.setattr(stopping, "_last", -math.inf)
    stopped = CliRunner().invoke(app, words)
    assert (stopped.exit_code, stopped.output.splitlines()[-1]) == (
        128 + number,
        "stopped; the same command starts again",
    )
