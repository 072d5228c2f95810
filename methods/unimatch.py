"""UniMatch (Yang, Qi, Feng, Zhang, Shi; CVPR 2023, arXiv 2208.09910).

    repeat for each step of T:
        y, c     <- argmax, and where it is above the threshold, of softmax f(x_u)       # no gradient
        x_1, x_2 <- two strong views of x_u, each with boxes of another patch (so have their y and c)
        loss     <- sup(f(x_l), y_l)
                    + w * (1/4 ce(f(x_1), y) + 1/4 ce(f(x_2), y) + 1/2 ce(f'(x_u), y)), where c
        f        <- f - lr * grad loss
    return f

f' is f with half of the channels of its encoder's features left out. Means are over all voxels. The authors' code
halves the whole loss, which is a matter of the learning rate; it takes the patch for the boxes from a further batch,
labelled in evaluation mode, here it is the neighbour in the same batch. Their threshold is 0.95 on Pascal, COCO and
medical slices, and 0 on Cityscapes; on medical slices their loss is Dice alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.boxes import boxes, mixed
from atso_bench.benchmark.training.heads import main_head, rows
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, learn
from atso_bench.methods._losses import confident, where_confident
from atso_bench.methods._settings import Settings
from atso_bench.methods._views import BOX, perturbed_copies


class UniMatch(Settings):
    """As FixMatch, on two strong views and with perturbed features."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "unimatch-pascal": {"weight": 1, "threshold": 0.95},
        "unimatch-cityscapes": {"weight": 1, "threshold": 0.0},
    }

    threshold: float = Field(0.95, ge=0, le=1, description="probability above which a label counts; paper 0.95")
    weight: float = Field(3, ge=0, description="w; paper 1")
    cutmix: float = Field(0.5, ge=0, le=1, description="share of patches with a box of another; paper 0.5")
    dropped: float = Field(0.5, ge=0, lt=1, description="share of the features' channels that is left out; paper 0.5")
    strong: float = Field(0.5, ge=0, le=1, description="share of the strong views in w, the features' is the rest")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the one network."""
        model = trainer.new_model()

        def step(labelled: Labelled, unlabelled: Tensor, progress: float) -> Terms:
            known, number, patch = len(labelled.image), len(unlabelled), unlabelled.shape[2:]
            places = [boxes(number, patch, BOX, chance=self.cutmix, device=unlabelled.device) for _ in range(2)]
            views = [mixed(trainer.task.strong(unlabelled), inside) for inside in places]
            with perturbed_copies(model, known, known + number, self.dropped):
                output = model(torch.cat([labelled.image, unlabelled, *views]))
            weak, *others = main_head(output)[known:].split(number)  # two strong views, and the perturbed copies
            classes, sure = confident(weak, self.threshold)
            losses = [
                where_confident(other, mixed(classes, inside), mixed(sure, inside))
                for other, inside in zip(others[:2], places, strict=True)
            ]
            features = where_confident(others[2], classes, sure)
            return {
                "labelled": trainer.task.loss(rows(output, 0, known), labelled.label),
                "strong": self.weight * self.strong * (losses[0] + losses[1]) / 2,
                "features": self.weight * (1 - self.strong) * features,
            }

        return learn(trainer, data, model, step, passes=1)
