"""Losses while a training goes on, and records for experiment trackers."""

from __future__ import annotations

import json
import sys

import pytest
from fitting import STEPS
from toy import ToyDataset
from typer.testing import CliRunner

import atso_bench
from atso_bench.benchmark import registry, trackers
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.run import curves_folder
from atso_bench.benchmark.training import curves, loop
from atso_bench.benchmark.training.curves import Curves


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": ToyDataset())


def run(out, methods="supervised", **more):
    given = {"datasets": "toy", "budget": STEPS, "device": "cpu", "workers": 0, "quiet": True, **more}
    return atso_bench.run(methods, 10, out=out, **given)


def of_record(record):
    """The lines that a record's losses are."""
    return [
        curves._line(phase.name, *window)
        for phase in record.phases
        if phase.kind == "train"
        for window in curves._windows(phase.losses)
    ]


def test_the_lines_of_a_run_are_the_losses_of_its_record_and_come_while_it_trains(tmp_path, monkeypatch):
    seen: list[int] = []
    add = Curves.add

    def watched(self, phase, step, terms):
        add(self, phase, step, terms)
        seen.append(len(curves.read(self.folder)))

    monkeypatch.setattr(Curves, "add", watched)
    (record,) = run(tmp_path, "self-learning")
    lines = curves.read(curves_folder(tmp_path, record.spec))
    assert lines == of_record(record)
    assert seen == list(range(1, STEPS + 1))  # a window is one step here
    assert lines[0]["loss"] == pytest.approx(sum(lines[0]["terms"].values()))


def test_a_phase_that_was_stored_is_written_when_a_run_takes_it(tmp_path):
    run(tmp_path, "self-learning")
    (record,) = run(tmp_path, "atso")
    assert record.phases[0].reused
    assert curves.read(curves_folder(tmp_path, record.spec)) == of_record(record)


def test_after_a_stop_the_lines_go_on_from_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    steps, one_step = iter(range(9)), loop.Training._one_step

    def stopping(training, batch):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        one_step(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_one_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    (folder,) = [file.parent for file in tmp_path.rglob(curves.FILE)]
    with (folder / curves.FILE).open("a") as file:
        file.write(json.dumps({"phase": "M0", "step": 99, "loss": 1, "terms": {}}) + '\n{"phase": "M0", "st')
    (record,) = run(tmp_path)
    assert curves.read(folder) == of_record(record)


def test_a_disk_that_is_full_costs_curves_and_no_run(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curves, "write_text", full)
    assert len(run(tmp_path)) == 1
    assert not list(tmp_path.rglob(curves.FILE))


def test_a_loss_that_is_no_number_is_null():
    assert json.loads(json.dumps(curves._line("M0", 1, {"a": float("nan")}))) == {
        "phase": "M0",
        "step": 1,
        "loss": None,
        "terms": {"a": None},
    }


def test_event_files_hold_every_window_once_also_after_a_second_start(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    windows = {"step": [1.0, 2.0], "labelled": [0.5, 0.25]}
    first = Curves(tmp_path, tensorboard=True)
    first.begin("M0", {})
    first.add("M0", 1, {"labelled": 0.5})
    first.add("M0", 2, {"labelled": 0.25})
    first.add("M0", 3, {"labelled": 9.0})  # lost with the process
    second = Curves(tmp_path, tensorboard=True)
    second.begin("M0", windows)
    second.add("M0", 3, {"labelled": 0.125})
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    for name in ("M0/labelled", "M0/loss"):
        assert [(event.step, event.value) for event in found.Scalars(name)] == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_without_tensorboard_the_command_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(curves.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'atso-bench\[tensorboard\]'"):
        curves.check_tensorboard()


def test_mlflow_has_options_scores_and_losses_of_each_run_once(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    (record,) = run(tmp_path, options=None)
    for amount in ("exported 1 runs;", "exported 0 runs, 1 were there;"):
        done = CliRunner().invoke(app, ["export-runs", "--to", "mlflow", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert amount in done.output
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "export" / "mlruns").as_uri())
    (experiment,) = [each for each in client.search_experiments() if each.name == trackers.PROJECT]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["method"] == "supervised"
    assert found.data.params["recipe.batch"] == "4"
    assert found.data.metrics["score"] == pytest.approx(record.score)
    losses = client.get_metric_history(found.info.run_id, "M0.labelled")
    assert [each.step for each in losses] == list(range(1, STEPS + 1))


def test_weights_and_biases_are_written_offline(tmp_path):
    pytest.importorskip("wandb")
    run(tmp_path)
    done = CliRunner().invoke(app, ["export-runs", "--to", "wandb", str(tmp_path), "--into", str(tmp_path / "there")])
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "there" / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch):
    wrong = CliRunner().invoke(app, ["export-runs", "--to", "excel", str(tmp_path)])
    assert (wrong.exit_code, wrong.output) == (2, "error: --to must be mlflow or wandb, got 'excel'\n")
    empty = CliRunner().invoke(app, ["export-runs", "--to", "mlflow", str(tmp_path)])
    assert "holds no records to export" in empty.output
    run(tmp_path)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    absent = CliRunner().invoke(app, ["export-runs", "--to", "mlflow", str(tmp_path)])
    assert absent.exit_code == 2
    assert "pip install 'atso-bench[mlflow]'" in absent.output
