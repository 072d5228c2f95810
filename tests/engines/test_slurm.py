"""SLURM: what is written for it everywhere; and on a real one of two nodes what becomes of it (``make slurm-test``)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import slurm_cluster
from cluster_runs import GRID, command, facts, prepared, until
from hypothesis import given
from hypothesis import strategies as st

from atso_bench.benchmark.engines import slurm
from atso_bench.benchmark.engines.graph import Task, linked
from atso_bench.benchmark.engines.order import Order
from atso_bench.benchmark.spec import Budget, RunSpec

SPECS = [RunSpec("toy", "supervised", "10", seed, Budget.parse("6")) for seed in range(40)]


# What is written


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=40), st.integers(1, 7))
def test_each_task_is_one_job_and_waits_for_the_job_of_its_own_number(beginnings: list[str], most: int) -> None:
    runs = [Task(spec, phases=(key,) if key else ()) for spec, key in zip(SPECS, beginnings, strict=False)]
    tasks = linked(runs)
    found = slurm.arrays(tasks, most)
    by_name = {array.name: array for array in found}
    jobs = [task.name for array in found for task in array.tasks.values()]
    assert sorted(jobs) == sorted(task.name for task in tasks)
    for array in found:
        assert 0 < len(array.tasks) <= most
        assert max(array.tasks) < most
        for number, task in array.tasks.items():
            waits = (by_name[array.after].tasks[number].name,) if array.after else ()
            assert task.after == waits
        assert list(by_name).index(array.after or array.name) <= list(by_name).index(array.name)


def test_numbers_are_written_as_sbatch_reads_them() -> None:
    assert slurm.Array("x", dict.fromkeys([0, 1, 2, 5, 7, 8], Task(SPECS[0]))).numbers == "0-2,5,7-8"


def test_a_script_names_what_the_user_gave_and_is_valid_bash(tmp_path: Path) -> None:
    order = Order(tmp_path / "results of 'mine', 100 %")
    given = {"partition": "gpu", "time": "8:00:00", "array": "%16", "exclusive": "", "signal": "B:USR1@300"}
    script = slurm.write_script(slurm.Array("first0", {0: Task(SPECS[0], 2), 2: Task(SPECS[1], 1)}), order, given)
    text = script.read_text()
    for line in ("--partition=gpu", "--time=8:00:00", "--array=0,2%16", "--exclusive", "--signal=B:USR1@300"):
        assert f"\n#SBATCH {line}\n" in text
    assert "#SBATCH --requeue\n" in text
    assert script.with_suffix(".keys").read_text().splitlines() == [
        f"{SPECS[0].key}.first2",
        "",
        f"{SPECS[1].key}.first1",
    ]
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


# On a real one


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if lacking := slurm_cluster.missing():
        pytest.fail(f"{lacking} not found; `make slurm-test` installs what is needed")
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as variables:
        yield variables


@pytest.fixture(scope="module")
def environment(nodes: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**prepared(tmp_path_factory.mktemp("data")), **{name: nodes[name] for name in ("SLURM_CONF", "PATH")}}


def ask(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def states(environment: dict[str, str]) -> list[str]:
    return ask(environment, "squeue", "-h", "-r", "-o", "%T").split()


def submitted(out: Path) -> dict[str, str]:
    (file,) = out.glob("jobs/*/submitted.json")
    ids: dict[str, str] = json.loads(file.read_text())
    return ids


def log(out: Path) -> str:
    files = list(out.glob("logs/*.log"))
    return files[0].read_text() if files else ""


def shown(environment: dict[str, str], job: str) -> str:
    return ask(environment, "scontrol", "show", "job", job)


def long(out: Path, environment: dict[str, str], *settings: str) -> str:
    """A training that takes hours; its job."""
    words = ["-m", "supervised", "-f", "10", "-d", "phantom", "--budget", "smoke:1000000", "-o", "recipe.width=4"]
    words += ["--device", "cpu", "--workers", "0"]
    done = command("run", *words, "--out", out, "--on", "slurm", *settings, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return f"{submitted(out)['alone0']}_0"


# The jobs' script, with a program in place of ours that starts at once


STAND_IN = """#!/bin/bash
# As `run --out OUT --job ID --only KEY`: it works until it is told to stop, and then ends as ours does.
out=$3 job=$5 key=$7
trap '[ -e "$out/saves" ] && touch "$out/jobs/$job/$key.saved"; echo stopped; exit 143' TERM
echo "begin $key" >> "$out/begun"
case $(cat "$out/how") in
  fails) exit 1 ;;
  works) echo "end $key" >> "$out/begun"; exit 0 ;;
