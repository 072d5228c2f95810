"""Supervised training, the baseline: the labelled cases and nothing else. At 100 % it is the upper bound.

M <- train(S)
return M
"""

from __future__ import annotations

from torch import nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods._settings import Settings


class Supervised(Settings):
    """Learns from the labelled cases alone, with the whole budget."""

    groups = ("baselines",)

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the network trained on S."""
        pools = {"labelled": data.labelled}
        return trainer.imitate(trainer.new_model(), pools, steps=trainer.budget.steps, phase="M0")
