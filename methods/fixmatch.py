"""FixMatch (Sohn et al., NeurIPS 2020, arXiv 2001.07685) for segmentation, as UniMatch's code has it.

    repeat for each step of T:
        p    <- softmax f(x_u)                                    # no gradient
        y, c <- argmax p, max p > threshold                       # pseudo labels, and where they count
        x_s  <- strong view of x_u; within random boxes that of another patch, and so y and c
        loss <- sup(f(x_l), y_l) + w * sum of c * ce(f(x_s), y) / number of voxels
        f    <- f - lr * grad loss
    return f

The weak view of x_u is what every method gets: a patch as the recipe augments it. FixMatch itself is about whole
images, with threshold 0.95 and weight 1; UniMatch's code adds CutMix in half of the patches. Where the model is not
sure nothing is learnt. (SSL4MIS's code makes such voxels background, and rescales probabilities before its threshold
of 0.8.) A probability has to be above the threshold, so that a threshold of 1 means none.
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
from atso_bench.methods._consistency import Terms, learn, together
from atso_bench.methods._losses import confident, where_confident
from atso_bench.methods._settings import Settings
from atso_bench.methods._views import BOX


class FixMatch(Settings):
    """Predicts on strong views of unlabelled images what it predicts with confidence on weak ones."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"weight": 1, "cutmix": 0.0},
        "unimatch-cityscapes": {"weight": 1, "threshold": 0.0},
    }

    threshold: float = Field(0.95, ge=0, le=1, description="probability above which a label counts; paper 0.95")
    weight: float = Field(1, ge=0, description="w; paper and UniMatch 1")
    cutmix: float = Field(0.5, ge=0, le=1, description="share of patches with a box of another; UniMatch 0.5, paper 0")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the one network."""
        model = trainer.new_model()

        def step(labelled: Labelled, unlabelled: Tensor, progress: float) -> Terms:
            patch = unlabelled.shape[2:]
            inside = boxes(len(unlabelled), patch, BOX, chance=self.cutmix, device=unlabelled.device)
            strong = mixed(trainer.task.strong(unlabelled), inside)
            model.eval()  # as in UniMatch's code; one patch alone has no batch statistics
            with torch.no_grad():
                weak = model(unlabelled)
            model.train()
            output, own = together(model, labelled.image, strong)
            classes, sure = (mixed(part, inside) for part in confident(main_head(weak), self.threshold))
            return {
                "labelled": trainer.task.loss(output, labelled.label),
                "strong": self.weight * where_confident(main_head(own), classes, sure),
            }

        return learn(trainer, data, model, step, passes=1)
