"""Noisy student (Xie, Luong, Hovy, Le; CVPR 2020, arXiv 1911.04252) for segmentation: ST of Yang et al., CVPR 2022.

    M <- train(S)
    repeat for each generation g = 1 .. G:
        labels <- M(R), averaged over mirrored inputs
        M      <- train new weights on S + strong views of R with labels
    return M

It differs from self-learning in three things: each student starts from the initial weights, learns from strong views,
and its teacher labels with test-time augmentation. ST has one generation, as here, and averages over five scales too;
nnU-Net's test-time augmentation is mirroring. ST's cutout is left out: a voxel without label has no place in every
loss. Noise in the student's network (dropout, stochastic depth) belongs to the paper's classifiers; the planned
networks have none.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods._settings import Settings


class NoisyStudent(Settings):
    """Each generation starts afresh and learns from strong views with the last generation's pseudo labels."""

    groups = ("generations",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"generations": 3}}

    generations: int = Field(1, ge=1, description="G: students after M0; ST 1, paper 3")
    strong: bool = Field(True, description="students see strong views of unlabelled cases; paper and ST true")
    augmented_labels: bool = Field(True, description="labels are averaged over mirrored inputs; ST true")
    initial_share: float = Field(0.5, gt=0, lt=1, description="share of the budget for M0; ST 1/2")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the model of the last generation."""
        s, r = data.labelled, data.unlabelled
        first, steps = trainer.shares([0] * self.generations if r.ids else (), self.initial_share)
        model = trainer.imitate(trainer.new_model(), {"labelled": s}, steps=first, phase="M0")
        for g, share in enumerate(steps, start=1):
            name = "M0" if g == 1 else f"generation {g - 1}"
            labels = trainer.predict(model, r, phase=f"{name} labels R", mirror=self.augmented_labels)
            model = trainer.imitate(
                trainer.new_model(),
                {"labelled": s, "pseudo": r.labelled_by(labels)},
                steps=share,
                phase=f"generation {g}",
                strong=self.strong,
            )
        return model
