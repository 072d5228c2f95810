"""Several processes of this machine, which take their tasks from one graph."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import children
import pytest
from grids import run, work
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.engines import graph, order
from atso_bench.benchmark.engines.order import Order
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import read_all
from atso_bench.benchmark.training import loop

BUDGET = Budget.parse("14")
SPECS = [RunSpec("toy", method, "10", 0, BUDGET) for method in ("self-learning", "atso", "supervised")]


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Other processes are children of the tests, in which ``prepare`` is done first; where they say what they do."""

    def use(prepare: Callable[[], object] = lambda: None) -> Path:
        said = tmp_path / "said"
        context = children.Context(prepare, said)
        monkeypatch.setattr(multiprocessing, "get_context", lambda kind: context)
        return said

    return use


def summaries(results: Path) -> list[object]:
    return [record.summary for record in read_all(results)]


def test_two_devices_make_what_one_makes_and_a_shared_beginning_once(
    processes: Callable[..., Path], tmp_path: Path
) -> None:
    said = processes()
    assert run(SPECS, tmp_path / "two", ["cpu", "cpu"]) == 0
    assert work(SPECS, tmp_path / "one") == 0
    assert summaries(tmp_path / "two") == summaries(tmp_path / "one")
    text = said.read_text()
    assert text.count("the beginning of") == 1
    assert text.count("M0  7/7") == 1
    for record in read_all(tmp_path / "two"):
        assert record.phases[0].reused == (record.spec.method != "supervised")


def dies(when: Callable[[loop.Training], bool]) -> None:
    one_step = loop.Training._one_step

    def step(training: loop.Training, batch: object) -> None:
        one_step(training, batch)  # type: ignore[arg-type]
        if when(training):
            os.kill(os.getpid(), signal.SIGKILL)

    loop.Training._one_step = step  # type: ignore[method-assign, assignment]
    loop.CHECKPOINT_SECONDS = 0.0


