"""URPC, uncertainty rectified pyramid consistency (Luo et al., MICCAI 2021, arXiv 2012.07042).

    f gives logits at S scales, which are brought to full size
    repeat for each step t of T:
        p_s  <- softmax f_s(x_u),    p <- mean of p_1 .. p_S
        d_s  <- sum over classes of p_s log(p_s / p)              # how far a scale is from the mean
        loss <- sup(f(x_l), y_l) + w(t) * mean over s of
                [ sum of exp(-d_s) |p_s - p|^2 / sum of exp(-d_s) + mean of d_s ]
        f    <- f - lr * grad loss
    return f

nnU-Net's networks predict at several scales: the finest S of their heads are the pyramid, and the planned loss over the
heads is sup. A network of one head (DeepLabV3+) gets further ones, 1 x 1 convolutions on its encoder's last features;
sup is the mean over the heads then, as in the paper, and they are left out of the result.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, learn, together
from atso_bench.methods._losses import sigmoid_rampup
from atso_bench.methods._settings import Settings
from atso_bench.methods._views import Pyramid


class PyramidConsistency(Settings):
    """Its heads agree on unlabelled images at several scales, where they do not differ much."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"ssl4mis": {"weight": 0.1, "rampup": 1.0}}

    scales: int = Field(4, ge=2, description="S: heads that are to agree; paper 4")
    weight: float = Field(0.1, ge=0, description="final value of w; paper and SSL4MIS 0.1")
    rampup: float = Field(1, ge=0, le=1, description="share of training over which w rises; paper 1")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the planned network."""
        channels = data.labelled.images[data.labelled.ids[0]].array.shape[0]
        example = torch.zeros(2, channels, *trainer.task.recipe.patch, device=trainer.device)
        with trainer.initial(1):
            model = Pyramid(trainer.new_model(), example, len(trainer.task.classes))

        def supervised(output: Any, label: Tensor) -> Tensor:
            if not model.extra:
                return trainer.task.loss(output, label)
            return torch.stack([trainer.task.loss(head, label) for head in full_size(output)]).mean()

        def step(labelled: Labelled, unlabelled: Tensor, progress: float) -> Terms:
            output, own = together(model, labelled.image, unlabelled)
            weight = self.weight * sigmoid_rampup(progress, self.rampup)
            return {
                "labelled": supervised(output, labelled.label),
                "consistency": weight * rectified(full_size(own[: self.scales])),
            }

        def alone(labelled: Labelled) -> Terms:
            return {"labelled": supervised(model(labelled.image), labelled.label)}

        learn(trainer, data, model, step, alone=alone)
        return model.network


def full_size(heads: list[Tensor]) -> list[Tensor]:
    """Logits ``(N, K, ...)`` of every scale at the size of the first, by linear interpolation."""
    size = heads[0].shape[2:]
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    return [heads[0], *(F.interpolate(head.float(), size=size, mode=mode) for head in heads[1:])]


def rectified(heads: list[Tensor]) -> Tensor:
    """The consistency of logits ``(N, K, *spatial)`` at several scales; 0 if they are all alike."""
    logarithms = torch.stack([head.float().log_softmax(1) for head in heads])
    each = logarithms.exp()
    mean = each.mean(0)
    apart = (each * (logarithms - mean.clamp_min(1e-8).log())).sum(2)  # (S, N, *spatial)
    weight = (-apart).exp()
    squared = (each - mean).square().mean(2)
    return ((weight * squared).flatten(1).sum(1) / weight.flatten(1).sum(1)).mean() + apart.mean()
