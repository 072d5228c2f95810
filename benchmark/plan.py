"""What a grid will take: each method rehearses its phases, a few real steps are timed, the rest is arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from atso_bench.benchmark import registry
from atso_bench.benchmark.engine import Trainer
from atso_bench.benchmark.frame_scores import scorer
from atso_bench.benchmark.grid import finished, settle
from atso_bench.benchmark.loop import Job, Training
from atso_bench.benchmark.run import open_task
from atso_bench.benchmark.spec import RunSpec, digest
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.stages import PseudoLabels, Stages, StoredLabel
from atso_bench.benchmark.task import Dataset, Image, Pool, Task, TrainData
from atso_bench.benchmark.timing import process_bytes

WARM_UP, TIMED = 3, 12


@dataclass(frozen=True)
class Forecast:
    """What one run will take.

    Attributes:
        spec: the run.
        done: its record exists.
        trainings: number of trainings.
        steps: optimiser steps.
        cases: cases to be labelled by teachers.
        seconds: by key of the phase, so that a phase that several runs share is counted once.
        device_bytes: peak memory of the device; None on a CPU.
        process_bytes: peak resident memory of this process.
    """

    spec: RunSpec
    done: bool
    trainings: int = 0
    steps: int = 0
    cases: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    device_bytes: int | None = None
    process_bytes: int = 0


def forecast(
    specs: Sequence[RunSpec], results: Path, device: str, workers: int, threads: int = 1
) -> Iterator[Forecast]:
    """Foretell every run; probes of a kind are made once for the whole grid, with the threads that a run has."""
    settle(device, threads)
    probes: dict[str, float] = {}
    for spec in specs:
        if finished(results, spec):
            yield Forecast(spec, done=True)
        else:
            yield _forecast(spec, device, workers, probes)


def _forecast(spec: RunSpec, device: str, workers: int, probes: dict[str, float]) -> Forecast:
    dataset: Dataset = registry.dataset(spec.dataset, spec.configuration)
    split = make_split(dataset, spec)
    task = open_task(spec, dataset, split, (*split.labelled, *split.unlabelled))
    data = TrainData(Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images))
    with TemporaryDirectory() as folder:
        rehearsal = _Rehearsal(task, spec, Stages(Path(folder)), device, workers, probes)
        model = registry.method(spec.method, spec.options).fit(rehearsal, data)
        examined = split.test if spec.scored == "test" else split.validation
        kind = digest(["evaluate", spec.dataset, spec.configuration, spec.budget.name, spec.recipe])
        if kind not in probes:
            probes[kind] = _examine(task, dataset, model, split.labelled[0], torch.device(device))
    peak = torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else None
    return Forecast(
        spec,
        done=False,
        trainings=rehearsal.trainings,
        steps=rehearsal.spent,
        cases=rehearsal.cases,
        seconds={**rehearsal.seconds, f"evaluate {spec.key}": probes[kind] * len(examined)},
        device_bytes=peak,
        process_bytes=process_bytes(),
    )


def _examine(task: Task, dataset: Dataset, model: nn.Module, case_id: str, device: torch.device) -> float:
    """Seconds to predict, restore and score one case."""

    def once() -> None:
        image = task.images[case_id]
        prediction = task.restore(image, task.predict(model, image, device, mirror=task.recipe.mirror))
        scorer(task.metric, task.classes).add(case_id, prediction, dataset.reference(case_id))

    once()
    return _seconds(once, device)


class _Rehearsal(Trainer):
    """A trainer that goes through a method's phases, times a few steps of each kind, and does not learn."""

    def __init__(
        self, task: Task, spec: RunSpec, stages: Stages, device: str, workers: int, probes: dict[str, float]
    ) -> None:
        super().__init__(task, spec.budget, spec.seed, stages, device=device, workers=workers)
        self.kind = [spec.dataset, spec.configuration, spec.budget.name, spec.recipe]
        self.probes = probes
        self.seconds: dict[str, float] = {}
        self.trainings = self.cases = 0

    def train(
        self,
        model: nn.Module,
        step: Any,
        pools: Mapping[str, Pool],
        *,
        steps: int,
        phase: str,
        identity: Mapping[str, Any],
        after: Callable[[int], None] = lambda step: None,
        also: Sequence[nn.Module] = (),
        teacher_patches: int = 0,
    ) -> nn.Module:
        self._spend(steps, phase)
        pools = {name: pool for name, pool in pools.items() if pool.ids}
        job = Job(model, step, pools, steps, phase, after, also)
        key = self._train_key(job, identity)
        kind = digest([*self.kind, dict(identity), sorted(pools)])
        if kind not in self.probes:
            training = Training(self.means, replace(job, steps=WARM_UP + TIMED), self._trainings)
            self.probes[kind] = training.probe(WARM_UP)
        self.seconds[key] = steps * self.probes[kind]
        self._trainings += 1
        self.trainings += 1
        _name(key, *job.models)
        return model

    def predict(
        self, model: nn.Module, pool: Pool, *, phase: str, soft: bool = False, kind: str = "predict"
    ) -> PseudoLabels:
        key = self._predict_key(model, pool, soft)
        probe = digest([*self.kind, "predict", self.task.recipe.mirror_pseudo])
        if probe not in self.probes:
            image = pool.images[pool.ids[0]]

            def once() -> None:
                self.task.predict(model, image, self.device, mirror=self.task.recipe.mirror_pseudo)

            once()
            self.probes[probe] = _seconds(once, self.device)
        self.seconds[key] = len(pool.ids) * self.probes[probe]
        self.cases += len(pool.ids)
        return _Blank(pool.ids, pool.images, len(self.task.classes) if soft else 0, key)

    def _weights(self, models: Sequence[nn.Module]) -> str:
        """By descent, since nothing is learnt here."""
        return digest([getattr(model, "_rehearsed", "initial") for model in models])


class _Blank(PseudoLabels):
    """Pseudo labels without a foreground."""

    def __init__(self, ids: Sequence[str], images: Mapping[str, Image], classes: int, key: str) -> None:
        super().__init__({case_id: StoredLabel(Path(), f"{key}/{case_id}") for case_id in ids})
        self.images, self.classes = images, classes

    def __getitem__(self, case_id: str) -> np.ndarray:
        shape = self.images[case_id].array.shape[1:]
        return np.zeros((self.classes, *shape), np.float16) if self.classes else np.zeros(shape, np.uint8)

    def __or__(self, newer: PseudoLabels) -> PseudoLabels:
        merged = _Blank((), self.images, self.classes, "")
        merged._files = {**self._files, **newer._files}
        return merged


def _name(key: str, *models: nn.Module) -> None:
    for number, model in enumerate(models):
        model._rehearsed = f"{key}/{number}"  # type: ignore[assignment]


def _seconds(action: Callable[[], None], device: torch.device) -> float:
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
