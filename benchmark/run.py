"""One run, from specification to record. Read this file first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atso_bench.benchmark import plugins, registry, split_notes, trained
from atso_bench.benchmark.machine.progress import Progress, patience
from atso_bench.benchmark.machine.timing import Stopwatch, process_bytes
from atso_bench.benchmark.scoring import metrics
from atso_bench.benchmark.scoring.diagnostics import Judge, diagnose
from atso_bench.benchmark.scoring.pictures import Album, ground_file, predictions_file
from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.splits import Split, make_split
from atso_bench.benchmark.store import environment, files, leases, record
from atso_bench.benchmark.store.record import Phase, Record
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Dataset, Pool, Task, TrainData
from atso_bench.benchmark.trainer import Method, Trainer, in_phase
from atso_bench.benchmark.training import curves, origin
from atso_bench.benchmark.training.curves import Curves
from atso_bench.benchmark.training.descent import steps_behind
from atso_bench.benchmark.training.execution import PLAIN, Execution, noticing
from atso_bench.benchmark.training.labels import finite
from atso_bench.benchmark.training.precision import precision
from atso_bench.benchmark.training.profiling import Profile, in_part, profile_path


@dataclass(frozen=True)
class Bench:
    """Where and how runs are made; nothing here changes a result beyond rounding.

    Attributes:
        results: the folder that holds ``records/``, ``asked/``, ``pictures/``, ``stages/`` and ``report/``.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        workers: processes that load and augment.
        progress: where progress is shown.
        fresh: the name of a command that began with ``--fresh``; phases of other commands are computed again.
        profile: write where the time of each run went.
        execution: how torch carries out the work.
        together: runs that share the device.
        tensorboard: write event files beside the losses.
    """

    results: Path
    device: str
    workers: int
    progress: Progress
    fresh: str = ""
    profile: bool = False
    execution: Execution = PLAIN
    together: int = 1
    tensorboard: bool = False

    @property
    def stages(self) -> Stages:
        return Stages(self.results / "stages", self.fresh)


@dataclass(frozen=True)
class Begun:
    """A run before its first phase."""

    dataset: Dataset
    method: Method
    split: Split
    trainer: Trainer
    data: TrainData
    profile: Profile

    @property
    def task(self) -> Task:
        return self.trainer.task


def begin(spec: RunSpec, bench: Bench, kind: type[Trainer] = Trainer) -> Begun:
    """Open the data, draw the split, and give the method a trainer of that kind."""
    profile = Profile(on=bench.profile)
    with profile.part("set-up"):
        dataset = registry.dataset(spec.dataset, spec.configuration)
        method = registry.method(spec.method, spec.options)
        split = make_split(dataset, spec)
        task = open_task(spec, dataset, split, (*split.labelled, *split.unlabelled))
    data = TrainData(Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images))
    trainer = kind(
        task,
        spec.budget,
        spec.seed,
        bench.stages,
        device=bench.device,
        workers=bench.workers,
        progress=bench.progress,
        profile=profile,
        execution=bench.execution,
        method=method,
        together=bench.together,
        averaging=bool(split.validation),
        curves=Curves(curves_folder(bench.results, spec), tensorboard=bench.tensorboard),
    )
    return Begun(dataset, method, split, trainer, data, profile)


def execute(spec: RunSpec, bench: Bench) -> Record:
    """Train, predict the test set once, open the true labels, score, and write the record."""
    with patience(bench.progress, "opening the data and setting up"):
        begun = begin(spec, bench)
    dataset, method, split, trainer, profile = begun.dataset, begun.method, begun.split, begun.trainer, begun.profile
    task = begun.task
    _sweep(spec, dataset, split, bench.results)

    model = method.fit(trainer, begun.data)
    trained.keep(model_file(bench.results, spec), task)
    bench.stages.save(model_file(bench.results, spec), model.state_dict())
    examine = Examination(spec, dataset, split, bench, profile)
    pictures = Album(bench.results, spec.key, dataset.identity, scored_cases(spec, split), dataset.picture)
    with in_phase("evaluation"), pictures as album:
        cases, summary, evaluation = examine.score(model, scored_cases(spec, split), album)
    phases = [*trainer.phases, evaluation]
    with in_phase("student and average on the validation set"):
        known = {id(model): summary} if spec.scored == "validation" else {}
        beside = {"result": model, **trainer.student_and_average(model)} if split.validation else {}
        on_validation = examine.on_validation(beside, task.metric.name, known)
    if unsure := sorted({operation for phase in phases for operation in phase.nondeterministic}):
        trainer.warn(
            f"torch has no deterministic algorithm here for {', '.join(unsure)}: the same run may give other weights"
        )
    judge = Judge(task.classes, task.metric, dataset.hidden_label, frozenset((*dataset.pool, *dataset.test)))
    with in_phase("diagnostics"), profile.part("diagnostics"):
        diagnostics = diagnose(trainer.observations, judge)

    odd = split_notes.of_fraction(spec, split, (*dataset.pool, *dataset.test))
    result = Record(
        spec=spec,
        track=task.track,
        metric=task.metric.name,
        score=summary["metrics"][task.metric.name]["mean"],
        classes=list(task.metric.scored(task.classes)),
        palette={name: list(colour) for name, colour in task.palette.items()},
        cases=cases,
        summary=summary,
        metrics_version=metrics.VERSION,
        split=split.to_json(),
        pool_size=len({*split.labelled, *split.unlabelled} & {*dataset.pool, *dataset.test}),
        data=dataset.identity,
        phases=phases,
        spent_steps=trainer.spent,
        line_steps=steps_behind(model),
        teacher_patches=trainer.teacher_patches,
        on_validation=on_validation,
        recipe={**asdict(task.recipe), **task.details},
        options=method.model_dump(),
        code=origin.code(type(method)),
        diagnostics=diagnostics,
        warnings=[*map(environment.discreet, (*dataset.caveats, *odd, *trainer.warnings, *album.notes))],
        environment={
            **environment.current(),
            "device": bench.device,
            "together": bench.together,
            "workers": bench.workers,
            "precision": precision(trainer.device),
            **asdict(bench.execution),
            "nondeterministic": unsure,
            "fresh": bench.fresh,
            **({"plugins": brought} if (brought := plugins.used(type(method), type(dataset))) else {}),
        },
    )
    leases.confirm(leases.of_run(bench.results, spec.key))
    result.write(bench.results)
    if bench.profile:
        path = profile.write(bench.results, spec, bench.device)
        bench.progress.note("\n".join([*profile.lines(), f"    see {path}"]))
    return result


def _sweep(spec: RunSpec, dataset: Dataset, split: Split, results: Path) -> None:
    """Remove halves of files that an earlier process left when it was killed in this run."""
    model, losses = model_file(results, spec), curves_folder(results, spec) / curves.FILE
    own = (results / "records" / spec.path, profile_path(results, spec), model, model.with_suffix(".json"), losses)
    files.sweep(*own, record.failure_path(results, spec), predictions_file(results, spec.key, dataset.identity))
    files.sweep(ground_file(results, dataset.identity, scored_cases(spec, split)), older=86400)  # of other runs too


def open_task(spec: RunSpec, dataset: Dataset, split: Split, visible: Sequence[str]) -> Task:
    """The task that S allows, opened for the images of ``visible``."""
    return dataset.task(split.labelled, visible, spec.budget.own, spec.recipe)


def scored_cases(spec: RunSpec, split: Split) -> tuple[str, ...]:
    """The test set, or the validation set when tuning."""
    return split.test if spec.scored == "test" else split.validation


@dataclass(frozen=True)
class Examination:
    """Opens true labels: nothing else of a run may, but the diagnostics. Predictions are in the original geometry."""

    spec: RunSpec
    dataset: Dataset
    split: Split
    bench: Bench
    profile: Profile

    def score(
        self, model: nn.Module, part: Sequence[str], album: Album | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], Phase]:
        """Predict the cases of ``part``, once, and compare with the true labels: scores by case and their summary."""
        dataset, bench, profile = self.dataset, self.bench, self.profile
        device = torch.device(bench.device)
        with profile.part("set-up"):
            exam = open_task(self.spec, dataset, self.split, part)
        clock, times = Stopwatch(device), profile.timeline(device)
        scores = exam.metric.scorer(exam.classes)
        with noticing() as unsure, bench.progress.phase("evaluation", len(part), exam.metric.cases) as bar:
            for case_id in part:
                with clock.running():
                    with times.part("prediction"):
                        image = exam.images[case_id]
                        slabs = exam.slabs(model, image, device, mirror=exam.recipe.mirror)
                    with times.part("restoring"):
                        prediction = exam.restore(image, finite(in_part(times, "prediction", slabs), case_id))
                with times.part("scoring"):
                    reference = dataset.reference(case_id)
                    scores.add(case_id, prediction, reference)
                if album is not None:
                    with times.part("pictures"):
                        album.add(case_id, prediction, reference)
                bar.advance(1)
            with times.part("scoring"):
                summary = scores.summary()
            parts = times.close()
        phase = Phase(
            "evaluation",
            "evaluate",
            clock.seconds,
            samples=len(part),
            device_bytes=clock.device_bytes,
            process_bytes=process_bytes(),
            joules=clock.joules,
            cpu_seconds=clock.cpu_seconds,
            nondeterministic=unsure,
        )
        profile.add(phase, parts)
        return scores.cases, summary, phase

    def on_validation(
        self, models: Mapping[str, nn.Module], metric: str, known: Mapping[int, dict[str, Any]]
    ) -> dict[str, float]:
        """The headline of each model on the validation set; ``known`` has summaries by the identity of a model."""
        found = dict(known)
        for model in models.values():
            if id(model) not in found:
                found[id(model)] = self.score(model, self.split.validation)[1]
        return {name: found[id(model)]["metrics"][metric]["mean"] for name, model in models.items()}


def curves_folder(results: Path, spec: RunSpec) -> Path:
    """Where the losses of a run are written while it goes on."""
    return (results / curves.FOLDER / spec.path).with_suffix("")


def model_file(results: Path, spec: RunSpec) -> Path:
    """Where the weights of a run's final model lie."""
    return results / "stages" / "models" / f"{spec.key}.pt"
