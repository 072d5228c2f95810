"""MIC, masked image consistency (Hoyer, Dai, Wang, Van Gool; CVPR 2023, arXiv 2212.01322).

    student, teacher <- theta_0
    repeat for each step t of T:
        y       <- argmax teacher(x_u), of the whole patch                        # no gradient
        c       <- share of the voxels in which the teacher's probability is above the threshold
        x_m     <- a strong view of x_u, in which a random 70 % of all blocks are hidden
        loss    <- sup(student(x_l), y_l) + w * c * mean of ce(student(x_m), y)
        student, teacher <- as in mean teacher
    return teacher

What is hidden is to be known from what is around it. The paper adds this loss to methods for images from elsewhere,
such as DACS (``classmix`` with ``pasted=labelled``); here it stands alone. Hidden voxels are 0, the mean of a
normalised image. A block's sides are a share of the patch's, so that they fit patches of any size: 1/8 is the authors'
64 pixels in a crop of 512. Their code scores the student; here the result is its average.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.machine.sending import sent
from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, taught, together
from atso_bench.methods._losses import confident, where_confident
from atso_bench.methods._settings import Settings


class MaskedConsistency(Settings):
    """Predicts on images of which most is hidden what its moving average predicts on the whole."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"ema_decay": 0.999, "weight": 1, "threshold": 0.968, "block": 1 / 8, "hidden": 0.7}
    }

    ema_decay: float = Field(
        0.99, ge=0, lt=1, description="decay of the teacher's weights; as mean teacher's, paper 0.999"
    )
    weight: float = Field(1, ge=0, description="w, not tuned here; paper 1")
    threshold: float = Field(
        0.968, ge=0, le=1, description="probability above which the teacher is sure; authors' code 0.968"
    )
    block: float = Field(1 / 8, gt=0, le=1, description="sides of a block as a share of the patch's; paper 64 pixels")
    hidden: float = Field(0.7, ge=0, le=1, description="share of the blocks that is hidden; paper 0.7")
    strong: bool = Field(True, description="masked images are shown in strong views; paper true")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the teacher."""

        def step(
            student: nn.Module, teacher: nn.Module, labelled: Labelled, unlabelled: Tensor, progress: float
        ) -> Terms:
            with torch.no_grad():
                classes, sure = confident(main_head(teacher(unlabelled)), self.threshold)
            view = trainer.task.strong(unlabelled) if self.strong else unlabelled
            output, own = together(student, labelled.image, view * seen(unlabelled, self.block, self.hidden))
            share = sure.float().mean().expand(sure.shape)
            return {
                "labelled": trainer.task.loss(output, labelled.label),
                "masked": self.weight * where_confident(main_head(own), classes, share),
            }

        return taught(trainer, data, step, decay=self.ema_decay)


def seen(image: Tensor, block: float, hidden: float) -> Tensor:
    """1 in the blocks of ``(N, C, *patch)`` that are shown, 0 in the others: ``(N, 1, *patch)`` float32.

    Args:
        image: says how many and how large.
        block: sides of a block as a share of the patch's.
        hidden: probability of a block to be hidden.
    """
    cells = [min(length, max(1, round(1 / block))) for length in image.shape[2:]]
    shown = (torch.rand(len(image), 1, *cells) >= hidden).to(torch.uint8)  # on the CPU: the same on every device
    return F.interpolate(sent(shown, image.device).float(), size=image.shape[2:], mode="nearest")
