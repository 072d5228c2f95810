"""Self-learning, generation by generation (Lee, ICML workshop 2013; as in Huo et al., CVPR 2021).

    M      <- train(S)
    labels <- M(R)
    repeat for each generation g = 1 .. G:
        M      <- fine-tune M on S + R with labels
        labels <- M(R)                       # after the last generation for the diagnostics alone
    return M

This is the continual teacher-student optimisation that ATSO breaks up: ``atso`` with ``subsets=1`` and
``restart=previous`` is the same algorithm.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods._settings import Settings


class SelfLearning(Settings):
    """Learns from its own hard pseudo labels, generation by generation."""

    groups = ("baselines", "generations")

    generations: int = Field(3, ge=1, description="G: how often R is labelled and learnt; ours, the paper gives none")
    strong: bool = Field(False, description="students see strong views of R; ours")
    initial_share: float = Field(0.5, gt=0, lt=1, description="share of the budget for M0; ours")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the model of the last generation."""
        reference = data.unlabelled
        first, steps = trainer.shares(range(1, self.generations + 1) if reference.ids else (), self.initial_share)
        model = trainer.imitate(trainer.new_model(), {"labelled": data.labelled}, steps=first, phase="M0")
        if not reference.ids:
            return model
        labels = trainer.predict(model, reference, phase="M0 labels R")
        for g in range(1, self.generations + 1):
            phase = f"generation {g}, subset 1"
            pools = {"labelled": data.labelled, "pseudo": reference.labelled_by(labels)}
            model = trainer.imitate(model, pools, steps=steps[g - 1], phase=phase, strong=self.strong)
            kind = "predict" if g < self.generations else "diagnose"
            new = trainer.predict(model, reference, phase=f"{phase} labels R", kind=kind)
            trainer.observe(
                model, reference, phase=phase, generation=g, subset=1, inside=reference.ids, before=labels, after=new
            )
            labels = new
        return model
