"""Shared by the methods whose result may be several networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn, stack

from atso_bench.benchmark.training.heads import main_head


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
