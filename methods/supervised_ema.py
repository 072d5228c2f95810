"""Supervised training whose result is the moving average of its weights: what averaging gains without unlabelled cases.

    student, average <- theta_0
    repeat for each step t of T:
        student <- student - lr * grad sup(student(x_l), y_l)
        average <- a_t * average + (1 - a_t) * student,    a_t = min(1 - 1 / (t + 1), a)
    return average

Mean teacher, CutMix-Seg and their kin return such an average too. What they gain over this row is what the unlabelled
cases gave; what this row gains over ``supervised`` is the average's alone.
"""

from __future__ import annotations

from pydantic import Field
from torch import nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.average import averaged
from atso_bench.methods._settings import Settings


class SupervisedEMA(Settings):
    """Learns from the labelled cases alone; its result is the moving average of its weights."""

    groups = ("baselines",)

    ema_decay: float = Field(0.99, ge=0, lt=1, description="decay of the average's weights; as mean teacher's")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the average."""
        student = trainer.new_model()
        average = averaged(student, self.ema_decay)
        pools, steps = {"labelled": data.labelled}, trainer.budget.steps
        trainer.imitate(
            student, pools, steps=steps, phase="network and average", after=average.after, also=(average.teacher,)
        )
        return average.teacher
