"""Where the time of a run went: the parts of a phase add up to it, and to measure them changes nothing."""

from __future__ import annotations

import json
import signal
import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from children import ended
from dying import MOMENTS
from fitting import TOY
from toy import ToyDataset, ToyDraw
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training import loop, profiling
from atso_bench.benchmark.training.profiling import PARTS, Profile, Timeline

STEP = {"data", "transfer", "forward", "backward", "optimiser"}


def fit(name, folder, *, profile=True, workers=0):
    """Weights' hash, trainer and profile of one fit on the toy."""
    spec = RunSpec(TOY.name, name, "10", 0, Budget.parse("28"))
    split = make_split(TOY, spec)
    task = TOY.task(split.labelled, (*split.labelled, *split.unlabelled), spec.budget, {})
    found = Profile(on=profile)
    method = registry.method(name, {})
    trainer = Trainer(task, spec.budget, 0, Stages(folder), workers=workers, profile=found, method=method)
    data = TrainData(Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images))
    return weights_digest(method.fit(trainer, data)), trainer, found


@pytest.mark.parametrize("name", registry.names("methods"))
def test_a_profile_changes_no_weight_and_its_parts_add_up_to_the_phase(name, tmp_path, monkeypatch):
    along = {}  # whether a training has modules beside the one that learns
    carry_out = Trainer.carry_out
    monkeypatch.setattr(
        Trainer,
        "carry_out",
        lambda trainer, job, *more: along.update({job.phase: bool(job.also)}) or carry_out(trainer, job, *more),
    )
    weights, trainer, profile = fit(name, tmp_path / "with")
    assert fit(name, tmp_path / "without", profile=False)[0] == weights
    for phase, row in zip(trainer.phases, profile.phases, strict=True):
        seconds = row["parts"]
        assert set(seconds) <= set(PARTS)
        assert row["seconds"] == pytest.approx(sum(seconds.values()))
        assert set(seconds) >= (STEP if phase.kind == "train" else {"prediction", "writing"})
        # the record's seconds are without checkpoints, and without what comes before the first step and after the last
        assert sum(seconds.values()) - seconds.get("checkpoints", 0) >= phase.seconds * 0.999
        inside = sum(value for part, value in seconds.items() if part not in ("other", "checkpoints"))
        assert inside <= phase.seconds * 1.001
        assert ("teacher" in seconds) == along.get(phase.name, False)


def test_the_parts_are_those_in_which_the_time_was_spent(tmp_path, monkeypatch):
    """Each piece is made to last a known time; a sleep is never shorter than asked."""

    def slowed(owner, name, seconds):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, **more: time.sleep(seconds) or real(*given, **more))

    slowed(ToyDraw, "read", 0.002)
    slowed(loop, "Labelled", 0.003)
    slowed(loop, "Unlabelled", 0.003)
    slowed(torch.Tensor, "backward", 0.010)
    slowed(torch.optim.SGD, "step", 0.006)
    slowed(loop.nn.utils, "clip_grad_norm_", 0.002)
    began = time.perf_counter()
    _, _, profile = fit("mean-teacher", tmp_path)
    wall = time.perf_counter() - began
    (row,) = profile.phases
    least = {"data": 28 * 0.004, "transfer": 28 * 0.006, "backward": 28 * 0.010, "optimiser": 28 * 0.008}
    for part, seconds in least.items():
        assert row["parts"][part] >= seconds
    assert row["seconds"] <= wall
    assert row["seconds"] >= sum(least.values())
    assert wall >= row["waited_for_data"] >= row["parts"]["data"]


