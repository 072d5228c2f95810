"""UniMatch V2 (Yang, Zhao, Zhao; TPAMI 2025, arXiv 2410.10777), on the planned network.

    student, teacher <- theta_0
    repeat for each step t of T:
        y, c     <- argmax, and where it is above the threshold, of softmax teacher(x_u)         # no gradient
        x_1, x_2 <- two strong views of x_u, each with boxes of another patch (so have their y and c)
        m        <- for each channel of the encoder's features 0 or 2; 1 for half of the patches
        loss     <- sup(student(x_l), y_l) + w * 1/2 * (ce(student_m(x_1), y) + ce(student_(2 - m)(x_2), y)), where c
        student, teacher <- as in mean teacher
    return teacher

student_m is the student whose features are multiplied by m: the two views share the channels between them
(complementary dropout), which takes the place of UniMatch's third view. The labels are an average's now.

The paper's results come with another network, a DINOv2 encoder and a DPT head with an optimiser of their own; this is
the method alone, on the network that all methods have here. The channels of each level of features are drawn for
themselves, as their numbers differ. The authors' code halves the whole loss, and takes the patch for the boxes from the
other end of the batch; here it is the neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.machine.sending import sent
from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.boxes import boxes, mixed
from atso_bench.benchmark.training.heads import main_head, rows
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, taught
from atso_bench.methods._losses import confident, where_confident
from atso_bench.methods._settings import Settings
from atso_bench.methods._views import BOX, changed_features


class UniMatchV2(Settings):
    """Predicts its average's labels on two strong views, each of which has the features that the other lacks."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"weight": 1, "threshold": 0.95, "ema_decay": 0.996}}

    ema_decay: float = Field(0.996, ge=0, lt=1, description="decay of the teacher's weights; paper 0.996")
    weight: float = Field(1, ge=0, description="w, not tuned here; paper 1")
    threshold: float = Field(0.95, ge=0, le=1, description="probability above which a label counts; paper 0.95")
    cutmix: float = Field(0.5, ge=0, le=1, description="share of patches with a box of another; paper 0.5")
    whole: float = Field(0.5, ge=0, le=1, description="share of patches whose features are left whole; paper 0.5")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the teacher."""

        def step(
            student: nn.Module, teacher: nn.Module, labelled: Labelled, unlabelled: Tensor, progress: float
        ) -> Terms:
            first, number, patch = len(labelled.image), len(unlabelled), unlabelled.shape[2:]
            with torch.no_grad():
                classes, sure = confident(main_head(teacher(unlabelled)), self.threshold)
            places = [boxes(number, patch, BOX, chance=self.cutmix, device=unlabelled.device) for _ in range(2)]
            views = [mixed(trainer.task.strong(unlabelled), inside) for inside in places]
            with complementary_dropout(student, first, number, self.whole):
                output = student(torch.cat([labelled.image, *views]))
            losses = [
                where_confident(own, mixed(classes, inside), mixed(sure, inside))
                for own, inside in zip(main_head(output)[first:].split(number), places, strict=True)
            ]
            return {
                "labelled": trainer.task.loss(rows(output, 0, first), labelled.label),
                "strong": self.weight * (losses[0] + losses[1]) / 2,
            }

        return taught(trainer, data, step, decay=self.ema_decay)


@contextmanager
def complementary_dropout(model: nn.Module, start: int, number: int, whole: float) -> Iterator[None]:
    """Within this, a forward pass shares the channels of the encoder's features between two halves of its batch.

    Samples ``start`` to ``start + number`` are one half, the ``number`` that follow are the other: a channel of a pair
    is doubled in one and 0 in the other. A share ``whole`` of the pairs keeps all.
    """
    kept = torch.randperm(number)[: int(number * whole)]

    def shared(feature: Tensor) -> Tensor:
        factors = 2 * torch.randint(0, 2, (number, feature.shape[1]), dtype=torch.uint8)  # on the CPU
        factors[kept] = 1
        one = sent(factors, feature.device).view(number, -1, *[1] * (feature.ndim - 2)).to(feature.dtype)
        return torch.cat([feature[:start], feature[start:] * torch.cat([one, 2 - one])])

    with changed_features(model, shared):
        yield
