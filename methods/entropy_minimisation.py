"""Entropy minimisation (Grandvalet and Bengio, NIPS 2004) for segmentation (Vu et al., CVPR 2019, arXiv 1811.12833).

    repeat for each step t of T:
        p    <- softmax f(x_u)
        loss <- sup(f(x_l), y_l) + w(t) * mean over voxels of -sum p log p / log(classes)
        f    <- f - lr * grad loss
    return f

SSL4MIS takes the entropy of labelled images too, divides by the logarithm of a number of classes that it fixes for its
datasets, and has w = 0.1 with a ramp over the whole run.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, learn, together
from atso_bench.methods._losses import sigmoid_rampup
from atso_bench.methods._settings import Settings


class EntropyMinimisation(Settings):
    """Is trained to give confident predictions on unlabelled images."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"ssl4mis": {"weight": 0.1, "rampup": 1.0, "on_labelled": True}}

    weight: float = Field(0.1, ge=0, description="final value of w; SSL4MIS 0.1, Vu et al. 0.001")
    rampup: float = Field(1, ge=0, le=1, description="share of training over which w rises; SSL4MIS 1")
    on_labelled: bool = Field(False, description="entropy of labelled images too; SSL4MIS true")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the one network."""
        model = trainer.new_model()

        def step(labelled: Labelled, unlabelled: Tensor, progress: float) -> Terms:
            output, own = together(model, labelled.image, unlabelled)
            heads = [main_head(part) for part in ((output, own) if self.on_labelled else (own,))]
            weight = self.weight * sigmoid_rampup(progress, self.rampup)
            return {
                "labelled": trainer.task.loss(output, labelled.label),
                "entropy": weight * relative_entropy(torch.cat(heads)),
            }

        return learn(trainer, data, model, step)


def relative_entropy(logits: Tensor) -> Tensor:
    """Mean entropy of logits ``(N, K, *spatial)`` as a share of the largest that K classes allow, log(K)."""
    logarithms = logits.float().log_softmax(1)  # and not the logarithm of a softmax: at certainty that has no gradient
    return -(logarithms.exp() * logarithms).sum(1).mean() / math.log(logits.shape[1])
