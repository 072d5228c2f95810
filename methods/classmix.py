"""ClassMix (Olsson, Tranheden, Pinto, Svensson; WACV 2021, arXiv 2007.07936); DACS with ``pasted=labelled``.

    student, teacher <- theta_0
    repeat for each step t of T:
        y_u     <- argmax teacher(x_u)                                            # no gradient
        c       <- share of the voxels in which the teacher's probability is above the threshold
        x, y    <- another patch of the batch and its labels:  x_u and y_u;  in DACS x_l and y_l
        M       <- the voxels of a random half of the classes in y
        x_m     <- x where M, x_u elsewhere, and a strong view of that (so y_m of y and y_u)
        loss    <- sup(student(x_l), y_l) + w * mean of c * ce(student(x_m), y_m);   true labels weigh 1
        student, teacher <- as in mean teacher
    return teacher

Classes are pasted along their outlines, where CutMix has a box. DACS (Tranheden, Olsson, Pinto, Svensson; WACV 2021,
arXiv 2007.08702) is for labelled images from elsewhere than the unlabelled ones. The classes in y are rounded down when
they are halved, as in the authors' code. That code scores the student; here the result is its average.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.machine.sending import sent
from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, taught, together
from atso_bench.methods._losses import confident, where_confident
from atso_bench.methods._mixtures import known, repeated
from atso_bench.methods._settings import Settings


class ClassMix(Settings):
    """Predicts what its moving average predicts on unlabelled images into which objects of other images were pasted."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"pasted": "unlabelled", "ema_decay": 0.99, "weight": 1, "threshold": 0.968},
        "dacs": {"pasted": "labelled", "ema_decay": 0.99, "weight": 1, "threshold": 0.968},
    }

    pasted: Literal["unlabelled", "labelled"] = Field(
        "unlabelled", description="where pasted classes come from; paper unlabelled, DACS labelled"
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="decay of the teacher's weights; authors 0.99")
    weight: float = Field(1, ge=0, description="w, not tuned here; paper and DACS 1")
    threshold: float = Field(
        0.968, ge=0, le=1, description="probability above which the teacher is sure; authors' code 0.968"
    )
    strong: bool = Field(True, description="mixtures are shown in strong views; authors' code for Cityscapes true")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the teacher."""

        def step(
            student: nn.Module, teacher: nn.Module, labelled: Labelled, unlabelled: Tensor, progress: float
        ) -> Terms:
            with torch.no_grad():
                classes, sure = confident(main_head(teacher(unlabelled)), self.threshold)
            share = sure.float().mean()
            if self.pasted == "labelled":
                parts = labelled.image, *known(labelled.label)
                image, label, there = (repeated(part, len(unlabelled)) for part in parts)
                weight: Tensor | float = 1.0
            else:
                image, label, there = unlabelled.roll(1, 0), classes.roll(1, 0), torch.ones_like(sure)
                weight = share
            chosen = half_of_the_classes(label, there, len(trainer.task.classes))
            view = torch.where(chosen[:, None], image, unlabelled)
            output, own = together(student, labelled.image, trainer.task.strong(view) if self.strong else view)
            target, weights = torch.where(chosen, label, classes), torch.where(chosen, weight, share)
            return {
                "labelled": trainer.task.loss(output, labelled.label),
                "mixed": self.weight * where_confident(main_head(own), target, weights),
            }

        return taught(trainer, data, step, decay=self.ema_decay)


def half_of_the_classes(label: Tensor, there: Tensor, classes: int) -> Tensor:
    """The voxels of a random half of the classes in each patch, rounded down.

    Args:
        label: ``(N, *patch)`` int64.
        there: ``(N, *patch)`` boolean, where there is a label; no other voxel is chosen.
        classes: how many there may be.
    """
    number = torch.where(there, label, classes).flatten(1)
    found = torch.zeros(len(label), classes + 1, dtype=torch.bool, device=label.device)
    found = found.scatter(1, number, torch.ones_like(number, dtype=torch.bool))[:, :classes]
    drawn = sent(torch.rand(len(label), classes), label.device)  # on the CPU: the same on every device
    rank = torch.where(found, drawn, 2).argsort(1).argsort(1)
    chosen = (rank < found.sum(1, keepdim=True) // 2) & found
    nothing = torch.zeros_like(chosen[:, :1])
    return torch.cat([chosen, nothing], 1).gather(1, number).view_as(label)
