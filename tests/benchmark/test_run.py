"""From specification to record, the grid around it, and what the console says."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import children
import grids
import pytest
import torch
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import done, grid, registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.engines import local
from atso_bench.benchmark.engines.task import settle
from atso_bench.benchmark.machine.progress import Lines, silent
from atso_bench.benchmark.run import Bench, execute
from atso_bench.benchmark.scoring import metrics
from atso_bench.benchmark.scoring.headline import DICE
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import asked
from atso_bench.benchmark.store.record import Record, read_all
from atso_bench.benchmark.trainer import Trainer

SPEC = RunSpec("toy", "atso", "10", 0, Budget.parse("14"))


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """``--dataset toy`` is the toy."""
    real, dataset = registry.dataset, ToyDataset()
    monkeypatch.setattr(registry, "dataset", lambda name, c="2d": dataset if name == "toy" else real(name, c))
    return dataset


@pytest.fixture
def bench(tmp_path):
    """Runs in a new folder, on the CPU."""
    return Bench(tmp_path, "cpu", 0, silent())


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_record_holds_what_was_done_and_reads_back(bench, tmp_path):
    done = execute(SPEC, bench)
    found = Record.read(tmp_path / "records" / SPEC.path)
    assert found.spec == SPEC
    assert 0 <= found.score <= 1
    assert found.score == pytest.approx(done.summary["metrics"]["dice"]["mean"])
    assert found.spent_steps == 14
    assert sorted(found.cases) == sorted(found.split["test"])
    assert set(found.cases["c20"]) == {"square", "core"}
    assert {phase.kind for phase in found.phases} == {"train", "predict", "diagnose", "evaluate"}
    assert all(phase.seconds > 0 for phase in found.phases)
    assert found.options["generations"] == 3
    assert found.pool_size == 20
    assert found.labelled_percent == 10
    assert len(found.diagnostics) == 1 + 6
    assert found.environment["versions"]["torch"]
    assert found.split["hash"] == done.split["hash"]


def test_a_run_twice_gives_the_same_scores(bench, tmp_path):
    first = execute(SPEC, bench)
    second = execute(SPEC, Bench(tmp_path / "other", "cpu", 0, silent()))
    assert first.cases == second.cases or json.dumps(first.cases) == json.dumps(second.cases)


def test_a_done_run_is_not_done_again_and_fresh_does_it_again(tmp_path, capsys):
    assert grids.run([SPEC], tmp_path, ["cpu"], 0, fresh=False) == 0
    path = tmp_path / "records" / SPEC.path
    before = path.stat().st_mtime_ns
    assert grids.run([SPEC], tmp_path, ["cpu"], 0, fresh=False) == 0
    assert path.stat().st_mtime_ns == before
    assert "already done" in capsys.readouterr().out
    assert grids.run([SPEC], tmp_path, ["cpu"], 0, fresh=True) == 0
    assert path.stat().st_mtime_ns > before
    assert not any(phase.reused for phase in Record.read(path).phases)


def test_a_run_on_other_data_does_not_count_as_done(tmp_path, monkeypatch):
    grids.run([SPEC], tmp_path, ["cpu"], 0, fresh=False)
    monkeypatch.setattr(registry, "dataset", lambda name, c="2d": ToyDataset(cases=25))
    assert done.finished(tmp_path, SPEC) is None


def test_a_run_that_was_scored_by_other_metrics_does_not_count_as_done_and_is_scored_again(
    tmp_path, monkeypatch, capsys
):
    grids.run([SPEC], tmp_path, ["cpu"], 0, fresh=False)
    monkeypatch.setattr(metrics, "VERSION", metrics.VERSION + 1)
    assert done.finished(tmp_path, SPEC) is None
    capsys.readouterr()
    grids.run([SPEC], tmp_path, ["cpu"], 0, fresh=False)
    assert "running again: it was scored by version" in capsys.readouterr().out
    found = Record.read(tmp_path / "records" / SPEC.path)
    assert found.metrics_version == metrics.VERSION
    assert all(phase.reused for phase in found.phases if phase.kind == "train")


def test_the_data_of_many_runs_is_looked_at_once(tmp_path, monkeypatch):
    specs = [RunSpec("toy", "supervised", "10", seed, Budget.parse("6")) for seed in range(4)]
    grids.run(specs, tmp_path, ["cpu"], 0, fresh=False)
    looks = []
    monkeypatch.setattr(ToyDataset, "identity", property(lambda dataset: looks.append(1) or "another"))
    identity = done.remembered()
    assert [done.finished(tmp_path, spec, identity=identity) for spec in specs] == [None] * 4
    assert len(looks) == 1


def test_a_failing_run_leaves_a_record_of_it_and_the_others_go_on(tmp_path, monkeypatch):
    train = Trainer.train

    def failing(trainer, *args, **more):
        if more["phase"] == "generation 1, subset 2":
            raise RuntimeError("the device is gone")
        return train(trainer, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", failing)
        result = invoke("run", "-m", "atso,supervised", "-f", 10, "-d", "toy", "--budget", 14, "--out", tmp_path)
    assert result.exit_code == 1
    (failure,) = (tmp_path / "records").rglob("*.failed.json")
    told = json.loads(failure.read_text())
    assert told["status"] == "failed"
    assert told["message"] == "the device is gone"
    assert [record.spec.method for record in read_all(tmp_path)] == ["supervised"]
    again = invoke("run", "-m", "atso,supervised", "-f", 10, "-d", "toy", "--budget", 14, "--out", tmp_path)
    assert again.exit_code == 0
    assert not list((tmp_path / "records").rglob("*.failed.*"))


def test_what_was_asked_for_is_written_before_the_first_run_begins(tmp_path, monkeypatch, toy):
    found = []
    monkeypatch.setattr(local, "work", lambda *given, **more: found.extend((tmp_path / "asked").iterdir()) or 0)
    other = replace(SPEC, seed=1)
    grids.run([SPEC, other], tmp_path, ["cpu"], 0, fresh=False)
    grids.run([other, SPEC], tmp_path, ["cpu"], 0, fresh=True)
    first, second = found
    assert first == second
    assert [(run.spec, run.data) for run in asked.read(first).runs] == [(other, toy.identity), (SPEC, toy.identity)]


def test_frames_are_called_frames_and_cases_cases(bench, monkeypatch):
    task = ToyDataset.task

    def said(case):
        lines = []
        monkeypatch.setattr(ToyDataset, "task", lambda *given: replace(task(*given), metric=replace(DICE, case=case)))
        spec = replace(SPEC, method="self-learning", options={"generations": 1})
        execute(spec, replace(bench, results=bench.results / case, progress=Lines(lines.append)))
        return {line.split()[-1] for line in lines if " 0/" in line}

    assert said("case") == {"steps", "cases"}
    assert said("frame") == {"steps", "frames"}


def test_two_processes_share_a_grid(tmp_path):
    """Both are given all runs; each run is made once."""
    specs = [RunSpec("toy", "supervised", "10", seed, Budget.parse("6")) for seed in range(4)]
    given, said = (grids.work, specs, tmp_path), tmp_path / "said"
    with children.started(*given, said=said) as one, children.started(*given, said=said) as other:
        assert one.end() == other.end() == 0
    assert len(read_all(tmp_path)) == 4
    assert said.read_text().count(": running") == 4


def test_a_run_that_fails_is_tried_by_one_process_and_counts_once(tmp_path, monkeypatch):
    tried = tmp_path / "tried"

    def the_device_is_gone():
        train = Trainer.train

        def failing(trainer, *args, **more):
            if trainer.seed == 1:
                with tried.open("a") as file:
                    file.write("x")
                raise RuntimeError("the device is gone")
            return train(trainer, *args, **more)

        Trainer.train = failing

    context = children.Context(the_device_is_gone)
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: context)
    specs = [RunSpec("toy", "supervised", "10", seed, Budget.parse("6")) for seed in range(2)]
    assert grids.run(specs, tmp_path, ["cpu", "cpu"], 0, fresh=False) == 1
    assert tried.read_text() == "x"
    assert len(read_all(tmp_path)) == 1
    assert grids.run(specs, tmp_path, ["cpu", "cpu"], 0, fresh=False) == 1
    assert tried.read_text() == "xx"  # the same command tries again


def test_the_device_and_the_threads_are_those_of_the_process_in_run_and_in_plan(tmp_path, monkeypatch):
    from atso_bench.benchmark.forecast import plan

    said = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: said.append(f"{number} threads"))
    monkeypatch.setattr(torch.cuda, "set_device", said.append)  # the real one refuses "cuda" without an index
    settle("cuda", 1)
    settle("cuda:1", 2)
    assert list(plan.forecast([], tmp_path, "cpu", 0, threads=3)) == []
    assert said == [0, "1 threads", 1, "2 threads", "3 threads"]


def test_a_default_that_is_spelled_out_is_no_other_run():
    def key(**options):
        methods = {"atso": options}
        (spec,) = grid.make_specs(["toy"], ["atso"], ["10"], [0], SPEC.budget, grid.Options(methods, {}))
        return spec.key

    assert key() == key(subsets=2) == key(subsets=2.0, generations="3")
    assert key() != key(subsets=3)


def test_a_case_of_t_that_a_published_list_moves_to_r_is_judged_by_the_diagnostics(bench, toy, monkeypatch):
    opened, hidden = set(), ToyDataset.hidden_label
    monkeypatch.setattr(ToyDataset, "hidden_label", lambda toy, case: opened.add(case) or hidden(toy, case))
    lists = {"test": ["c00", "c01"], "labelled": ["c02", "c03"]}
    found = execute(RunSpec("toy", "self-learning", "2cases", 0, Budget.parse("8"), lists=lists), bench)
    assert set(toy.test) < opened == {case for case in found.split["unlabelled"] if case not in toy.unlabelled}


def test_the_upper_bound_is_supervised_at_all_labels():
    specs = grid.make_specs(
        ["toy"], ["atso"], ["10"], [0, 1], SPEC.budget, grid.Options({}, {}), upper_bound=True, configuration="2d"
    )
    assert [(s.method, s.fraction, s.seed) for s in specs] == [
        ("atso", "10", 0), ("atso", "10", 1), ("supervised", "100", 0), ("supervised", "100", 1),
    ]  # fmt: skip


def test_run_writes_records_and_a_report(tmp_path):
    result = invoke(
        "run", "--method", "atso,supervised", "--fraction", 10, "--fraction", "5cases", "--seed", "0,1", "-d", "toy",
        "--budget", 20, "--option", "atso.subsets=3", "--option", "recipe.batch=2", "--out", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    records = read_all(tmp_path)
    assert len(records) == 8
    assert {record.options.get("subsets") for record in records if record.spec.method == "atso"} == {3}
    assert {record.recipe["batch"] for record in records} == {2}
    assert (tmp_path / "report" / "index.html").exists()
    assert invoke("report", tmp_path).exit_code == 0


def test_plan_says_what_is_done_and_what_the_rest_takes(tmp_path):
    common = ("-m", "self-learning,atso", "-f", 10, "-d", "toy", "--budget", 14, "--out", tmp_path)
    result = invoke("plan", *common)
    assert result.exit_code == 0, result.output
    assert "self-learning on toy, 10 %, seed 0" in result.output
    assert "4 trainings, 14 steps, 80 cases to label" in result.output  # 20 cases of R, four times
    assert "phases that several runs share are computed once" in result.output
    assert not list(tmp_path.rglob("*.json"))  # nor did it ask for the runs
    invoke("run", *common)
    assert invoke("plan", *common).output.count("done") == 2


def test_plan_counts_a_phase_that_runs_share_once(tmp_path, monkeypatch):
    from atso_bench.benchmark.forecast import plan, probes
    from atso_bench.benchmark.training import loop

    monkeypatch.setattr(loop.Training, "probe", lambda training: (0.5, 0.25))
    monkeypatch.setattr(probes.TrainingCost, "of", lambda cost, steps: cost.beside + steps * cost.step)
    specs = [replace(SPEC, method="self-learning"), SPEC, replace(SPEC, options={"subsets": 1, "restart": "previous"})]
    learning, atso, same = (set(found.seconds) for found in plan.forecast(specs, tmp_path, "cpu", 0))
    assert len(learning & atso) == 2  # M0, and its labels of R
    own = ("evaluate", "diagnose", "start")  # of each run alone
    assert [key for key in learning ^ same if not key.startswith(own)] == []
    (alone,) = plan.forecast([replace(SPEC, method="supervised")], tmp_path, "cpu", 0)
    assert 14 * 0.5 + 0.25 in alone.seconds.values()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-m", "atsoo", "-f", "10"), "Did you mean 'atso'?"),
        (("-m", "atso", "-f", "0"), "above 0 and at most 100"),
        (("-m", "atso", "-f", "10", "-d", "phantoms"), "there is no dataset 'phantoms'"),
        (("-m", "atso", "-f", "10", "-d", "toy", "--budget", "much"), "--budget must be one of"),
        (("-m", "atso", "-f", "10", "-d", "toy", "--parity", "half"), "--parity must be total, line, phase or time"),
        (("-m", "atso", "-f", "10", "-d", "toy", "-o", "atso.subsets=0"), "greater than or equal to 1"),
        (("-m", "atso", "-f", "10", "-d", "toy", "-o", "atso.speed=1"), "options of atso: generations"),
        (("-m", "atso", "-f", "10", "-d", "toy", "-o", "subsets=1"), "--option must be NAME.OPTION=VALUE"),
        (
            ("-m", "atso", "-f", "10", "-d", "toy", "-o", "cps.weight=1"),
            "neither 'recipe' nor one of the methods, atso",
        ),
        (("-m", "atso", "-f", "10", "-d", "toy", "--device", "tpu"), "--device must be auto, cpu, cuda or cuda:N"),
        (("-m", "atso", "-f", "10", "-d", "toy", "--device", "cuda,tpu"), "--device must be auto, cpu, cuda or cuda:N"),
        (("-m", "atso", "-f", "10", "-d", "toy", "--device", "auto,cpu"), "--device must be auto, cpu, cuda or cuda:N"),
        (("-m", "atso", "-f", "10", "-d", "toy", "--device", ","), "--device must be auto, cpu, cuda or cuda:N"),
        (("-m", "atso", "-f", "99cases", "-d", "toy"), "more than the 20 cases of the training pool"),
        (("-m", "atso", "-f", "10", "-d", "toy", "-s", "x"), "--seed must be a whole number"),
        (("-m", "atso", "-f", "10", "-d", "toy", "--scored", "validation"), "--validation PERCENT"),
    ],
)
def test_wrong_input_ends_with_a_message_and_exit_code_2(words, told, tmp_path):
    result = invoke("run", *words, "--out", tmp_path)
    assert result.exit_code == 2
    assert told in result.output.replace("\n", " ")
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_published_list_is_the_split(tmp_path):
    listed = tmp_path / "labelled.list"
    listed.write_text("c05\nc01")
    words = ("-m", "supervised", "-f", "2cases", "-d", "toy", "--budget", 4, "--split-list", f"labelled={listed}")
    result = invoke("run", *words, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (record,) = read_all(tmp_path / "out")
    assert record.split["labelled"] == ["c01", "c05"]


def test_scoring_on_validation_leaves_the_test_set_alone(tmp_path, bench):
    spec = RunSpec("toy", "supervised", "10", 0, Budget.parse("4"), validation=20, scored="validation")
    record = execute(spec, bench)
    assert sorted(record.cases) == record.split["validation"]
    assert len(record.cases) == 4


def test_list_shows_every_method_with_its_options():
    result = invoke("list", "methods")
    for name in registry.names("methods"):
        assert name in result.output
    assert "atso.subsets=2" in result.output
    assert invoke("list", "things").exit_code == 2


def test_a_teacher_that_finds_no_foreground_is_a_warning_in_the_record(bench, monkeypatch, toy):
    import toy as toys

    def blank(task, model, image, device, *, mirror):
        shape = image.array.shape[1:]
        return torch.cat([torch.ones(1, *shape), torch.zeros(2, *shape)])

    assert execute(SPEC, bench).warnings == []
    monkeypatch.setattr(toys.ToyTask, "predict", blank)
    record = execute(SPEC, replace(bench, results=bench.results / "blank"))
    assert record.warnings[0].startswith("M0 labels R: the teacher predicts only background in all 20 cases")


def test_every_named_device_is_a_process_of_its_own():
    from atso_bench.benchmark.options import GridOptions

    assert GridOptions(["atso"], ["10"], device="cpu,cpu").devices() == ["cpu", "cpu"]
    assert GridOptions(["atso"], ["10"], device="cpu").devices() == ["cpu"]
    with pytest.raises(ValueError, match=r"finds \d+ CUDA devices"):
        GridOptions(["atso"], ["10"], device="cuda:99").devices()
