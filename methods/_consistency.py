"""Shared by the methods that learn from labelled and unlabelled images in the same step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.average import averaged
from atso_bench.benchmark.training.heads import rows
from atso_bench.benchmark.training.loop import Batch, Labelled, batch_shares

Terms = Mapping[str, Tensor]
Step = Callable[[Labelled, Tensor, float], Terms]
"""(labelled patches, unlabelled patches ``(N, C, *patch)``, progress in [0, 1)) -> loss terms."""
TaughtStep = Callable[[nn.Module, nn.Module, Labelled, Tensor, float], Terms]
"""The same with student and teacher before them."""


def learn(
    trainer: Trainer,
    data: TrainData,
    model: nn.Module,
    step: Step,
    *,
    alone: Callable[[Labelled], Terms] | None = None,
    phase: str = "S and R together",
    passes: int = 0,
    **more: Any,
) -> nn.Module:
    """Train ``model`` with the whole budget on batches of labelled and unlabelled patches.

    Args:
        trainer: spends the budget.
        data: S and R.
        model: what the optimiser changes.
        step: the loss.
        alone: the loss where R is empty; without it, the planned loss of ``model``.
        phase: a name for people.
        passes: passes without gradient through a teacher, for each unlabelled patch.
        more: for ``Trainer.train``.
    """

    def both(batch: Batch, progress: float) -> Terms:
        labelled, unlabelled = batch["labelled"], batch.get("unlabelled")
        if unlabelled is not None:
            return step(labelled, unlabelled.image, progress)
        if alone is not None:
            return alone(labelled)
        return {"labelled": trainer.task.loss(model(labelled.image), labelled.label)}

    pools = {"labelled": data.labelled, "unlabelled": data.unlabelled}
    share = batch_shares(trainer.task.recipe, list(pools))["unlabelled"] if data.unlabelled.ids else 0
    steps = trainer.budget.steps
    return trainer.train(model, both, pools, steps=steps, phase=phase, teacher_patches=passes * share, **more)


def taught(trainer: Trainer, data: TrainData, step: TaughtStep, *, decay: float, passes: int = 1) -> nn.Module:
    """Train a student beside its moving average, the teacher, and return the teacher (Tarvainen and Valpola, 2017)."""
    student = trainer.new_model()
    average = averaged(student, decay)
    teacher = average.teacher
    learn(
        trainer,
        data,
        student,
        lambda labelled, unlabelled, progress: step(student, teacher, labelled, unlabelled, progress),
        phase="student and teacher",
        passes=passes,
        after=average.after,
        also=(teacher,),
    )
    return teacher


def together(model: nn.Module, *images: Tensor) -> list[Any]:
    """The model's output for each batch of images, from one pass over all of them."""
    output, outputs, start = model(torch.cat(images)), [], 0
    for image in images:
        outputs.append(rows(output, start, start + len(image)))
        start += len(image)
    return outputs


def noisy(image: Tensor, deviation: float, clip: float) -> Tensor:
    """Add clipped Gaussian noise, in units of the normalised image."""
    return image + (deviation * torch.randn_like(image)).clamp(-clip, clip)
