"""A run that fails says why and what to do, is kept as a failure, takes no other along, and is taken up again."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import weakref
from pathlib import Path

import children
import grids
import pytest
import torch
from toy import ToyDataset, ToyDraw, ToyTask
from typer.testing import CliRunner

from atso_bench.benchmark import registry, remedies
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.machine.progress import Lines, on
from atso_bench.benchmark.run import model_file
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import record
from atso_bench.benchmark.store.record import read_all
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.training import loop

SPECS = [RunSpec("toy", "self-learning", "10", seed, Budget.parse("14")) for seed in range(2)]


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Every dataset is the toy; other numbers of threads would be other roundings."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Weights of the runs' final models, and the folder that they come from."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())
        assert grids.work(SPECS, folder, "cpu", 0, shown=Lines(lambda line: None)) == 0
    return weights(folder)


def weights(results):
    """Of the final models, as bytes."""
    models = [Stages.load(model_file(results, spec)) for spec in SPECS]
    return [[value.numpy().tobytes() for value in model.values()] for model in models]


def work(results, workers=0):
    """How many runs fail, and what the console says."""
    said = []
    return grids.work(SPECS, results, "cpu", workers, shown=Lines(said.append)), "\n".join(said)


def at(monkeypatch, owner, name, do, *, seed=0, step=6):
    """Have ``do`` done in one step of the trainings of one seed."""
    real = getattr(owner, name)

    def called(training, *given):
        if training.means.seed == seed and training.done == step:
            return do(training, *given)
        return real(training, *given)

    monkeypatch.setattr(owner, name, called)


def the_failure(results):
    (path,) = results.rglob("*.failed.json")
    return json.loads(path.read_text())


# What is not finite


def test_weights_that_the_last_update_spoils_are_a_failure_and_predict_nothing(tmp_path, monkeypatch, undisturbed):
    """No loss has seen them; every pixel would be of the first class."""

    one_step = loop.Training._one_step

    def spoil(training, drawn):
        one_step(training, drawn)
        with torch.no_grad():
            training.job.model[3].weight[0] = torch.nan

    with monkeypatch.context() as patch:
        at(patch, loop.Training, "_one_step", spoil)  # M0 has seven steps, its successors fewer
        failed, said = work(tmp_path)
    assert failed == 1
    assert (
        "failed: FloatingPointError: a loss or a weight of phase 'M0' is not finite by step 7; lower recipe.lr" in said
    )
    failure = the_failure(tmp_path)
    assert (failure["status"], failure["phase"], failure["error"]) == ("failed", "M0", "FloatingPointError")
    assert len(read_all(tmp_path)) == 1
    assert work(tmp_path)[0] == 0
    assert weights(tmp_path) == undisturbed
    assert not list(tmp_path.rglob("*.failed.json"))


def test_a_state_that_is_not_finite_is_no_checkpoint(tmp_path, monkeypatch):
    """The loss is looked at once a window of four steps; a checkpoint in between would begin with NaN for ever."""
    spec = RunSpec("toy", "supervised", "10", 0, Budget.parse("200"))
    forward = loop.Training.forward
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def broken(training, *given):
        terms = forward(training, *given)
        return {name: term * torch.nan for name, term in terms.items()} if training.done == 100 else terms

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "forward", broken)
        assert grids.work([spec], tmp_path, "cpu", 0) == 1
    (checkpoint,) = tmp_path.rglob("progress.pt")
    assert Stages.load(checkpoint)["done"] == 100
    assert grids.work([spec], tmp_path, "cpu", 0) == 0


@pytest.mark.parametrize(("count", "phase"), [(1, "M0 labels R"), (81, "evaluation")])
def test_a_prediction_that_is_not_finite_is_a_failure(count, phase, tmp_path, monkeypatch, undisturbed):
    predict, calls = ToyTask.predict, []

    def overflowing(*given, **more):
        calls.append(1)
        return predict(*given, **more) * (torch.nan if len(calls) == count else 1)

    with monkeypatch.context() as patch:
        patch.setattr(ToyTask, "predict", overflowing)
        failed, said = work(tmp_path)
    assert failed == 1
    assert "is not finite; lower recipe.lr" in said
    assert the_failure(tmp_path)["phase"] == phase
    assert work(tmp_path)[0] == 0
    assert weights(tmp_path) == undisturbed


# Memory


def raising(error):
    def do(*given):
        raise error

    return do


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_says_what_to_do_and_the_next_run_goes_on(error, tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as patch:
        at(patch, loop.Training, "forward", raising(error))
        failed, said = work(tmp_path)
    assert failed == 1
    assert "use smaller batches or patches (--option recipe.batch=..., recipe.patch=...;" in said
    assert "recipe.batch" in the_failure(tmp_path)["message"]
    assert the_failure(tmp_path)["phase"] == "M0"
    assert len(read_all(tmp_path)) == 1
    assert work(tmp_path)[0] == 0
    assert weights(tmp_path) == undisturbed


def test_a_failed_run_holds_no_memory_when_the_next_one_begins(tmp_path, monkeypatch):
    held, alive = [], []

    def fail(training, *given):
        large = torch.zeros(1000)
        held.extend([weakref.ref(large), weakref.ref(training.job.model)])
        error = torch.OutOfMemoryError("out of memory")
        raise error  # holds this frame, which holds it

    def look(training, batch):
        alive.extend(reference for reference in held if reference() is not None)
        return one_step(training, batch)

    at(monkeypatch, loop.Training, "forward", fail)
    one_step = loop.Training._one_step
    monkeypatch.setattr(loop.Training, "_one_step", look)
    gc.disable()
    try:
        assert work(tmp_path)[0] == 1
    finally:
        gc.enable()
    assert len(held) == 2
    assert not alive


def test_a_loader_without_memory_says_so_without_a_traceback(tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as patch:
        patch.setattr(ToyDraw, "read", raising(MemoryError("cannot allocate 3 GiB")))
        failed, said = work(tmp_path, workers=1)
    assert failed == 2
    assert "failed: MemoryError: MemoryError: cannot allocate 3 GiB; use smaller batches" in said
    assert "Traceback" not in said
    assert work(tmp_path, workers=1)[0] == 0
    assert weights(tmp_path) == undisturbed


def test_a_loader_that_was_killed_says_what_it_may_have_been(tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as patch:
        patch.setattr(ToyDraw, "read", lambda draw: os.kill(os.getpid(), signal.SIGKILL))
        failed, said = work(tmp_path, workers=1)
    assert failed == 2
    assert "most likely because the machine ran out of memory; use fewer loader processes (--workers)" in said
    assert work(tmp_path, workers=1)[0] == 0
    assert weights(tmp_path) == undisturbed


# Disks


@pytest.mark.parametrize(("limit", "recorded"), [(200, 0), (6000, 2)])
def test_a_full_disk_loses_nothing_that_was_there(limit, recorded, tmp_path, undisturbed):
    """A process that can write files of this many bytes: none at all, or those of a failure but not of a model."""
    os.mkfifo(tmp_path / "said")  # such a file has no size
    listening = os.open(tmp_path / "said", os.O_RDONLY | os.O_NONBLOCK)

    def limited():
        shown = Lines(lambda line: print(line, flush=True))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sys.exit(grids.work(SPECS, tmp_path, "cpu", 0, shown=shown))

    assert children.ended(limited, said=tmp_path / "said") == 2  # both were tried
    said = os.read(listening, 1 << 16).decode()
    os.close(listening)
    assert said.count("File too large; raise the limit (ulimit -f)") >= 2
    assert said.count("its record could not be written either") == 2 - recorded
    assert len(list(tmp_path.rglob("*.failed.json"))) == recorded
    assert not [file for file in tmp_path.rglob("*") if ".partial" in file.name]
    assert work(tmp_path)[0] == 0
    assert weights(tmp_path) == undisturbed


def test_a_log_that_cannot_be_written_to_ends_no_run(tmp_path, undisturbed):
    with (
        contextlib.suppress(OSError),
        Path("/dev/full").open("w", encoding="utf-8") as full,
    ):  # it flushes when it is closed
        assert grids.work(SPECS, tmp_path, "cpu", 0, shown=on(full)) == 0
    assert weights(tmp_path) == undisturbed


def test_a_disk_that_fills_up_in_a_training_keeps_the_checkpoint_before(tmp_path, monkeypatch, undisturbed):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    write, written = Path.write_bytes, []

    def full(path, content):
        if "progress" in path.name:
            written.append(path)
            if len(written) == 4:
                write(path, content[:100])
                raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        failed, said = work(tmp_path)
    assert failed == 1
    assert "No space left on device; free some disk space, or set --out" in said
    (checkpoint,) = tmp_path.rglob("progress.pt")
    assert Stages.load(checkpoint)["done"] == 3
    assert work(tmp_path)[0] == 0
    assert weights(tmp_path) == undisturbed


def test_a_results_folder_that_cannot_be_written_to_is_an_error_before_any_training():
    with tempfile.TemporaryDirectory() as place:
        readonly = Path(place) / "results"
        (readonly / "records").mkdir(parents=True)
        Path(place).chmod(0o755)
        readonly.chmod(0o555)

        def run():
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            words = ["run", "-m", "supervised", "-f", "10", "-d", "toy", "--budget", "4"]
            for out in (readonly, readonly / "new" / "deeper"):
                result = CliRunner().invoke(app, [*words, "--out", str(out)])
                assert result.exit_code == 2, result.output
                assert f"{readonly} is not writable; change its permissions" in result.output.replace("\n", "")
            assert not list(readonly.rglob("*.json"))

        assert children.ended(run) == 0
        readonly.chmod(0o755)


def test_a_folder_of_somebody_else_inside_the_results_is_found_too():
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        (Path(place) / "stages").mkdir(mode=0o555)

        def run():
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            result = CliRunner().invoke(app, ["run", "-m", "supervised", "-f", "10", "--out", place])
            assert result.exit_code == 2
            assert "stages is not writable" in result.output.replace("\n", "")

        assert children.ended(run) == 0


def data_vanishes(patch, gone):
    """From the first record on; the file ``gone`` is there then."""
    load, write, known = ToyDataset.load, record.Record.write, ToyDataset.identity.fget

    def vanishing(dataset, case_id):
        if gone.exists():
            raise FileNotFoundError(2, "No such file or directory", f"/data/{case_id}.b2nd")
        return load(dataset, case_id)

    def identity(dataset):
        if gone.exists():
            raise FileNotFoundError(2, "No such file or directory", "/data/dataset.json")
        return known(dataset)

    def last(found, results):
        path = write(found, results)
        gone.touch()
        return path

    patch.setattr(ToyDataset, "load", vanishing)
    patch.setattr(ToyDataset, "identity", property(identity))
    patch.setattr(record.Record, "write", last)


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_data_that_vanishes_is_a_failure_of_the_runs_that_need_it(devices, tmp_path, monkeypatch, undisturbed, capfd):
    """And it is no failure of the command: the others are reported, and a later start completes."""
    gone, said = tmp_path / "gone", tmp_path / "said"
    said.touch()
    context = children.Context(lambda: data_vanishes(pytest.MonkeyPatch(), gone), said)
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: context)
    with monkeypatch.context() as patch:
        data_vanishes(patch, gone)
        failed = grids.run(SPECS, tmp_path, devices, 0, fresh=False)
    assert failed <= 2 if len(devices) == 2 else failed == 1  # beside each other, both may have read all they need
    assert len(read_all(tmp_path)) == 2 - failed
    told = capfd.readouterr().out + said.read_text()
    assert ("No such file or directory; check the spelling, and that its disk is mounted" in told) == (failed > 0)
    gone.unlink()
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: children.Context())
    assert grids.run(SPECS, tmp_path, devices, 0, fresh=False) == 0
    assert weights(tmp_path) == undisturbed
    assert not list(tmp_path.rglob("*.failed.json"))


def test_an_error_is_told_in_a_line():
    assert remedies.message(KeyError("case 3")) == "case 3"
    assert remedies.message(ValueError()) == "ValueError"
    assert remedies.message(OSError(5, "Input/output error", "/data/x")).startswith(
        "/data/x: Input/output error; the disk or its network does not answer"
    )
