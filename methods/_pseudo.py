"""Shared by the methods that learn from fixed labels, true or pseudo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, cat, nn, stack

from atso_bench.benchmark.engine import Trainer
from atso_bench.benchmark.loop import Batch
from atso_bench.benchmark.losses import main_head, rows
from atso_bench.benchmark.task import Pool


def imitate(
    trainer: Trainer,
    model: nn.Module,
    pools: Mapping[str, Pool],
    *,
    steps: int,
    phase: str,
    strong: bool = False,
    **more: Any,
) -> nn.Module:
    """Train ``model`` on the labels of ``pools``; each batch is shared evenly, each pool's loss weighs by its share.

    With ``strong`` the images that have pseudo labels are shown in strong views. All methods that train so share this
    phase: it is the same where weights, pools and steps are the same. ``more`` is for ``Trainer.train``.
    """

    def seen(name: str, image: Tensor) -> Tensor:
        return trainer.task.strong(image) if strong and pools[name].pseudo else image

    def step(batch: Batch, progress: float) -> Mapping[str, Tensor]:
        output = model(cat([seen(name, part.image) for name, part in batch.items()]))
        total = sum(len(part.image) for part in batch.values())
        terms, start = {}, 0
        for name, part in batch.items():
            stop = start + len(part.image)
            loss = trainer.task.loss(rows(output, start, stop), part.label, pseudo=pools[name].pseudo)
            terms[name] = loss * (len(part.image) / total)
            start = stop
        return terms

    identity = {"loss": "imitate"} | ({"strong": True} if strong else {})
    return trainer.train(model, step, pools, steps=steps, phase=phase, identity=identity, **more)


def mean_of(models: Sequence[nn.Module]) -> nn.Module:
    """A model whose logits are the logarithm of the mean of the models' class probabilities."""
    return _Mean(models) if len(models) > 1 else models[0]


class _Mean(nn.Module):
    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, image: Tensor) -> Tensor:
        mean = stack([main_head(model(image)).softmax(1) for model in self.models]).mean(0)
        return mean.clamp_min(1e-12).log()  # keeps the logarithm finite where all models are certain
