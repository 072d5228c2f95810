"""AugSeg (Zhao, Yang, Long, Pi, Zhou, Wang; CVPR 2023, arXiv 2212.04976).

    student, teacher <- theta_0
    repeat for each step t of T:
        p       <- softmax teacher(x_u)                                           # no gradient
        y, c    <- argmax p, and where max p is above the threshold
        trust   <- of each patch, mean of max p * (1 - entropy of p / log(classes))
        x_s     <- x_u after 1 to k random operations on its intensities
        donor   <- x_s; with probability 1 - trust, within a random box a labelled patch (so its y and c)
        x_m     <- x_s, within a random box the neighbour's donor (so y and c)
        loss    <- sup(student(x_l), y_l) + w * sum of c * ce(student(x_m), y) / number of voxels
        student, teacher <- as in mean teacher
    return teacher

Where the teacher knows little of a patch, what is known goes into it. Labelled boxes have the share 1 - Beta(8, 2) of
the patch, boxes of another patch 1 - Beta(4, 4), and true labels always count. The threshold is 0.95 on VOC, and there
is none on Cityscapes. The operations are in ``_operations.py``. The authors cut boxes off at the patch's edge; ours lie
within it.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.machine.sending import sent
from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, taught, together
from atso_bench.methods._losses import where_confident
from atso_bench.methods._mixtures import known, random_boxes, repeated
from atso_bench.methods._operations import operated
from atso_bench.methods._settings import Settings


class AugSeg(Settings):
    """Predicts on strongly augmented mixtures what its average predicts, with true labels where that is not sure."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "voc": {"ema_decay": 0.999, "threshold": 0.95},
        "cityscapes": {"ema_decay": 0.996, "threshold": 0.0},
    }

    ema_decay: float = Field(
        0.996, ge=0, lt=1, description="decay of the teacher's weights; Cityscapes 0.996, VOC 0.999"
    )
    weight: float = Field(1, ge=0, description="w, not tuned here; authors 1, and 2 with a ResNet-50 on Cityscapes")
    threshold: float = Field(
        0.95, ge=0, le=1, description="probability above which a label counts; VOC 0.95, Cityscapes 0"
    )
    operations: int = Field(3, ge=1, le=11, description="k: most operations on the intensities of a patch; authors 3")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the teacher."""

        def step(
            student: nn.Module, teacher: nn.Module, labelled: Labelled, unlabelled: Tensor, progress: float
        ) -> Terms:
            classes, sure, trust = self.judged(teacher, unlabelled)
            parts = operated(unlabelled, self.operations), classes, sure
            view, classes, sure = adapted(parts, labelled, trust)
            output, own = together(student, labelled.image, view)
            return {
                "labelled": trainer.task.loss(output, labelled.label),
                "strong": self.weight * where_confident(main_head(own), classes, sure),
            }

        return taught(trainer, data, step, decay=self.ema_decay)

    @torch.no_grad()
    def judged(self, teacher: nn.Module, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's classes ``(N, *patch)``, where they count, and its trust in each patch ``(N)``, 0 to 1."""
        chances = main_head(teacher(image)).float().softmax(1)
        probability, classes = chances.max(1)
        certain = 1 + torch.special.xlogy(chances, chances).sum(1) / math.log(chances.shape[1])
        return classes, probability > self.threshold, (probability * certain).flatten(1).mean(1)


def adapted(parts: tuple[Tensor, Tensor, Tensor], labelled: Labelled, trust: Tensor) -> list[Tensor]:
    """Images ``(N, C, *patch)``, classes and where they count ``(N, *patch)``, mixed by confidence-adaptive CutMix."""
    number, patch, device = len(trust), parts[0].shape[2:], trust.device
    true = (repeated(part, number) for part in (labelled.image, *known(labelled.label)))
    doubtful = sent(torch.rand(number), device) > trust
    taken = random_boxes(number, patch, (2.0, 8.0), device) & doubtful.view(-1, *[1] * (len(patch) + 1))
    donors = [_within(taken, label, part) for label, part in zip(true, parts, strict=True)]
    inside = random_boxes(number, patch, (4.0, 4.0), device)
    return [_within(inside, donor.roll(1, 0), part) for donor, part in zip(donors, parts, strict=True)]


def _within(inside: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``one`` within the boxes ``(N, 1, *patch)``, ``other`` elsewhere; ``(N, C, *patch)`` or ``(N, *patch)``."""
    return torch.where(inside if one.ndim == inside.ndim else inside[:, 0], one, other)