def test_a_process_that_is_killed_is_started_again_and_the_run_goes_on(
    processes: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    died = tmp_path / "died"

    def once() -> None:
        def now(training: loop.Training) -> bool:
            first = training.done == 5 and not died.exists()
            if first:
                died.touch()
            return first

        dies(now)

    said = processes(once)
    specs = [RunSpec("toy", "supervised", "10", seed, Budget.parse("8")) for seed in range(3)]
    assert run(specs, tmp_path / "out", ["cpu", "cpu"]) == 0
    assert "its process has died; it goes on" in capfd.readouterr().out
    assert "M0  4/8 steps" in said.read_text()  # the checkpoint of the step before
    assert work(specs, tmp_path / "one") == 0
    assert summaries(tmp_path / "out") == summaries(tmp_path / "one")


def test_after_three_deaths_a_run_has_failed_and_the_others_are_made(
    processes: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    processes(lambda: dies(lambda training: training.means.seed == 1))
    specs = [RunSpec("toy", "supervised", "10", seed, Budget.parse("4")) for seed in range(3)]
    assert run(specs, tmp_path / "out", ["cpu", "cpu"]) == 1
    assert sorted(record.spec.seed for record in read_all(tmp_path / "out")) == [0, 2]
    (failure,) = (tmp_path / "out").rglob("*.failed.json")
    found = json.loads(failure.read_text())
    assert (found["error"], found["spec"]["seed"]) == ("KilledError", 1)
    assert "its process died 3 times, last on" in found["message"]
    assert capfd.readouterr().out.count("goes on from its last checkpoint in another one") == 2


def test_when_no_process_can_begin_the_runs_count_as_failed(processes: Callable[..., Path], tmp_path: Path) -> None:
    """As where a device is gone: each says so, and ends."""

    def broken() -> None:
        from atso_bench.benchmark.engines import local

        def settle(device: str, threads: int) -> None:
            raise RuntimeError("the device is gone")

        local.settle = settle

    said = processes(broken)
    assert run(SPECS, tmp_path / "out", ["cpu", "cpu"]) == 3
    assert said.read_text().count("stopped: RuntimeError: the device is gone") == 2


def test_only_does_one_task_of_those_that_were_asked_for(tmp_path: Path) -> None:
    grid.note_asked(SPECS, Order(tmp_path))
    beginning, *_ = graph.tasks(SPECS)
    words = ["run", "--out", str(tmp_path), "--device", "cpu", "--workers", "0", "--only"]
    done = CliRunner().invoke(app, [*words, beginning.name])
    assert done.exit_code == 0, done.output
    assert not read_all(tmp_path)
    for spec in SPECS:
        done = CliRunner().invoke(app, [*words, spec.key])
        assert done.exit_code == 0, done.output
    assert len(read_all(tmp_path)) == 3
    wrong = CliRunner().invoke(app, [*words, "0123456789ab"])
    assert wrong.exit_code == 2
    assert "no command asked for a run 0123456789ab" in wrong.output


def test_a_plan_for_other_programs_is_one_object_a_task(tmp_path: Path) -> None:
    words = ["-m", "self-learning,atso,supervised", "-f", "10", "--budget", "14", "--device", "cpu", "--workers", "0"]
    done = CliRunner().invoke(app, ["plan", *words, "-d", "toy", "--out", str(tmp_path), "--format", "jsonl"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 4
    first, *others = rows
    assert first["key"].endswith(".first2")
    assert [row["after"] for row in others] == [[] if "supervised" in row["run"] else [first["key"]] for row in others]
    for row in rows:
        assert row["seconds"] > 0
        assert row["memory_bytes"] > 0
        made = CliRunner().invoke(app, row["command"][1:])
        assert made.exit_code == 0, made.output
    assert len(read_all(tmp_path)) == 3


def test_a_machine_with_other_software_or_another_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid.note_asked(SPECS, Order(tmp_path))
    given = Order(tmp_path)
    words = ["run", "--out", str(tmp_path), "--device", "cpu", "--job", given.id, "--only", SPECS[2].key]
    elsewhere = CliRunner().invoke(app, words)
    assert elsewhere.exit_code == 2
    assert "--out must be one folder that all machines share" in elsewhere.output
    given.write()
    software = order.software()
    monkeypatch.setattr(order, "software", lambda: {**software, "torch": "0.1", "commit": "c0ffee"})
    other = CliRunner().invoke(app, words)
    assert other.exit_code == 2
    assert f"torch 0.1 instead of {software['torch']}" in other.output.replace("\n", " ")
    monkeypatch.setattr(order, "software", lambda: software)
    assert CliRunner().invoke(app, words).exit_code == 0


def test_what_stops_a_job_leaves_a_sign_if_something_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By it a job script knows whether to queue again: without it, it would do so for ever."""
    from atso_bench.benchmark.engines import local
    from atso_bench.benchmark.store.stages import Stages

    grid.note_asked(SPECS, Order(tmp_path))
    given = Order(tmp_path)
    given.write()
    words = ["run", "--out", str(tmp_path), "--device", "cpu", "--job", given.id, "--only", SPECS[2].key]
    sign = given.folder / f"{SPECS[2].key}.saved"

    def stopped(saved: int) -> None:
        def once(*given: object, **more: object) -> None:
            monkeypatch.setattr(Stages, "saved", saved)
            os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(local, "once", once)
        assert CliRunner().invoke(app, words).exit_code == 143

    stopped(0)
    assert not sign.exists()
    monkeypatch.setattr("atso_bench.benchmark.machine.stopping._last", -1e9)
    stopped(2)
    assert sign.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--on", "nowhere"], "there is no such engine; available: local, slurm, ray"),
        (["--slurm", "partition=gpu"], "--partition is for other machines; give --on slurm"),
        (["--on", "slurm", "--slurm", "partition"], "take KEY=VALUE"),
        (["--on", "ray", "--ray", "colour=red"], "ray has no setting 'colour'"),
        (["--dry-run"], "--dry-run is for other machines"),
        (["--on", "slurm", "--device", "cpu,cpu"], "--device names several devices"),
    ],
)
def test_wrong_words_for_engines_are_errors(words: list[str], said: str, tmp_path: Path) -> None:
    grid_words = ["run", "-m", "supervised", "-f", "10", "-d", "toy", "--budget", "4", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*grid_words, *words])
    assert done.exit_code == 2
    assert said in done.output.replace("\n", " ")


def test_an_engine_of_another_package_gets_the_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from atso_bench.benchmark.engines import known

    given: list[object] = []

    def make(tasks, order, settings, say):  # type: ignore[no-untyped-def]
        given.extend([[task.name for task in tasks], dict(settings), (order.folder / "order.json").exists()])

    found = SimpleNamespace(name="mine", load=lambda: SimpleNamespace(settings={"colour": "of it"}, run=make))
    monkeypatch.setattr(known, "entry_points", lambda group: [found] if group == "atso_bench.engines" else [])
    words = ["run", "-m", "self-learning,atso", "-f", "10", "-d", "toy", "--budget", "14", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--on", "mine", "--with", "colour=red"])
    assert done.exit_code == 0, done.output
    names, settings, written = given
    assert len(names) == 3  # type: ignore[arg-type]
    assert (settings, written) == ({"colour": "red"}, True)
