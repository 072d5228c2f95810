"""CutMix-Seg (French, Laine, Aila, Mackiewicz, Finlayson; BMVC 2020, arXiv 1906.01916), on a mean teacher.

    student, teacher <- theta_0
    repeat for each step t of T:
        x_m  <- x_u, within a random box of half its size another patch of the batch
        p_m  <- softmax teacher(x_u), mixed in the same way       # no gradient
        c    <- share of the voxels in which the teacher's probability is above the threshold
        loss <- sup(student(x_l), y_l) + w(t) * c * |softmax student(x_m) - p_m|^2
        student, teacher <- as in mean teacher
    return teacher

PixelSSL's code, which the numbers are from, has weight 20 without a ramp, and one box of half the patch.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.boxes import boxes, mixed
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, taught, together
from atso_bench.methods._losses import confident, sigmoid_rampup
from atso_bench.methods._settings import Settings


class CutMix(Settings):
    """Predicts on mixed unlabelled images what its moving average predicts on each of them."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"pixelssl": {"weight": 20, "rampup": 0.0}}

    ema_decay: float = Field(0.99, ge=0, lt=1, description="decay of the teacher's weights; paper and PixelSSL 0.99")
    weight: float = Field(30, ge=0, description="final value of w; PixelSSL 20")
    rampup: float = Field(0, ge=0, le=1, description="share of training over which w rises; paper and PixelSSL 0")
    box: float = Field(0.5, gt=0, le=1, description="share of the patch that a box covers; paper 0.5")
    threshold: float = Field(0.97, ge=0, le=1, description="probability above which the teacher is sure; paper 0.97")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the teacher."""

        def step(
            student: nn.Module, teacher: nn.Module, labelled: Labelled, unlabelled: Tensor, progress: float
        ) -> Terms:
            inside = boxes(len(unlabelled), unlabelled.shape[2:], (self.box, self.box), device=unlabelled.device)
            output, own = together(student, labelled.image, mixed(unlabelled, inside))
            with torch.no_grad():
                logits = main_head(teacher(unlabelled))
                sure = confident(logits, self.threshold)[1].float().mean()
                target = mixed(logits.float().softmax(1), inside)
            apart = (main_head(own).softmax(1) - target).square().mean()
            weight = self.weight * sigmoid_rampup(progress, self.rampup)
            return {"labelled": trainer.task.loss(output, labelled.label), "consistency": weight * sure * apart}

        return taught(trainer, data, step, decay=self.ema_decay)
