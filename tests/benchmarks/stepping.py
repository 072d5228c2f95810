"""Trainings that stand still: a method's own steps, with its data, made one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import volumes
from racing import Action
from torch import nn

from atso_bench.benchmark.engine import Method, Trainer
from atso_bench.benchmark.loop import Job, Training
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.stages import Stages
from atso_bench.benchmark.task import Pool, TrainData


class Standing(Trainer):
    """Makes a method's training ready and does not run it."""

    training: Training

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
        self.training = Training(self.means, Job(model, step, pools, steps, phase, after, also), 0)
        return model


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
    trainer = Standing(task, Budget.parse("standard"), 0, Stages(folder), device=device, workers=workers)
    method.fit(trainer, data(task))
    training = trainer.training
    training.job.model.train()
    with training._batches() as batches:
        yield training, lambda: training._one_step(next(batches))


def often(action: Action, times: int) -> Action:
    def repeated() -> None:
        for _ in range(times):
            action()

    return repeated
