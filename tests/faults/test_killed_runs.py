"""SIGKILL to a whole run, a report or a preparation, then the same again: all as if undisturbed, but for the times."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
from pathlib import Path

import grids
import pytest
from children import ended, started
from toy import ToyDataset, ToyTask, known
from typer.testing import CliRunner
from waiting import until

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.machine.progress import Lines
from atso_bench.benchmark.run import model_file
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import asked, files
from atso_bench.benchmark.store.record import read_all
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.training import loop
from atso_bench.datasets.phantom import Phantom
from atso_bench.datasets.streets import Streets

METHODS = registry.names("methods")


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """``--dataset toy`` is the toy, as in children; other numbers of threads would be other roundings."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(registry, "dataset", registry.dataset)  # to be undone
    known()


def spec(method, seed=0):
    return RunSpec("toy", method, "10", seed, Budget.parse("14"))


def run(method, results):
    assert grids.work([spec(method)], results, "cpu", 0, shown=Lines(lambda line: None)) == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Results folder of a method's undisturbed run."""
    made = {}

    def folder(method):
        if method not in made:
            made[method] = tmp_path_factory.mktemp(method)
            run(method, made[method])
        return made[method]

    return folder


TIMES = {"seconds", "cpu_seconds", "joules", "process_bytes", "device_bytes", "reused", "warm_up", "command", "threads"}


def timeless(value):
    """A record without its times, and what else is another in each process."""
    if isinstance(value, dict):
        return {name: timeless(each) for name, each in value.items() if name not in TIMES}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def result(method, results):
    """All that a run leaves: record, weights, pictures, and the names of its files."""
    (path,) = results.glob("records/**/seed*.json")
    weights = [each.numpy().tobytes() for each in Stages.load(model_file(results, spec(method))).values()]
    # half of the cases' pictures may be another process's; a day later it is swept
    files = [file for file in results.rglob("*") if file.is_file() and not file.name.startswith(".cases-")]
    pictures = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files) if file.suffix == ".npz"]
    names = sorted(str(file.relative_to(results)) for file in files)
    return timeless(json.loads(path.read_text(encoding="utf-8"))), weights, pictures, names


def killed(do, *given):
    """Whether a process that does this was killed, and did not come to its end."""
    code = ended(do, *given)
    assert code in (0, -signal.SIGKILL)
    return code != 0


class Moments:
    """Counts files that get their name, steps and predictions, and ends the process at one of them."""

    def __init__(self, fatal=None):
        self.fatal, self.count = fatal, 0

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for owner, name in ((Path, "replace"), (loop.Training, "_one_step"), (ToyTask, "predict")):
            self.patch.setattr(owner, name, self.watched(getattr(owner, name)))
        self.patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        return self

    def __exit__(self, *raised):
        self.patch.undo()

    def watched(self, real):
        def called(*given, **more):
            self.count += 1
            if self.count == self.fatal:
                die(given[0])
            return real(*given, **more)

        return called


