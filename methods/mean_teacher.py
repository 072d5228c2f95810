"""Mean teacher (Tarvainen and Valpola, NeurIPS 2017) for segmentation, with the input noise of UA-MT (Yu et al., 2019).

    student, teacher <- theta_0
    repeat for each step t of T:
        loss    <- sup(student(x_l), y_l) + w(t) * |softmax student(x_u) - softmax teacher(x_u + noise)|^2
        student <- student - lr * grad loss
        teacher <- a_t * teacher + (1 - a_t) * student,    a_t = min(1 - 1 / (t + 1), a)
    return teacher

Batches hold labelled and unlabelled patches in equal parts. The peers' code (SSL4MIS) has w = 0.1 with a ramp over the
whole run, which averages to a weight of 0.04. Ours was chosen on V of the embedded dataset (see CHANGELOG), and is the
same for all fractions and datasets.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, noisy, taught, together
from atso_bench.methods._losses import sigmoid_rampup, softmax_mse
from atso_bench.methods._settings import Settings


class MeanTeacher(Settings):
    """Agrees on unlabelled images with the moving average of its own weights."""

    groups = ("baselines", "consistency")
    presets: ClassVar[dict[str, dict[str, Any]]] = {"ssl4mis": {"weight": 0.1, "rampup": 1.0}}

    ema_decay: float = Field(0.99, ge=0, lt=1, description="a: decay of the teacher's weights; SSL4MIS, UA-MT")
    weight: float = Field(10, ge=0, description="final value of w; SSL4MIS 0.1, PixelSSL 1, TorchSemiSeg 100")
    rampup: float = Field(0.4, ge=0, le=1, description="share of training over which w rises; SSL4MIS 1")
    noise: float = Field(0.1, ge=0, description="standard deviation of the teacher's input noise; SSL4MIS, UA-MT")
    noise_clip: float = Field(0.2, ge=0, description="largest noise; SSL4MIS, UA-MT")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the teacher."""

        def step(
            student: nn.Module, teacher: nn.Module, labelled: Labelled, unlabelled: Tensor, progress: float
        ) -> Terms:
            output, own = together(student, labelled.image, unlabelled)
            with torch.no_grad():
                target = main_head(teacher(noisy(unlabelled, self.noise, self.noise_clip)))
            return {
                "labelled": trainer.task.loss(output, labelled.label),
                "consistency": self.weight
                * sigmoid_rampup(progress, self.rampup)
                * softmax_mse(main_head(own), target),
            }

        return taught(trainer, data, step, decay=self.ema_decay)
