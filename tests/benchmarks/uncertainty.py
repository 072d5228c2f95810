"""UA-MT (Yu et al., MICCAI 2019) in our own loop, as an opponent: what its noisy passes of the teacher cost."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from atso_bench.benchmark.engine import Trainer
from atso_bench.benchmark.loop import Batch
from atso_bench.benchmark.losses import MovingAverage, main_head, rows, sigmoid_rampup
from atso_bench.benchmark.task import TrainData
from atso_bench.methods.mean_teacher import MeanTeacher

PASSES = 8


class UncertaintyAware(MeanTeacher):
    """The consistency counts where the passes agree; ``at_once`` of them are one batch."""

    at_once: int = 1

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        student, teacher = trainer.new_model(), trainer.new_model()
        teacher.requires_grad_(False).eval()
        average = MovingAverage(teacher, student)

        def step(batch: Batch, progress: float) -> Mapping[str, Tensor]:
            labelled, unlabelled = batch["labelled"], batch["unlabelled"].image
            n = len(labelled.image)
            output = student(torch.cat([labelled.image, unlabelled]))
            ramp = sigmoid_rampup(progress, self.rampup)
            with torch.no_grad():
                target = main_head(teacher(self.perturb(unlabelled))).softmax(1)
                certain = self.entropy(teacher, unlabelled) < (0.75 + 0.25 * ramp) * math.log(2)
            squared = (main_head(output)[n:].softmax(1) - target).square() * certain
            return {
                "labelled": trainer.task.loss(rows(output, 0, n), labelled.label),
                "consistency": self.weight * ramp * squared.sum() / (2 * certain.sum() + 1e-16),
            }

        pools = {"labelled": data.labelled, "unlabelled": data.unlabelled}
        trainer.train(
            student,
            step,
            pools,
            steps=trainer.budget.steps,
            phase="student and teacher",
            after=lambda done: average.update(min(1 - 1 / (done + 1), self.ema_decay)),
            also=(teacher,),
        )
        return teacher

    def entropy(self, teacher: nn.Module, image: Tensor) -> Tensor:
        """Of the mean over the passes, ``(N, 1, *patch)``."""
        repeated = image.repeat(self.at_once, *[1] * (image.ndim - 1))
        passes = [main_head(teacher(self.perturb(repeated))) for _ in range(PASSES // self.at_once)]
        mean = torch.cat(passes).softmax(1).unflatten(0, (PASSES, len(image))).mean(0)
        return -(mean * (mean + 1e-6).log()).sum(1, keepdim=True)