def test_the_teachers_passes_are_taken_out_of_the_step(monkeypatch):
    now = [0.0]

    def takes(seconds, *then):
        now[0] += seconds
        return [each() for each in then]

    class Teacher(torch.nn.Module):
        def forward(self, x):
            takes(8.0)
            return x

    monkeypatch.setattr(profiling, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    teacher, times = Teacher(), Timeline(torch.device("cpu"))
    teach = partial(teacher, torch.zeros(1))
    with times.watching([teacher]):
        with times.part("forward"):
            takes(2.0, teach, teach, partial(takes, 1.0))
        takes(0.5)
        with times.part("teacher"):
            takes(4.0)
    assert times.read().seconds == {"forward": 3.0, "teacher": 20.0, "other": 0.5}
    assert not teacher._forward_hooks
    assert not teacher._forward_pre_hooks


@pytest.mark.parametrize("measured", [True, False])
def test_a_killed_training_keeps_its_profile_or_says_what_is_missing(measured, tmp_path, monkeypatch):
    def die():
        loop.CHECKPOINT_SECONDS = 0.0
        MOMENTS["inside the first training"]()
        fit("mean-teacher", tmp_path, profile=measured)

    assert ended(die) == -signal.SIGKILL
    before = Stages.load(next(tmp_path.rglob("progress.pt")))
    _, _, profile = fit("mean-teacher", tmp_path)
    (row,) = profile.phases
    if measured:
        assert row["missing"] == ""
        assert all(row["parts"][part] > before["profile"]["seconds"][part] > 0 for part in STEP)
    else:
        assert before["profile"] is None
        assert row["missing"] == f"the first {before['done']} steps, before an interruption, which had no --profile"


def test_a_phase_from_the_store_brings_its_profile_or_says_that_it_has_none(tmp_path):
    _, _, first = fit("supervised", tmp_path / "a")
    _, _, again = fit("supervised", tmp_path / "a")
    assert again.phases == [{**first.phases[0], "reused": True}]
    assert "(found in the store)" in again.lines()[0]
    fit("supervised", tmp_path / "b", profile=False)
    _, _, found = fit("supervised", tmp_path / "b")
    assert found.phases[0]["parts"] == {}
    assert found.phases[0]["missing"] == "all: found in the store, without a profile"


def test_run_writes_a_profile_whose_total_is_the_time_of_the_run(tmp_path, monkeypatch):
    real = registry.dataset
    monkeypatch.setattr(registry, "dataset", lambda name, c="2d": ToyDataset() if name == "toy" else real(name, c))
    words = ("run", "-m", "atso", "-f", "10", "-d", "toy", "--budget", "28", "--device", "cpu", "--out", str(tmp_path))
    assert "prediction" not in CliRunner().invoke(app, words).output
    assert not (tmp_path / "profiles").exists()
    assert "no profile; --fresh repeats the run" in CliRunner().invoke(app, [*words, "--profile"]).output

    moments = []
    for name in ("__init__", "write"):
        call = getattr(Profile, name)
        timed = lambda *given, call=call, **more: moments.append(time.perf_counter()) or call(*given, **more)  # noqa: E731
        monkeypatch.setattr(Profile, name, timed)
    output = CliRunner().invoke(app, [*words, "--profile", "--fresh"]).output
    (file,) = (tmp_path / "profiles").rglob("*.json")
    found = json.loads(file.read_text())
    total = sum(part["seconds"] for part in found["total"].values())
    assert total == pytest.approx(
        moments[1] - moments[0], rel=0.02, abs=0.05
    )  # a busy machine may pause between two clocks
    assert sum(part["share"] for part in found["total"].values()) == pytest.approx(1)
    assert found["schema"] == 1
    assert found["phases"][-1]["name"] == "evaluation"
    assert {"prediction", "restoring", "scoring"} <= set(found["phases"][-1]["parts"])
    assert "diagnostics" in found["outside"]
    assert "total" in output
    assert str(file) in output.replace("\n", "")


class Stream:
    """A device's clock that lags behind the host: an event has come to pass when the device has reached it."""

    def __init__(self):
        self.queue, self.now, self.syncs = [], 0.0, 0

    def work(self, seconds):
        self.queue.append(seconds)

    def synchronize(self, device=None):
        self.syncs += 1
        self.reach(len(self.queue))

    def reach(self, count):
        for item in self.queue[:count]:
            if isinstance(item, float):
                self.now += item
            else:
                item.time = self.now
        del self.queue[:count]


@pytest.fixture
def stream(monkeypatch):
    stream = Stream()

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing
            self.time = None

        def record(self, on):
            assert on is stream
            stream.queue.append(self)

        def query(self):
            return self.time is not None

        def elapsed_time(self, end):
            return 1000 * (end.time - self.time)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "synchronize", stream.synchronize)
    return stream


def test_on_a_gpu_the_streams_own_clock_counts_and_no_step_waits_for_it(stream):
    times = Timeline(torch.device("cuda:0"))
    for _ in range(2000):  # more events than are kept before some are read
        with times.part("forward"):
            stream.work(0.25)
            with times.part("teacher"):
                stream.work(0.5)
        with times.part("backward"):
            stream.work(1.0)
        stream.work(0.125)
        stream.reach(3)  # the device does a part of what is queued
    assert stream.syncs == 0
    found = times.read().seconds
    assert stream.syncs == 1
    assert found == {"other": 250.0, "forward": 500.0, "teacher": 1000.0, "backward": 2000.0}
    assert sum(found.values()) == stream.now


def test_without_a_profile_a_step_asks_for_nothing(tmp_path, monkeypatch):
    for name in ("__init__", "part", "_mark", "fetching", "watching"):
        monkeypatch.setattr(Timeline, name, lambda *_: pytest.fail("a profile that nobody asked for"))
    fit("mean-teacher", tmp_path, profile=False)
