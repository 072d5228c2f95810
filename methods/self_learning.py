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

from torch import nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods._students import Students


class SelfLearning(Students):
    """Learns from its own hard pseudo labels, generation by generation."""

    groups = ("baselines", "generations")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the model of the last generation."""
        reference = data.unlabelled
        first, steps = trainer.shares(range(1, self.generations + 1) if reference.ids else (), self.initial_share)
        model = trainer.imitate(trainer.new_model(), {"labelled": data.labelled}, steps=first, phase="M0")
        if not reference.ids:
            return model
        labels = self.write(trainer, model, reference, "M0 labels R")
        for g in range(1, self.generations + 1):
            phase = f"generation {g}, subset 1"
            pools = {"labelled": data.labelled, "pseudo": reference.labelled_by(labels)}
            model = self.teach(trainer, model, pools, steps[g - 1], phase)
            kind = "predict" if g < self.generations else "diagnose"
            new = self.write(trainer, model, reference, f"{phase} labels R", kind=kind)
            trainer.observe(
                model, reference, phase=phase, generation=g, subset=1, inside=reference.ids, before=labels, after=new
            )
            labels = new
        return model
