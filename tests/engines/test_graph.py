"""The graph of a grid: each run once, no circle, and what several share before them."""

from __future__ import annotations

import json
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from grids import work
from hypothesis import given
from hypothesis import strategies as st
from toy import ToyDataset

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.engines import graph
from atso_bench.benchmark.engines.graph import Schedule, Task, linked, named
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import read_all

BUDGET = Budget.parse("14")
SPEC = RunSpec("toy", "supervised", "10", 0, BUDGET)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())


def specs(*methods: str, seeds: int = 1) -> list[RunSpec]:
    return grid.make_specs(["toy"], methods, ["10"], range(seeds), BUDGET, grid.Options({}, {}))


KEYS = st.lists(st.lists(st.sampled_from("abcd"), max_size=3).map(tuple), max_size=12)


@given(KEYS, st.data())
def test_each_run_is_there_once_behind_what_it_shares_and_there_is_no_circle(
    beginnings: list[tuple[str, ...]], data: st.DataObject
) -> None:
    seconds = st.one_of(st.none(), st.floats(0, 1e6))
    runs = [
        Task(replace(SPEC, seed=seed), phases=phases, seconds=data.draw(seconds))
        for seed, phases in enumerate(beginnings)
    ]
    found = linked(runs)
    assert sorted(task.name for task in found if not task.first) == sorted(run.name for run in runs)
    assert len({task.name for task in found}) == len(found)
    order = list(TopologicalSorter({task.name: task.after for task in found}).static_order())
    by_name = {task.name: task for task in found}
    for task in found:
        assert all(order.index(name) < order.index(task.name) for name in task.after)
        for name in task.after:
            assert task.phases[: by_name[name].first] == by_name[name].phases
    alone = [phases[0] for phases in beginnings if phases]
    shared = {key for key in alone if alone.count(key) > 1}
    assert sorted(task.phases[0] for task in found if task.first) == sorted(shared)


@given(KEYS, st.randoms())
def test_a_schedule_gives_every_task_once_whatever_ends_first(beginnings, random) -> None:  # type: ignore[no-untyped-def]
    found = linked([Task(replace(SPEC, seed=seed), phases=phases) for seed, phases in enumerate(beginnings)])
    schedule, ended, running, given_out = Schedule(found), set(), [], []
    while schedule.active:
        while following := schedule.next():
            task, _ = following
            assert set(task.after) <= ended
            running.append(task)
            given_out.append(task.name)
        task = running.pop(random.randrange(len(running)))
        ended.add(task.name)
        schedule.end(task)
    assert sorted(given_out) == sorted(task.name for task in found)
    assert schedule.left == 0


def test_what_another_command_has_comes_last_and_a_dead_ones_task_first() -> None:
    found = [Task(replace(SPEC, seed=seed)) for seed in range(3)]
    schedule = Schedule(found)
    first, second, third = (schedule.next() for _ in range(3))
    assert (first, second, third) == tuple((task, False) for task in found)
    schedule.later(found[0])
    schedule.again(found[2])
    assert schedule.next() == (found[2], False)
    assert schedule.next() == (found[0], True)
    assert schedule.next() is None


def test_methods_share_the_first_training_and_its_labels_where_they_are_the_same(toy: None) -> None:
    """ATSO and self-learning share M0 and its pseudo labels; supervised spends its budget on one training."""
    found = graph.tasks(specs("supervised", "self-learning", "atso", seeds=2))
    beginnings = [task for task in found if task.first]
    assert len(beginnings) == 2
    assert {task.shared for task in beginnings} == {2}
    behind = {task.spec.method for task in found if task.after}
    assert behind == {"self-learning", "atso"}
    assert found[: len(beginnings)] == beginnings


def test_a_beginning_leaves_what_the_runs_then_find(toy: None, tmp_path: Path) -> None:
    from grids import Order, local

    runs = specs("self-learning", "atso")
    found = graph.tasks(runs)
    beginning = found[0]
    assert local.work([beginning], Order(tmp_path), "cpu") == 0
    done = {file.parent.name for file in (tmp_path / "stages").rglob("phase.json")}
    assert len(done) == beginning.first == 2  # M0 and its labels, whose key M0's weights decide
    assert beginning.phases[0] in done
    assert not read_all(tmp_path)
    assert work(runs, tmp_path) == 0
    for record in read_all(tmp_path):
        assert {phase.key for phase in record.phases if phase.reused} >= done
    assert work(runs, tmp_path / "alone") == 0
    assert [each.summary for each in read_all(tmp_path)] == [each.summary for each in read_all(tmp_path / "alone")]


def test_the_longest_run_is_first_and_the_beginning_of_most_work(toy: None) -> None:
    runs = specs("supervised", "self-learning", "atso", seeds=2)
    seconds = {spec.key: 10.0 * number for number, spec in enumerate(runs)}
    found = graph.tasks(runs, seconds=seconds)
    assert [task.spec.seed for task in found if task.first] == [1, 0]
    whole = [task.seconds for task in found if not task.first]
    assert whole == sorted(whole, reverse=True)


def test_a_method_that_fails_is_alone_and_says_so_when_it_runs(toy: None) -> None:
    """Its budget has not one step for each training."""
    few = grid.make_specs(["toy"], ["atso", "self-learning"], ["10"], [0], Budget.parse("2"), grid.Options({}, {}))
    assert [(task.first, task.after) for task in graph.tasks(few)] == [(0, ())] * 2


@pytest.mark.parametrize(("text", "found"), [("abc123", ("abc123", 0)), ("abc123.first2", ("abc123", 2))])
def test_names_of_tasks_are_read(text: str, found: tuple[str, int]) -> None:
    assert named(text) == found


@pytest.mark.parametrize("text", ["", "../x", "abc.first", "abc.first0", "abc.firstx", "abc.1"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--only takes"):
        named(text)


def test_a_line_of_json_says_what_another_program_needs() -> None:
    task = Task(SPEC, after=("x",), seconds=1.23456, memory=5)
    (line,) = graph.lines([task], lambda task: ["atso-bench", "run", "--only", task.name])
    assert json.loads(line) == {
        "key": SPEC.key,
        "run": SPEC.title,
        "after": ["x"],
        "seconds": 1.235,
        "memory_bytes": 5,
        "device_memory_bytes": None,
        "command": ["atso-bench", "run", "--only", SPEC.key],
    }
