"""What `clean` removes, what it leaves, and what a results folder needs of the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from grids import run, work
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.clean import clean
from atso_bench.benchmark.store.record import read_all
from atso_bench.benchmark.store.stages import Stages

BUDGET = Budget.parse("14")
SPECS = [RunSpec("toy", method, "10", 0, BUDGET) for method in ("self-learning", "atso")]


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())


def phases(results: Path) -> set[str]:
    return {file.parent.name for file in (results / "stages").rglob("phase.json")}


def size(folder: Path) -> tuple[int, int]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files)


def test_it_removes_phases_and_says_how_much_that_is(tmp_path: Path) -> None:
    run(SPECS, tmp_path, ["cpu"])
    before = size(tmp_path / "stages")
    would = clean(tmp_path, "models", dry=True)
    assert size(tmp_path / "stages") == before
    freed = clean(tmp_path, "models")
    after = size(tmp_path / "stages")
    assert (freed.files, freed.bytes) == (before[0] - after[0], before[1] - after[1])
    assert not phases(tmp_path)
    assert len(list((tmp_path / "stages" / "models").glob("*.pt"))) == 2
    assert len(list((tmp_path / "stages" / "models").glob("*.json"))) == 2  # what predicting with them needs
    assert would.bytes >= freed.bytes
    clean(tmp_path, "records")
    assert not list((tmp_path / "stages" / "models").iterdir())
    assert len(read_all(tmp_path)) == 2


def test_phases_of_runs_that_are_not_finished_and_the_beginnings_that_they_share_stay(tmp_path: Path) -> None:
    run(SPECS[:1], tmp_path, ["cpu"])
    own = phases(tmp_path)
    (record,) = read_all(tmp_path)
    other = RunSpec("toy", "supervised", "20", 0, BUDGET)
    run([other], tmp_path, ["cpu"])
    from atso_bench.benchmark import grid
    from atso_bench.benchmark.engines.order import Order

    grid.note_asked(SPECS, Order(tmp_path))  # of which one is not done
    clean(tmp_path, "models")
    assert phases(tmp_path) == {phase.key for phase in record.phases[:2]} < own


def test_a_phase_that_a_process_is_at_stays(tmp_path: Path) -> None:
    work(SPECS[:1], tmp_path)
    (record,) = read_all(tmp_path)
    stages = Stages(tmp_path / "stages")
    with stages.claim(record.phases[0].key) as folder:
        clean(tmp_path, "models")
        assert (folder / "phase.json").exists()
    assert phases(tmp_path) == {record.phases[0].key}


def test_a_key_that_leads_elsewhere_removes_nothing(tmp_path: Path) -> None:
    work(SPECS[:1], tmp_path)
    (file,) = (tmp_path / "records").rglob("*.json")
    (tmp_path / "precious").mkdir()
    text = file.read_text()
    key = read_all(tmp_path)[0].phases[0].key
    file.write_text(text.replace(key, "../precious"))
    clean(tmp_path, "records")
    assert (tmp_path / "precious").is_dir()


def test_run_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    words = ["run", "-m", "supervised", "-f", "10", "--budget", "4", "--device", "cpu", "--workers", "0"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path), "--keep", "records"])
    assert done.exit_code == 0, done.output
    assert "freed" in done.output
    assert size(tmp_path / "stages")[0] == 0
    wrong = CliRunner().invoke(app, [*words, "--out", str(tmp_path), "--keep", "some"])
    assert wrong.exit_code == 2


def test_a_command_that_ends_before_its_runs_says_what_to_give_afterwards(tmp_path: Path) -> None:
    """Nothing is removed, nor reported, of what is not done; and ``--keep`` is not forgotten without a word."""
    words = ["run", "-m", "supervised", "-f", "10", "--budget", "4", "--device", "cpu", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--on", "slurm", "--dry-run", "--keep", "models"])
    assert done.exit_code == 0, done.output
    assert f"`atso-bench report {tmp_path}` makes the report" in done.output
    assert f"`atso-bench clean {tmp_path} --keep models` removes" in done.output


def test_a_run_leaves_few_files(tmp_path: Path) -> None:
    """Four methods left 602 files, one for each case's labels; and nothing stays of claims and locks."""
    work(SPECS, tmp_path)
    assert len(list((tmp_path / "stages").rglob("labels.pack"))) > 5
    assert size(tmp_path / "stages")[0] <= 3 * len(phases(tmp_path)) + len(SPECS)
    assert not list((tmp_path / "stages").rglob("lock*"))
    assert not list((tmp_path / "stages" / "claims").iterdir())