esac
while true; do sleep 0.1; done
"""


@dataclass
class Jobs:
    """Tasks on the two nodes, of which nothing is real but SLURM and the script."""

    out: Path
    variables: dict[str, str]
    patch: pytest.MonkeyPatch

    def submit(self, tasks: list[Task], how: str, **settings: str) -> dict[str, str]:
        program = self.out / "program"
        program.write_text(STAND_IN)
        program.chmod(0o755)
        (self.out / "how").write_text(how)
        for name in ("SLURM_CONF", "PATH"):
            self.patch.setenv(name, self.variables[name])
        self.patch.setattr(slurm, "_program", lambda: [str(program)])
        order = Order(self.out)
        order.write()
        slurm.run(tasks, order, {"time": "30", **settings}, lambda line: None)
        return submitted(self.out)

    def begun(self) -> list[str]:
        file = self.out / "begun"
        return file.read_text().splitlines() if file.exists() else []

    def over(self) -> None:
        until(lambda: not states(self.variables), self.out)


@pytest.fixture
def jobs(nodes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    return Jobs(tmp_path, nodes, monkeypatch)


def shared(count: int) -> list[Task]:
    return linked([Task(spec, phases=("a",)) for spec in SPECS[:count]])


@pytest.mark.slurm
def test_jobs_wait_for_what_they_share(jobs: Jobs) -> None:
    tasks = [*shared(3), Task(SPECS[5])]
    jobs.submit(tasks, "works")
    jobs.over()
    begun = jobs.begun()
    assert sorted(line for line in begun if line.startswith("begin")) == sorted(f"begin {task.name}" for task in tasks)
    (first,) = (task.name for task in tasks if task.first)
    for task in tasks:
        if task.after:
            assert begun.index(f"end {first}") < begun.index(f"begin {task.name}")


@pytest.mark.slurm
def test_jobs_behind_a_beginning_that_fails_run_too(jobs: Jobs) -> None:
    ids = jobs.submit(shared(2), "fails")
    jobs.over()
    assert len(jobs.begun()) == 3
    assert "JobState=COMPLETED" in shown(jobs.variables, f"{ids['first0']}_0")
    assert "ExitCode=1:0" in shown(jobs.variables, f"{ids['behind0-0']}_0")


@pytest.mark.slurm
@pytest.mark.parametrize("saves", [True, False])
def test_before_the_limit_a_job_queues_again_only_if_it_saved_something(jobs: Jobs, saves: bool) -> None:
    """Twice, if it does; without an end it would do so as often as the limit comes."""
    if saves:
        (jobs.out / "saves").touch()
    job = f"{jobs.submit([Task(SPECS[0])], 'waits')['alone0']}_0"
    for number in range(1, 3 if saves else 2):
        until(lambda: len(jobs.begun()) == number, jobs.out)  # noqa: B023 - asked for within the turn
        ask(jobs.variables, "scancel", "--batch", "--signal=USR1", job)
        if saves:
            until(lambda: f"Restarts={number}" in shown(jobs.variables, job), jobs.out)  # noqa: B023
            until(lambda: "JobState=PENDING" in shown(jobs.variables, job), jobs.out)
            ask(jobs.variables, "scontrol", "update", f"jobid={job}", "StartTime=now")
    if saves:
        until(lambda: len(jobs.begun()) == 3, jobs.out)
        assert "start 3" in log(jobs.out)
        ask(jobs.variables, "scancel", job)
        jobs.over()
        assert "JobState=CANCELLED" in shown(jobs.variables, job)
    else:
        jobs.over()
        assert len(jobs.begun()) == 1
        assert "ExitCode=1:0" in shown(jobs.variables, job)
        assert "Restarts=0" in shown(jobs.variables, job)
        assert "the time limit (30) is shorter than start-up and one checkpoint; raise it" in log(jobs.out)


@pytest.mark.slurm
def test_a_job_that_is_cancelled_is_told_and_stays_away(jobs: Jobs) -> None:
    """Although it saved: whoever cancels does not want it again."""
    (jobs.out / "saves").touch()
    job = f"{jobs.submit([Task(SPECS[0])], 'waits')['alone0']}_0"
    until(jobs.begun, jobs.out)
    ask(jobs.variables, "scancel", job)
    jobs.over()
    assert "stopped" in log(jobs.out)
    assert list(jobs.out.glob("jobs/*/*.saved"))
    assert "JobState=CANCELLED" in shown(jobs.variables, job)


@pytest.mark.slurm
def test_the_real_limit_is_heard_before_it_comes(jobs: Jobs) -> None:
    (jobs.out / "saves").touch()
    ids = jobs.submit([Task(SPECS[0])], "waits", time="1", signal="B:USR1@40")
    job = f"{ids['alone0']}_0"
    until(lambda: "Restarts=1" in shown(jobs.variables, job), jobs.out)
    assert "stopped" in log(jobs.out)
    ask(jobs.variables, "scancel", job)
    jobs.over()


# The program itself


@pytest.mark.slurm
def test_arrays_make_what_one_process_makes(environment: dict[str, str], tmp_path: Path) -> None:
    out, plain = tmp_path / "cluster", tmp_path / "plain"
    done = command("run", *GRID, "--out", out, "--on", "slurm", "--slurm", "time=20", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(submitted(out)) == {"first0", "behind0-0", "behind0-1", "alone0"}
    told = command("status", out, env=environment)
    assert "waiting for the beginning of" in told.stdout, told.stdout + told.stderr
    alone = command("run", *GRID, "--out", plain, env=environment)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    until(lambda: not states(environment), out)
    assert facts(out) == facts(plain)
    assert len(list(out.glob("logs/*.log"))) == 4
    for file in (out / "records").rglob("*.json"):
        record = json.loads(file.read_text())
        assert record["phases"][0]["reused"] == (record["spec"]["method"] != "supervised")
    assert "3 of 3 runs are done" in command("status", out, env=environment).stdout
    again = command("run", *GRID, "--out", out, "--on", "slurm", env=environment)
    assert "3 of 3 runs are done already" in again.stdout
    assert not states(environment)


@pytest.mark.slurm
def test_before_the_limit_it_saves_and_goes_on_from_its_step(environment: dict[str, str], tmp_path: Path) -> None:
    """The signal is the one that SLURM sends to the batch script before the limit."""
    job = long(tmp_path, environment, "--slurm", "time=30")
    until(lambda: re.search(r"M0 +[1-9]\d*/1000000 steps", log(tmp_path)), tmp_path)
    ask(environment, "scancel", "--batch", "--signal=USR1", job)
    until(lambda: "Restarts=1" in shown(environment, job), tmp_path)
    until(lambda: "PENDING" in shown(environment, job), tmp_path)
    step = int(re.search(r"stopped in phase 'M0' at step (\d+) of", log(tmp_path))[1])  # type: ignore[index]
    ask(environment, "scontrol", "update", f"jobid={job}", "StartTime=now")
    until(lambda: "start 2" in log(tmp_path), tmp_path)
    second = re.compile(r"start 2.*?M0 +(\d+)/1000000 steps", re.DOTALL)
    until(lambda: second.search(log(tmp_path)), tmp_path)
    assert int(second.search(log(tmp_path))[1]) == step  # type: ignore[index]
    ask(environment, "scancel", job)
    until(lambda: not states(environment), tmp_path)


@pytest.mark.slurm
def test_a_limit_below_the_start_up_time_is_an_error_and_no_circle(environment: dict[str, str], tmp_path: Path) -> None:
    job = long(tmp_path, environment, "--slurm", "time=30")
    until(lambda: "start 1" in log(tmp_path), tmp_path)
    ask(environment, "scancel", "--batch", "--signal=USR1", job)
    until(lambda: "JobState=FAILED" in shown(environment, job), tmp_path)
    assert "ExitCode=1:0" in shown(environment, job)
    assert "Restarts=0" in shown(environment, job)
    assert "the time limit (30) is shorter than start-up and one checkpoint; raise it" in log(tmp_path)


@pytest.mark.slurm
def test_a_job_that_is_cancelled_saves_and_stays_away(environment: dict[str, str], tmp_path: Path) -> None:
    job = long(tmp_path, environment, "--slurm", "time=30")
    until(lambda: re.search(r"M0 +[1-9]\d*/1000000 steps", log(tmp_path)), tmp_path)
    ask(environment, "scancel", job)
    until(lambda: not states(environment), tmp_path)
    assert "JobState=CANCELLED" in shown(environment, job)
    assert "stopped in phase 'M0' at step" in log(tmp_path)
    assert list(tmp_path.glob("stages/**/progress.pt"))


@pytest.mark.slurm
def test_behind_a_beginning_that_fails_the_runs_try_themselves(environment: dict[str, str], tmp_path: Path) -> None:
    words = [*GRID, "-o", "recipe.lr=1e38", "--out", tmp_path]
    done = command("run", *words, "--on", "slurm", "--slurm", "time=20", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: not states(environment), tmp_path)
    failures = list((tmp_path / "records").rglob("*.failed.json"))
    assert len(failures) == 3
    assert {json.loads(file.read_text())["phase"] for file in failures} == {"M0"}
    told = command("status", tmp_path, env=environment).stdout
    assert "3 failed" in told
