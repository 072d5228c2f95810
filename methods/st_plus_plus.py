"""ST++ (Yang, Zhuo, Qi, Shi, Gao; CVPR 2022, arXiv 2106.05095): self-training, the reliable half first.

    M, M', M''  <- train(S), and the same model at 1/3 and 2/3 of that training
    labels      <- M(R), averaged over mirrored inputs
    reliability <- of each case, mean IoU of M'(x) and M''(x) with M(x)
    M_1         <- train new weights on S + strong views of the reliable half of R with labels
    labels      <- M_1(the other half)
    M_2         <- train new weights on S + strong views of R with labels
    return M_2

The views and the test-time augmentation are those of noisy student here. As in the paper a class that neither of two
labellings holds does not count in their IoU. All three trainings are equally long there, and so they are here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from torch import nn

from atso_bench.benchmark.scoring.metrics import confusion, mean_iou
from atso_bench.benchmark.store.stages import PseudoLabels
from atso_bench.benchmark.task import Labels, Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods._settings import Settings


class SelfTrainingPlusPlus(Settings):
    """Learns first from the half of the pseudo labels that were stable while M0 was trained, then from all."""

    groups = ("generations",)

    reliable: float = Field(0.5, gt=0, lt=1, description="share of the unlabelled cases that comes first; paper 0.5")
    strong: bool = Field(True, description="students see strong views of unlabelled cases; paper true")
    augmented_labels: bool = Field(True, description="labels are averaged over mirrored inputs; paper true")
    initial_share: float = Field(1 / 3, gt=0, lt=1, description="share of the budget for M0; paper 1/3")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the second student."""
        s, r = data.labelled, data.unlabelled
        first, steps = trainer.shares((0, 0)[: len(r.ids)], self.initial_share)
        m0, earlier = trainer.new_model(), [trainer.new_model(), trainer.new_model()]

        def keep(done: int) -> None:
            for number, model in enumerate(earlier, start=1):
                if done == max(1, first * number // 3):
                    model.load_state_dict(m0.state_dict())

        trainer.imitate(m0, {"labelled": s}, steps=first, phase="M0, kept at 1/3 and 2/3", after=keep, also=earlier)
        if not r.ids:
            return m0
        labels = self.label(trainer, m0, r, "M0 labels R")
        if len(r.ids) == 1:
            return self.student(trainer, s, r.labelled_by(labels), steps[0], "student")
        before = [self.label(trainer, model, r, f"M0 at {k}/3 labels R") for k, model in enumerate(earlier, start=1)]
        ranked = by_reliability(r.ids, labels, before, len(trainer.task.classes))
        cut = min(len(ranked) - 1, max(1, round(len(ranked) * self.reliable)))
        sure, others = r.only(sorted(ranked[:cut])), r.only(sorted(ranked[cut:]))
        student = self.student(trainer, s, sure.labelled_by(labels), steps[0], "student of the reliable cases")
        labels = labels | self.label(trainer, student, others, "the student labels the other cases")
        return self.student(trainer, s, r.labelled_by(labels), steps[1], "student of all cases")

    def label(self, trainer: Trainer, model: nn.Module, pool: Pool, phase: str) -> PseudoLabels:
        """Hard labels of ``pool``."""
        return trainer.predict(model, pool, phase=phase, mirror=self.augmented_labels)

    def student(self, trainer: Trainer, labelled: Pool, pseudo: Pool, steps: int, phase: str) -> nn.Module:
        """A network trained from the initial weights."""
        pools = {"labelled": labelled, "pseudo": pseudo}
        return trainer.imitate(trainer.new_model(), pools, steps=steps, phase=phase, strong=self.strong)


def by_reliability(ids: Sequence[str], final: Labels, earlier: Sequence[Labels], classes: int) -> list[str]:
    """Case ids, those first whose earlier labels are the most like the final ones; ties in the order of their names."""

    def stability(case_id: str) -> float:
        return float(np.mean([mean_iou(confusion(one[case_id], final[case_id], classes)) for one in earlier]))

    return sorted(ids, key=lambda case_id: (-stability(case_id), case_id))
