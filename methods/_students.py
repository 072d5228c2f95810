"""What the methods whose students learn from pseudo labels have in common, self-learning and ATSO alike."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import nn

from atso_bench.benchmark.store.stages import PseudoLabels
from atso_bench.benchmark.task import Pool
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods._settings import Settings


class Students(Settings):
    """Options of students and of the labels that they learn from. The papers say nothing of them: all are ours."""

    generations: int = Field(3, ge=1, description="G: how often the unlabelled cases are labelled and learnt; ours")
    initial_share: float = Field(0.5, gt=0, lt=1, description="share of the budget for M0; ours")
    strong: bool = Field(False, description="students see strong views of unlabelled cases; ours")
    rate: float = Field(1, gt=0, description="students' learning rate as a multiple of the recipe's; ours")
    weight: float = Field(1, ge=0, description="weight of the loss on pseudo labels; ours")
    cutmix: bool = Field(False, description="half of each pseudo-labelled patch is another's; ours")
    confidence: float = Field(
        0.0, ge=0, lt=1, description="probability below which a voxel of a pseudo label is left out; hard labels; ours"
    )
    largest_component: bool = Field(
        False, description="of each class in a pseudo label its largest component; for volumes; ours"
    )

    def teach(self, trainer: Trainer, model: nn.Module, pools: Mapping[str, Pool], steps: int, phase: str) -> nn.Module:
        """Train ``model`` on labels and pseudo labels."""
        return trainer.imitate(
            model,
            pools,
            steps=steps,
            phase=phase,
            strong=self.strong,
            weight=self.weight,
            cutmix=self.cutmix,
            partial=self.confidence > 0,
            rate=self.rate,
        )

    def write(
        self, trainer: Trainer, model: nn.Module, pool: Pool, phase: str, *, kind: str = "predict", soft: bool = False
    ) -> PseudoLabels:
        """Label ``pool`` with ``model``."""
        return trainer.predict(
            model,
            pool,
            phase=phase,
            kind=kind,
            soft=soft,
            largest=self.largest_component,
            confidence=self.confidence,
        )
