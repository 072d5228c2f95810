"""The first phases of runs: their keys, found without learning, and the doing of no more than these."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

from torch import nn

from atso_bench.benchmark import registry
from atso_bench.benchmark.forecast import unlearnt
from atso_bench.benchmark.run import Bench, begin, open_task
from atso_bench.benchmark.spec import RunSpec, digest
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.packs import PseudoLabels
from atso_bench.benchmark.store.record import Phase
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Dataset, Pool, Task, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.execution import PLAIN, Execution
from atso_bench.benchmark.training.labels import Style
from atso_bench.benchmark.training.loop import Job


class _EnoughError(Exception):
    """What was wanted of a method is done."""


class Beginnings:
    """Finds the keys of runs' first phases; what several runs have in common is opened once."""

    def __init__(self, execution: Execution | None = None) -> None:
        self.execution = execution or PLAIN
        self._datasets: dict[tuple[str, str], Dataset] = {}
        self._tasks: dict[str, tuple[Task, TrainData]] = {}

    def of(self, spec: RunSpec) -> tuple[str, ...]:
        """Keys of the phases before the second training; none where the method fails, as the run itself will say.

        They tell which runs share phases. Those of another kind of device have other keys, which group alike.
        """
        try:
            task, data = self._opened(spec)
            method = registry.method(spec.method, spec.options)
            rehearsal = _Rehearsal(
                task,
                spec.budget,
                spec.seed,
                Stages(Path()),
                execution=self.execution,
                method=method,
                weights=unlearnt.weights,
            )
            with contextlib.suppress(_EnoughError):
                method.fit(rehearsal, data)
            return tuple(rehearsal.found)
        except Exception:
            return ()

    def _opened(self, spec: RunSpec) -> tuple[Task, TrainData]:
        where = spec.dataset, spec.configuration
        dataset = self._datasets.setdefault(where, registry.dataset(*where))
        split = make_split(dataset, spec)
        name = digest([*where, split.to_json(), spec.budget.own.facts, spec.recipe])
        if name not in self._tasks:
            task = open_task(spec, dataset, split, (*split.labelled, *split.unlabelled))
            data = TrainData(Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images))
            self._tasks = {name: (task, data)}  # runs of one cell follow each other
        return self._tasks[name]


class _Rehearsal(Trainer):
    """Notes the keys of phases up to the second training, and carries none of them out."""

    def carry_out(self, job: Job, key: str, ordinal: int) -> None:
        if ordinal:
            raise _EnoughError
        self.found.append(key)
        unlearnt.name(key, *job.models)

    def label(self, model: nn.Module, pool: Pool, begun: Phase, style: Style) -> PseudoLabels:
        self.found.append(begun.key)
        return unlearnt.Blank(pool.ids, pool.images, len(self.task.classes) if style.soft else 0, begun.key)

    @functools.cached_property
    def found(self) -> list[str]:
        return []


def do(spec: RunSpec, bench: Bench, phases: int) -> None:
    """Do the run's first phases, which other runs share, and nothing else."""

    class First(Trainer):
        def _note(self, phase: Phase, folder: Path) -> None:
            super()._note(phase, folder)
            if len(self.phases) == phases:
                raise _EnoughError

    begun = begin(spec, bench, First)
    with contextlib.suppress(_EnoughError):
        begun.method.fit(begun.trainer, begun.data)
