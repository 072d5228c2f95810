"""What a grid will take: each method rehearses its phases, a little of each kind is timed, the rest is arithmetic."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from atso_bench.benchmark import registry
from atso_bench.benchmark.done import Index, remembered
from atso_bench.benchmark.engines.task import settle
from atso_bench.benchmark.forecast import probes, unlearnt
from atso_bench.benchmark.forecast.probes import Probes
from atso_bench.benchmark.machine.timing import process_bytes
from atso_bench.benchmark.run import open_task, scored_cases
from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.packs import DamagedError, PseudoLabels
from atso_bench.benchmark.store.record import Phase
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Dataset, Pool, Task, TrainData
from atso_bench.benchmark.trainer import Method, Trainer
from atso_bench.benchmark.training import loop
from atso_bench.benchmark.training.labels import Style
from atso_bench.benchmark.training.loop import Job, Training


@dataclass(frozen=True)
class Forecast:
    """What one run will take.

    Attributes:
        spec: the run.
        done: its record exists.
        trainings: number of trainings.
        steps: optimiser steps.
        cases: cases to be labelled by teachers.
        seconds: by key of the phase, so that a phase that several runs share is counted once; without what is in the
            stage store already.
        stored: phases that are in the stage store, with the seconds that they took.
        device_bytes: peak memory of the device; None on a CPU.
        process_bytes: peak resident memory of the process, as the record will have it; loaders have their own.
        beginning: keys of the phases before the second training, which other runs may share.
        training: seconds of all trainings that are not in the stage store.
        labelling: those of the pseudo-labelling that trainings learn from.
    """

    spec: RunSpec
    done: bool
    trainings: int = 0
    steps: int = 0
    cases: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)
    device_bytes: int | None = None
    process_bytes: int = 0
    beginning: tuple[str, ...] = ()
    training: float = 0.0
    labelling: float = 0.0

    def facts(self) -> dict[str, Any]:
        """For other programs: times in seconds, memory in bytes."""
        spec = self.spec
        return {
            "key": spec.key,
            "run": spec.title,
            **{name: getattr(spec, name) for name in ("dataset", "method", "fraction", "seed", "options")},
            "done": self.done,
            "seconds": sum(self.seconds.values()),
            "stored_seconds": sum(self.stored.values()),
            "phases": self.seconds,
            **{name: getattr(self, name) for name in ("trainings", "steps", "cases", "device_bytes", "process_bytes")},
        }


def forecast(
    specs: Sequence[RunSpec], results: Path, device: str, workers: int, threads: int = 1
) -> Iterator[Forecast]:
    """Foretell every run; probes of a kind are made once for the whole grid, with the threads that a run has."""
    settle(device, threads)
    measured, identity = Probes(torch.device(device)), remembered()
    opened = functools.cache(_opened)  # one look at all files for the grid; a run has its own
    index = Index(results, "", identity)
    for spec in specs:
        if index.seconds(spec) is not None:
            yield Forecast(spec, done=True)
        else:
            yield _forecast(spec, *opened(spec.dataset, spec.configuration), results, device, workers, measured)


def fitting(device: torch.device, peak: int) -> int:
    """How many runs with this peak memory (bytes) the GPU holds at once; a process takes some beside its tensors."""
    whole = torch.cuda.get_device_properties(device).total_memory
    return max(1, int(_USABLE * whole / (_FRAGMENTED * peak + _CONTEXT)))


_USABLE, _FRAGMENTED, _CONTEXT = 0.95, 1.2, 600 << 20


def _opened(name: str, configuration: str) -> tuple[Dataset, float]:
    """A dataset whose files have been looked at, and the seconds that took."""
    began = time.perf_counter()
    dataset = registry.dataset(name, configuration)
    dataset.identity  # noqa: B018
    return dataset, time.perf_counter() - began


def _forecast(
    spec: RunSpec, dataset: Dataset, opening: float, results: Path, device: str, workers: int, measured: Probes
) -> Forecast:
    began, before = time.perf_counter(), measured.seconds
    measured.peak = 0
    split = make_split(dataset, spec)
    task = open_task(spec, dataset, split, (*split.labelled, *split.unlabelled))
    data = TrainData(Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images))
    part = scored_cases(spec, split)
    with TemporaryDirectory() as folder:
        method = registry.method(spec.method, spec.options)
        rehearsal = _Rehearsal(task, spec, method, Path(folder), Stages(results / "stages"), device, workers, measured)
        model = method.fit(rehearsal, data)
        exam = open_task(spec, dataset, split, part)
        kind = [*rehearsal.kind, "evaluate", _size(model), spec.scored]
        where = rehearsal.device
        each = measured.once(kind, lambda: probes.evaluation(measured, task, dataset, model, exam, where))
        beside = 1 if spec.scored == "validation" else 2  # the network and its average, one of which is the result
        scored = len(part) + beside * len(split.validation)
        seconds = {**rehearsal.seconds, f"evaluate {spec.key}": each * scored}
        if rehearsal.compared:
            case = measured.once([*rehearsal.kind, "diagnose"], lambda: probes.diagnosis(task, dataset))
            seconds[f"diagnose {spec.key}"] = case * rehearsal.compared
    # the rehearsal itself: importing libraries, opening the data, building networks, as a run does
    seconds[f"start {spec.key}"] = opening + time.perf_counter() - began - (measured.seconds - before)
    return Forecast(
        spec,
        done=False,
        trainings=rehearsal.trainings,
        steps=rehearsal.spent,
        cases=rehearsal.cases,
        seconds=seconds,
        stored=rehearsal.stored,
        device_bytes=measured.peak if where.type == "cuda" else None,
        process_bytes=process_bytes(),
        beginning=tuple(rehearsal.beginning),
        training=rehearsal.training,
        labelling=rehearsal.labelling,
    )


class _Rehearsal(Trainer):
    """A trainer that goes through a method's phases, times a little of each kind, and does not learn.

    Phases that are in the store are taken from there, so that those that follow them have their true keys too. A model
    that would have been learnt here has a name instead: the key of its phase.
    """

    def __init__(
        self,
        task: Task,
        spec: RunSpec,
        method: Method,
        folder: Path,
        store: Stages,
        device: str,
        workers: int,
        measured: Probes,
    ) -> None:
        super().__init__(
            task,
            spec.budget,
            spec.seed,
            Stages(folder),
            device=device,
            workers=workers,
            method=method,
            weights=unlearnt.weights,
        )
        self.kind = [spec.dataset, spec.configuration, spec.budget.name, spec.recipe]
        self.folder, self.store, self.measured = folder, store, measured
        self.seconds: dict[str, float] = {}
        self.stored: dict[str, float] = {}
        self.cases = 0
        self.training = self.labelling = 0.0
        self.beginning: list[str] = []

    def carry_out(self, job: Job, key: str, ordinal: int) -> None:
        self.beginning += [key] * (ordinal == 0)
        folder = self.store.folder(key)
        with contextlib.suppress(DamagedError):
            if found := self.store.finished(folder):
                job.load(self.store.learnt(folder))
                self.stored[key] = found.seconds
                return
        whose = self.keys.whose(job)
        # the trainings of a method's own may have several losses; which phases came before costs a step nothing
        kind = [*self.kind, {**whose, "seen": ordinal if "seen" in whose else None}, sorted(job.pools)]
        probed = replace(job, steps=loop.PROBED)
        cost = self.measured.once(
            kind, lambda: probes.training(self.measured, lambda: Training(self.means, probed, ordinal), self.folder)
        )
        self.seconds[key] = cost.of(job.steps - self.store.steps_done(folder))
        self.training += self.seconds[key]
        unlearnt.name(key, *job.models)

    def label(self, model: nn.Module, pool: Pool, begun: Phase, style: Style) -> PseudoLabels:
        key = begun.key
        self.beginning += [key] * (self.trainings == 1)
        self.cases += len(pool.ids)
        folder = self.store.folder(key)
        labels, *_ = self.store.read_labels(folder)
        with contextlib.suppress(DamagedError):
            if (found := self.store.finished(folder)) and set(pool.ids) <= set(labels):
                self.stored[key] = found.seconds
                return PseudoLabels(labels)
        probe = [*self.kind, _size(model), style.facts]
        case = self.measured.once(
            [*probe, "label"],
            lambda: probes.labelling(self.measured, self.task, model, pool, self.device, style),
        )
        case += self.measured.once(
            [*probe, "write"], lambda: probes.writing(self.task, tuple(self.task.labels), self.folder, soft=style.soft)
        )
        self.seconds[key] = (len(pool.ids) - len(labels)) * case
        self.labelling += self.seconds[key] if begun.kind == "predict" else 0.0
        return unlearnt.Blank(pool.ids, pool.images, len(self.task.classes) if style.soft else 0, key)

    @property
    def compared(self) -> int:
        """Cases that the diagnostics compare."""
        return sum(len(seen.after) + (number == 0) * len(seen.before) for number, seen in enumerate(self.observations))


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
