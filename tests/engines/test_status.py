"""What `status` says of runs that are done, run, wait and failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from grids import run, work
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.engines import graph
from atso_bench.benchmark.engines.command import TASKS
from atso_bench.benchmark.engines.order import Order
from atso_bench.benchmark.engines.status import lines
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import leases
from atso_bench.benchmark.store.record import write_failure

SPECS = [RunSpec("toy", method, "10", 0, Budget.parse("14")) for method in ("supervised", "self-learning", "atso")]


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())


def test_nothing_asked_for_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert done.exit_code == 2
    assert "no runs were asked for" in done.output


def test_each_run_is_in_one_place(tmp_path: Path) -> None:
    more = [RunSpec("toy", "supervised", "10", seed, Budget.parse("14")) for seed in (1, 2)]
    order = Order(tmp_path)
    grid.note_asked([*SPECS, *more], order)
    work(SPECS[:1], tmp_path)
    write_failure(tmp_path, more[0], "M0", RuntimeError("the device is gone"))
    order.write()
    tasks = graph.tasks(SPECS[1:])
    (order.folder / TASKS).write_text("\n".join(graph.lines(tasks, lambda task: [])))
    about = {"run": more[1].title, "host": "n1", "device": "cuda:1", "began": "2026-01-01T00:00:00+00:00"}
    with leases.leased(leases.of_run(tmp_path, more[1].key), about=about) as lease:
        assert lease is not None
        lease.doing = lambda: "M0  3/14 steps"
        lease.beat()
        said = list(lines(tmp_path))
    assert said[0] == "1 of 5 runs are done, 1 failed, 1 running, 2 waiting"
    (running,) = [line for line in said if line.startswith("running")]
    assert "supervised on toy, 10 %, seed 2 on n1 (cuda:1) since 2026-01-01 00:00 UTC" in running
    assert "M0  3/14 steps" in running
    assert "failed   supervised on toy, 10 %, seed 1 in M0: RuntimeError: the device is gone" in said
    waiting = [line for line in said if line.startswith("waiting")]
    assert len(waiting) == 2
    assert all("waiting for the beginning of self-learning on toy" in line for line in waiting)
    assert said[-1].startswith("time left: about")
    assert "and 2 runs of which none is done" in said[-1]


def test_a_claim_that_a_dead_process_left_is_no_running_run(tmp_path: Path) -> None:
    grid.note_asked(SPECS[:1], Order(tmp_path))
    claim = leases.of_run(tmp_path, SPECS[0].key).with_name(f"{SPECS[0].key}.3")
    claim.mkdir(parents=True)
    facts = {"token": "x", "run": "x", "host": "h", "device": "cpu", "began": "2026-01-01T00:00:00+00:00", "doing": ""}
    (claim / leases.HOLDER).write_text(json.dumps({**facts, "machine": leases.machine()}))
    assert "0 running, 1 waiting" in next(lines(tmp_path))
    (claim / leases.HOLDER).write_text(json.dumps({**facts, "machine": "another"}))
    assert "1 running, 0 waiting" in next(lines(tmp_path))


def test_records_of_before_do_not_count_for_a_fresh_command(tmp_path: Path) -> None:
    run(SPECS[:1], tmp_path, ["cpu"])
    assert "1 of 1 runs are done" in next(lines(tmp_path))
    grid.note_asked(SPECS[:1], Order(tmp_path, fresh=True))
    assert "0 of 1 runs are done" in next(lines(tmp_path))
    run(SPECS[:1], tmp_path, ["cpu"], fresh=True)
    assert "1 of 1 runs are done" in next(lines(tmp_path))
