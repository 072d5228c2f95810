"""Trainings that stand still: a method's own steps, with its data, made one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import volumes
from racing import Action

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.trainer import Method, Trainer
from atso_bench.benchmark.training.loop import Job, Training


class Standing(Trainer):
    """Makes a method's training ready and does not run it."""

    training: Training

    def carry_out(self, job: Job, key: str, ordinal: int) -> None:
        self.training = Training(self.means, job, ordinal)


def data(task: Any) -> TrainData:
    """S with its labels, and all other cases without."""
    labelled = volumes.labelled(task)
    others = tuple(case_id for case_id in task.images if case_id not in task.labels)
    return TrainData(labelled, Pool(others, task.images))


@contextmanager
def steps_of(
    method: Method, task: Any, folder: Path, device: torch.device, *, workers: int = 0
) -> Iterator[tuple[Training, Action]]:
    """The training of a method's first phase, and what makes its next step: batch, random numbers, loss log and all."""
    trainer = Standing(task, Budget.parse("standard"), 0, Stages(folder), device=device, workers=workers, method=method)
    method.fit(trainer, data(task))
    training = trainer.training
    training.job.model.train()
    with training._batches() as batches:
        yield training, lambda: training._one_step(next(batches))
