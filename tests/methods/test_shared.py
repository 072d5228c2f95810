"""A grid costs less than the sum of its runs: what `plan` foretells and what the report shows of it."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.forecast import plan
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import read_all
from atso_bench.benchmark.store.stages import Stages
from atso_bench.reports.data import frame
from atso_bench.reports.pages import tables


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """``--dataset toy`` is the toy."""
    real, dataset = registry.dataset, ToyDataset()
    monkeypatch.setattr(registry, "dataset", lambda name, c="2d": dataset if name == "toy" else real(name, c))


def words(command, out):
    grid = ("-m", "self-learning,atso", "-f", "10", "-d", "toy", "--budget", "14", "--parity", "phase")
    return [command, *grid, "--device", "cpu", "--workers", "0", "--out", str(out)]


def keys(found):
    return {key for key in found.seconds if not key.startswith(("start", "evaluate", "diagnose"))}


def test_the_report_says_what_the_runs_in_fact_shared(tmp_path):
    assert CliRunner().invoke(app, words("run", tmp_path)).exit_code == 0
    phases = [phase for record in read_all(tmp_path) for phase in record.phases]
    spared = sum(phase.seconds for phase in phases if phase.reused)
    share = spared / sum(phase.seconds for phase in phases)
    assert {phase.name for phase in phases if phase.reused} == {"M0", "M0 labels R"}
    told = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    (saved,) = re.findall(r"Shared phases were computed once.*\((\d+) %\)", told)
    assert saved == f"{100 * share:.0f}"


def test_what_a_run_that_went_on_finds_of_its_own_is_no_saving(tmp_path):
    assert CliRunner().invoke(app, words("run", tmp_path)).exit_code == 0
    for path in (tmp_path / "records").rglob("seed*.json"):
        raw = json.loads(path.read_text())
        for phase in raw["phases"]:
            phase["reused"], phase["key"] = True, phase["key"] and raw["spec"]["method"] + phase["key"]
        path.write_text(json.dumps(raw))
    (group,) = frame.read(tmp_path).groups()
    assert tables.saved(group) == ""


def test_plan_foretells_what_runs_share_and_what_is_stored(tmp_path):
    output = CliRunner().invoke(app, words("plan", tmp_path)).output
    assert re.search(r"\(\d+ %\) saved, because phases that several runs share are computed once", output)
    assert "already stored" not in output
    CliRunner().invoke(app, words("run", tmp_path))
    shutil.rmtree(tmp_path / "records")
    output = CliRunner().invoke(app, words("plan", tmp_path)).output
    assert "phases are already stored" in output


@pytest.mark.parametrize("method", registry.names("methods"))
def test_a_plan_knows_the_true_keys_of_the_phases_that_are_stored(method, tmp_path):
    from atso_bench.benchmark.machine.progress import silent
    from atso_bench.benchmark.run import Bench, execute

    spec = RunSpec("toy", method, "10", 0, Budget.parse("14"))
    (before,) = plan.forecast([spec], tmp_path, "cpu", 0)
    assert before.stored == {}
    assert not (tmp_path / "stages").exists()
    done = execute(spec, Bench(tmp_path, "cpu", 0, silent()))
    (tmp_path / "records" / spec.path).unlink()
    (after,) = plan.forecast([spec], tmp_path, "cpu", 0)
    assert after.stored == {phase.key: phase.seconds for phase in done.phases if phase.key}
    assert keys(after) == set()


def test_a_plan_takes_off_the_part_of_a_phase_that_is_done(tmp_path, monkeypatch):
    from atso_bench.benchmark.machine.progress import silent
    from atso_bench.benchmark.run import Bench, execute

    monkeypatch.setattr(plan.probes.TrainingCost, "of", lambda cost, steps: float(steps))
    spec = RunSpec("toy", "self-learning", "10", 0, Budget.parse("14"), options={"generations": 1})
    done = execute(spec, Bench(tmp_path, "cpu", 0, silent()))
    (tmp_path / "records" / spec.path).unlink()
    first, labels, student, *_ = done.phases
    folder = Stages(tmp_path / "stages").folder(student.key)
    (folder / "phase.json").unlink()
    Stages.save(folder / "progress.pt", {"done": 3})
    (found,) = plan.forecast([spec], tmp_path, "cpu", 0)
    assert found.stored == {phase.key: phase.seconds for phase in (first, labels)}
    assert found.seconds[student.key] == student.steps - 3
    assert found.steps == 14
