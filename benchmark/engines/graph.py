"""The tasks of a grid, and which waits for which: a first training that several runs share is a task of its own.

So no run holds a device while it waits for another one's M0. Only a phase's key says what is shared, and only a method
knows its phases: each goes through them up to its second training, and learns nothing.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark.spec import RunSpec

if TYPE_CHECKING:
    from atso_bench.benchmark.training.execution import Execution

FIRST = ".first"
"""Between a run's key and the number of phases, in the name of a task that does no more than these."""


@dataclass(frozen=True)
class Task:
    """What one process does at a time.

    Attributes:
        spec: the run; for a shared beginning, one of those that share it.
        first: how many phases to do, which other runs share; 0 is the whole run.
        after: names of the tasks that must have ended before, well or not.
        seconds: that it may take; None where nothing is known.
        memory: bytes of the process; None where nothing is known.
        device_memory: bytes on the device.
        shared: by how many runs its phases are shared; 0 for a whole run.
        phases: keys of the run's beginning, which tell what is shared; behind a training they are not the store's.
    """

    spec: RunSpec
    first: int = 0
    after: tuple[str, ...] = ()
    seconds: float | None = None
    memory: int | None = None
    device_memory: int | None = None
    shared: int = 0
    phases: tuple[str, ...] = ()

    @functools.cached_property
    def name(self) -> str:
        """``KEY`` or ``KEY.firstN``: what ``run --only`` takes, and what a file may be called."""
        return self.spec.key + (f"{FIRST}{self.first}" if self.first else "")

    @property
    def title(self) -> str:
        if not self.first:
            return self.spec.title
        return f"the beginning of {self.spec.title}" + f", which {self.shared} runs share" * bool(self.shared)


def named(name: str) -> tuple[str, int]:
    """The run's key in a task's name, and the number of phases; 0 for the whole run.

    Raises:
        ValueError: if it is no task's name.
    """
    key, dot, phases = name.partition(FIRST)
    if not key.isalnum() or (dot and not (phases.isdecimal() and int(phases))):
        raise ValueError(f"--only takes a run's key, or KEY{FIRST}N for its first N phases, got {name!r}")
    return key, int(phases or 0)


def tasks(
    specs: Sequence[RunSpec], execution: Execution | None = None, seconds: Mapping[str, float] | None = None
) -> list[Task]:
    """The tasks of these runs: shared beginnings first, then the runs, of each kind the longest first.

    Args:
        specs: runs that are not done.
        execution: how they are carried out, which is in the keys of their phases.
        seconds: that a run takes, by its key, as far as it is known.
    """
    from atso_bench.benchmark.engines.beginning import Beginnings

    known = seconds or {}
    beginnings = Beginnings(execution)
    runs = [Task(spec, seconds=known.get(spec.key), phases=beginnings.of(spec)) for spec in specs]
    return linked(runs)


def linked(runs: Sequence[Task]) -> list[Task]:
    """The tasks of runs whose first phases are known."""
    sharing: dict[str, list[Task]] = {}
    for run in runs:
        sharing.setdefault(run.phases[0] if run.phases else f"alone {run.name}", []).append(run)
    beginnings, after = [], {}
    for members in sharing.values():
        if len(members) > 1:
            phases = _common([each.phases for each in members])
            first = Task(members[0].spec, len(phases), shared=len(members), phases=phases)
            beginnings.append(first)
            after.update({each.name: (first.name,) for each in members})
    longest = sorted(runs, key=lambda run: -(run.seconds or 0.0))
    behind = {first.name: sum(run.seconds or 1.0 for run in sharing[first.phases[0]]) for first in beginnings}
    beginnings.sort(key=lambda first: -behind[first.name])
    return [*beginnings, *(replace(run, after=after.get(run.name, ())) for run in longest)]


def _common(of_each: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    same = itertools.takewhile(lambda keys: len(set(keys)) == 1, zip(*of_each, strict=False))
    return tuple(keys[0] for keys in same)


class Schedule:
    """Which task comes next, for whoever has a free device."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = {task.name: task for task in tasks}
        self._order = {name: place for place, name in enumerate(self.tasks)}
        self._sorter = TopologicalSorter({task.name: task.after for task in tasks})
        self._sorter.prepare()
        self._ready: list[str] = []
        self._busy: list[str] = []
        self._ended: set[str] = set()

    @property
    def active(self) -> bool:
        """Whether some task has not ended."""
        return self._sorter.is_active()

    @property
    def left(self) -> int:
        """Runs that have not ended."""
        return sum(not task.first for name, task in self.tasks.items() if name not in self._ended)

    def next(self) -> tuple[Task, bool] | None:
        """A task that may begin, and whether it is to wait for another command's process that has it; or none now."""
        self._ready = sorted([*self._ready, *self._sorter.get_ready()], key=self._order.__getitem__)
        if self._ready:
            return self.tasks[self._ready.pop(0)], False
        if self._busy:
            return self.tasks[self._busy.pop(0)], True
        return None

    def end(self, task: Task) -> None:
        """It was done, or has failed; in either case others may begin."""
        self._sorter.done(task.name)
        self._ended.add(task.name)

    def again(self, task: Task) -> None:
        """Its process has died: the next one that is free goes on with it."""
        self._ready.insert(0, task.name)

    def later(self, task: Task) -> None:
        """A process of another command has it: it comes last."""
        self._busy.append(task.name)


def lines(tasks: Sequence[Task], command: Callable[[Task], list[str]]) -> list[str]:
    """A JSON object for each task, for other programs: see docs/scaling.md."""
    return [json.dumps(_described(task, command(task))) for task in tasks]


def _described(task: Task, command: list[str]) -> dict[str, Any]:
    return {
        "key": task.name,
        "run": task.title,
        "after": list(task.after),
        "seconds": None if task.seconds is None else round(task.seconds, 3),
        "memory_bytes": task.memory,
        "device_memory_bytes": task.device_memory,
        "command": command,
    }
