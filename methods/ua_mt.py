"""UA-MT, uncertainty-aware mean teacher (Yu, Wang, Li, Fu, Heng; MICCAI 2019, arXiv 1907.07034).

    student, teacher <- theta_0
    repeat for each step t of T:
        p_k   <- softmax teacher(x_u + noise_k),  k = 0 .. K      # no gradient
        u     <- entropy of the mean of p_1 .. p_K
        sure  <- u < H(t),    H(t) from 3/4 to 1 of the largest entropy, log(classes)
        loss  <- sup(student(x_l), y_l) + w(t) * mean over sure voxels of |softmax student(x_u) - p_0|^2
        student, teacher <- as in mean teacher
    return teacher

With a threshold that no entropy reaches all voxels are sure, and this is mean teacher. The authors' code divides by
the two classes of its dataset and keeps log(2) for more (as does SSL4MIS in 2D); here both follow the number of
classes. Their teacher drops features out in its K passes; nnU-Net's networks have no dropout, so that the passes differ
by the noise alone.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, noisy, taught, together
from atso_bench.methods._losses import sigmoid_rampup
from atso_bench.methods._settings import Settings


class UncertaintyAwareMeanTeacher(Settings):
    """Agrees on unlabelled images with its moving average where that is certain."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"ssl4mis": {"weight": 0.1, "rampup": 1.0}}

    ema_decay: float = Field(0.99, ge=0, lt=1, description="decay of the teacher's weights; paper 0.99")
    weight: float = Field(10, ge=0, description="final value of w; paper and SSL4MIS 0.1")
    rampup: float = Field(0.4, ge=0, le=1, description="share of training over which w and H rise; paper 1")
    noise: float = Field(0.1, ge=0, description="standard deviation of the teacher's input noise; paper 0.1")
    noise_clip: float = Field(0.2, ge=0, description="largest noise; paper 0.2")
    passes: int = Field(8, ge=1, description="K: noisy passes that the uncertainty comes from; paper 8")
    threshold: float = Field(
        0.75, ge=0, description="H(0) as a share of the largest entropy; paper 0.75, 2: sure of all"
    )

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the teacher."""

        def step(
            student: nn.Module, teacher: nn.Module, labelled: Labelled, unlabelled: Tensor, progress: float
        ) -> Terms:
            output, own = together(student, labelled.image, unlabelled)
            ramp = sigmoid_rampup(progress, self.rampup)
            target, sure = self.judged(teacher, unlabelled, ramp)
            apart = (main_head(own).softmax(1) - target).square().mean(1)
            return {
                "labelled": trainer.task.loss(output, labelled.label),
                "consistency": self.weight * ramp * (apart * sure).sum() / sure.sum().clamp_min(1),
            }

        return taught(trainer, data, step, decay=self.ema_decay, passes=1 + self.passes)

    @torch.no_grad()
    def judged(self, teacher: nn.Module, image: Tensor, ramp: float) -> tuple[Tensor, Tensor]:
        """The teacher's probabilities ``(N, K, *patch)``, and where it is sure ``(N, *patch)``."""

        def once() -> Tensor:
            return main_head(teacher(noisy(image, self.noise, self.noise_clip))).float().softmax(1)

        target, mean = once(), torch.stack([once() for _ in range(self.passes)]).mean(0)
        share = self.threshold + max(0.0, 1 - self.threshold) * ramp
        uncertainty = -torch.special.xlogy(mean, mean).sum(1)
        return target, uncertainty < share * math.log(mean.shape[1])