def die(place):
    """Half of a file that is being written is there, if it is about one."""
    if isinstance(place, Path) and place.name.endswith(".partial") and place.is_file():
        os.truncate(place, place.stat().st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_at_random_moments_again_and_again_leaves_what_an_undisturbed_one_does(
    method, tmp_path, undisturbed
):
    expected = result(method, undisturbed(method))

    def run_until(moment):
        with Moments(moment):
            run(method, tmp_path)

    kills, chance = 0, random.Random(f"{method} 1")
    for _ in range(4):
        kills += killed(run_until, chance.randint(2, 12))
    assert kills > 2
    run(method, tmp_path)
    assert result(method, tmp_path) == expected


def dies_before(name):
    """The process ends when a file whose path has ``name`` in it is to get it."""
    replace = Path.replace

    def called(partial, target):
        if name in str(target):
            die(partial)
        return replace(partial, target)

    Path.replace = called


def dies_in_the_evaluation():
    predict = ToyTask.predict

    def called(task, model, image, device, *, mirror):
        if image.properties["id"] == ToyDataset().test[2]:
            die(None)
        return predict(task, model, image, device, mirror=mirror)

    ToyTask.predict = called


MOMENTS = {
    "while the final model is written": lambda: dies_before("stages/models"),
    "in the evaluation": dies_in_the_evaluation,
    "while the cases' pictures are written": lambda: dies_before("pictures/cases-"),
    "while its own pictures are written": lambda: dies_before(f"pictures/{spec('supervised').key}"),
    "while the record is written": lambda: dies_before("/seed0-"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_behind_its_trainings_leaves_what_an_undisturbed_one_does(moment, tmp_path, undisturbed):
    def run_and_die():
        MOMENTS[moment]()
        run("supervised", tmp_path)

    assert killed(run_and_die)
    assert not list(tmp_path.glob("records/**/*.json"))
    run("supervised", tmp_path)
    assert result("supervised", tmp_path) == result("supervised", undisturbed("supervised"))


def test_what_killed_processes_left_of_a_file_is_swept_and_nothing_else(tmp_path):
    names = [".a[1].json.12.partial", ".b.json.12.partial", "a[1].json", ".a1.json.3.partial"]
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / names[1], (0, 0))
    files.sweep(tmp_path / "a[1].json", older=86400)
    assert len(list(tmp_path.iterdir())) == 4  # somebody may be writing it
    files.sweep(tmp_path / "b.json", older=86400)
    files.sweep(tmp_path / "a[1].json", tmp_path / "none" / "c.json")
    assert {file.name for file in tmp_path.iterdir()} == {*names[2:]}


WORDS = ["run", "-m", "supervised,mean-teacher", "-f", "10", "-d", "toy", "--budget", "6", "--device", "cpu"]


def command(out):
    done = CliRunner().invoke(app, [*WORDS, "--workers", "0", "--out", str(out)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("file", ["asked/", "report/results.csv", "report/figures", "report/index.html"])
def test_a_command_killed_while_it_says_what_it_does_says_it_the_next_time(file, tmp_path):
    def run_and_die():
        dies_before(file)
        command(tmp_path)

    assert killed(run_and_die)
    assert not (tmp_path / "report" / "index.html").exists()
    command(tmp_path)
    assert len(read_all(tmp_path)) == 2
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")


def test_two_commands_that_end_at_the_same_time_tear_nothing(tmp_path):
    """They share the runs, and both write what was asked for and the report."""
    with started(command, tmp_path) as one, started(command, tmp_path) as other:
        assert one.end() == other.end() == 0
    assert len(read_all(tmp_path)) == 2
    (file,) = (tmp_path / "asked").iterdir()
    assert len(asked.read(file).runs) == 2
    assert (tmp_path / "report" / "index.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert not [file for file in tmp_path.rglob("*") if ".partial" in file.name]


def test_the_run_of_a_process_that_was_killed_is_taken_up_by_another(tmp_path, undisturbed):
    """The other one waits for it meanwhile; it goes on from the last checkpoint."""
    waiting, one_step = tmp_path / "waiting", loop.Training._one_step

    def first():
        def step(training, batch):
            one_step(training, batch)
            if training.done == 5:
                until(waiting.exists)
                die(None)

        loop.Training._one_step, loop.CHECKPOINT_SECONDS = step, 0.0
        run("supervised", tmp_path / "results")

    made = []
    with started(first) as child, pytest.MonkeyPatch.context() as patch:
        until(lambda: list(tmp_path.glob("results/stages/*/*/progress.pt")))
        patch.setattr(loop.Training, "_one_step", lambda *given: made.append(given[0].done) or one_step(*given))
        shown = Lines(lambda line: waiting.touch() if "waiting for another process" in line else None)
        assert grids.work([spec("supervised")], tmp_path / "results", "cpu", 0, shown=shown) == 0
        assert child.end() == -signal.SIGKILL
    assert made[0] == 4
    assert result("supervised", tmp_path / "results") == result("supervised", undisturbed("supervised"))


# Preparation


def tree(folder):
    """Every file's content, but for locks and what remembers when files were changed."""
    remembering = ("lock", "hashes.json", "source.json", "prepared.json")
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(remembering))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


DATASETS = {
    "volumes": lambda: Phantom("2d", cases=4, unlabelled=1, size=(8, 16, 16)),
    "frames": lambda: Streets(train=8, val=2, unlabelled=2, size=(32, 64)),
}


@pytest.mark.parametrize("kind", DATASETS)
def test_a_preparation_killed_at_any_moment_is_made_whole_by_the_next(kind, tmp_path, monkeypatch):
    """At files that get their name, at folders that are made and at small files that are written."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "CITYSCAPES_DATASET", "ATSO_BENCH_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def prepare(root, fatal=None):
        count = 0

        def watched(real):
            def called(place, *given, **more):
                nonlocal count
                count += 1
                if count == fatal:
                    die(place)
                return real(place, *given, **more)

            return called

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ATSO_BENCH_DATA", str(root))
            for name in ("replace", "rename", "mkdir", "write_text"):
                patch.setattr(Path, name, watched(getattr(Path, name)))
            dataset = DATASETS[kind]()
            dataset.ready()
            return count, dataset.identity

    moments, identity = prepare(tmp_path / "whole")
    whole = tree(tmp_path / "whole")
    chance, root = random.Random(7), tmp_path / "killed"
    kills = sum(killed(prepare, root, chance.randint(1, moments // 2)) for _ in range(5))
    assert kills > 2
    assert prepare(root)[1] == identity
    assert tree(root) == whole
