"""CPS, cross pseudo supervision (Chen, Yuan, Zeng, Wang; CVPR 2021, arXiv 2106.01226).

    f, g <- two networks with different initial weights
    repeat for each step t of T:
        y_f, y_g <- argmax f(x), argmax g(x)                      # no gradient; x is x_l and x_u
        loss     <- sup(f(x_l), y_l) + sup(g(x_l), y_l) + w(t) * (ce(f(x), y_g) + ce(g(x), y_f))
        f, g     <- f - lr * grad loss, g - lr * grad loss
    return f

f begins where all other methods do. A step trains two networks and so costs twice a supervised step: steps are the
budget here, and the report shows the seconds. The authors' code supervises labelled images too as long as it does not
mix them (CutMix), without a ramp; SSL4MIS takes unlabelled images alone, with weight 0.1 and a ramp. SSL4MIS's 2D code
never applies its second initialisation.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, learn, together
from atso_bench.methods._losses import sigmoid_rampup
from atso_bench.methods._pseudo import mean_of
from atso_bench.methods._settings import Settings


class CrossPseudoSupervision(Settings):
    """Two networks learn from the labelled cases, and each from the other's predictions on all images."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "ssl4mis": {"weight": 0.1, "rampup": 1.0, "on_labelled": False},
        "torchsemiseg": {"weight": 6, "rampup": 0.0, "on_labelled": True},
    }
    after_training = ("final",)

    weight: float = Field(0.1, ge=0, description="final value of w; paper 6 on Cityscapes, 1.5 on VOC, SSL4MIS 0.1")
    rampup: float = Field(0, ge=0, le=1, description="share of training over which w rises; paper 0, SSL4MIS 1")
    on_labelled: bool = Field(True, description="cross supervision on labelled images too; paper true, SSL4MIS false")
    final: Literal["first", "ensemble"] = Field("first", description="which model is the result; paper first")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the network that began as those of the other methods, or the mean of both."""
        networks = nn.ModuleList([trainer.new_model(0), trainer.new_model(1)])

        def alone(labelled: Labelled) -> Terms:
            losses = [trainer.task.loss(network(labelled.image), labelled.label) for network in networks]
            return {"labelled": losses[0] + losses[1]}

        def step(labelled: Labelled, unlabelled: Tensor, progress: float) -> Terms:
            pairs = [together(network, labelled.image, unlabelled) for network in networks]
            losses = [trainer.task.loss(output, labelled.label) for output, _ in pairs]
            heads = [[main_head(part) for part in (pair if self.on_labelled else pair[1:])] for pair in pairs]
            weight = self.weight * sigmoid_rampup(progress, self.rampup)
            return {"labelled": losses[0] + losses[1], "cross": weight * crossed(*(torch.cat(each) for each in heads))}

        learn(
            trainer,
            data,
            networks,
            step,
            alone=alone,
            phase="two networks",
        )
        return mean_of(list(networks)) if self.final == "ensemble" else networks[0]


def crossed(one: Tensor, other: Tensor) -> Tensor:
    """Cross-entropy of each with the other's classes; logits ``(N, K, *spatial)``. Symmetric in both."""
    losses = [F.cross_entropy(a.float(), b.detach().argmax(1)) for a, b in ((one, other), (other, one))]
    return losses[0] + losses[1]
