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

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from atso_bench.benchmark.engine import Trainer
from atso_bench.benchmark.loop import Batch
from atso_bench.benchmark.losses import MovingAverage, main_head, rows, sigmoid_rampup, softmax_mse
from atso_bench.benchmark.task import TrainData


class MeanTeacher(BaseModel):
    """Learns from S, and to agree on R with the moving average of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ema_decay: float = Field(0.99, ge=0, lt=1, description="a: decay of the teacher's weights; SSL4MIS, UA-MT")
    weight: float = Field(10, ge=0, description="final value of w; SSL4MIS 0.1, PixelSSL 1, TorchSemiSeg 100")
    rampup: float = Field(0.4, ge=0, le=1, description="share of training over which w rises; SSL4MIS 1")
    noise: float = Field(0.1, ge=0, description="standard deviation of the teacher's input noise; SSL4MIS, UA-MT")
    noise_clip: float = Field(0.2, ge=0, description="largest noise; SSL4MIS, UA-MT")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the teacher."""
        student, teacher = trainer.new_model(), trainer.new_model()
        teacher.requires_grad_(False).eval()
        average = MovingAverage(teacher, student)

        def step(batch: Batch, progress: float) -> Mapping[str, Tensor]:
            labelled, unlabelled = batch["labelled"], batch.get("unlabelled")
            if unlabelled is None:
                return {"labelled": trainer.task.loss(student(labelled.image), labelled.label)}
            n = len(labelled.image)
            output = student(torch.cat([labelled.image, unlabelled.image]))
            with torch.no_grad():
                target = main_head(teacher(self.perturb(unlabelled.image)))
            weight = self.weight * sigmoid_rampup(progress, self.rampup)
            return {
                "labelled": trainer.task.loss(rows(output, 0, n), labelled.label),
                "consistency": weight * softmax_mse(main_head(output)[n:], target),
            }

        trainer.train(
            student,
            step,
            {"labelled": data.labelled, "unlabelled": data.unlabelled},
            steps=trainer.budget.steps,
            phase="student and teacher",
            identity={"method": "mean-teacher", **self.model_dump()},
            after=lambda done: average.update(min(1 - 1 / (done + 1), self.ema_decay)),
            also=(teacher,),
            teacher_patches=max(1, trainer.task.recipe.batch // 2) if data.unlabelled.ids else 0,
        )
        return teacher

    def perturb(self, image: Tensor) -> Tensor:
        """Add clipped Gaussian noise, in units of the normalised image."""
        return image + (self.noise * torch.randn_like(image)).clamp(-self.noise_clip, self.noise_clip)
