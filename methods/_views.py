"""Views of unlabelled images for consistency: copies whose features are perturbed, and heads at several scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

BOX = (0.02, 0.4)
"""Least and largest share of a patch that a box covers in UniMatch's code, for FixMatch too."""


def encoder_of(model: nn.Module) -> nn.Module:
    """The part of a network that makes features: its first module that is called ``encoder``.

    Raises:
        LookupError: if it has none.
    """
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "encoder":
            return module
    raise LookupError(f"{type(model).__name__} has no module called 'encoder', whose features could be used")


@contextmanager
def perturbed_copies(model: nn.Module, start: int, stop: int, rate: float) -> Iterator[None]:
    """Within this, a forward pass gives ``stop - start`` more samples at its end.

    They are samples ``start`` to ``stop`` once more, with whole channels of all their features left out with
    probability ``rate`` (UniMatch, Yang et al., CVPR 2023). The encoder computes them once.
    """

    def longer(feature: Tensor) -> Tensor:
        return torch.cat([feature, torch.feature_dropout(feature[start:stop], rate, train=True)])

    with changed_features(model, longer):
        yield


@contextmanager
def changed_features(model: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within this, the encoder's features of every scale go on as ``change`` makes them."""

    def hook(module: nn.Module, given: Any, features: Any) -> Any:
        return change(features) if isinstance(features, Tensor) else [change(feature) for feature in features]

    handle = encoder_of(model).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class Pyramid(nn.Module):
    """A network that predicts at several scales in training mode, from fine to coarse.

    nnU-Net's networks do so anyway. Where there is one head alone, 1 x 1 convolutions on the encoder's last features
    are the others; they serve training, and are no part of ``network``.

    Attributes:
        network: the planned network.
        extra: the added heads; empty where the network has several of its own.
    """

    def __init__(self, network: nn.Module, example: Tensor, classes: int) -> None:
        """``example`` ``(N, C, *patch)`` is an input by whose features the heads are made; N is 2 or more."""
        super().__init__()
        self.network = network
        probe = deepcopy(network).train()  # what a forward pass leaves in batch norm stays in the copy
        with torch.no_grad(), _watched(probe) as features:
            output = probe(example)
        several = isinstance(output, list | tuple) and len(output) > 1
        convolution = {4: nn.Conv2d, 5: nn.Conv3d}[example.ndim]
        made = [convolution(part.shape[1], classes, 1) for part in ([] if several else features)]
        self.extra = nn.ModuleList(made).to(example.device)

    def forward(self, image: Tensor) -> Any:
        """Heads of ``(N, C, *patch)``: logits ``(N, K, ...)`` of falling size; in evaluation mode the first alone."""
        if not self.extra or not self.training:
            return self.network(image)
        with _watched(self.network) as features:
            main = self.network(image)
        return [main, *(head(part) for head, part in zip(self.extra, features, strict=True))]


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[Tensor]]:
    """The features of the encoder's last stages in a forward pass, at most three, the finest first."""
    found: list[Tensor] = []

    def hook(module: nn.Module, given: Any, features: Any) -> None:
        found.extend([features] if isinstance(features, Tensor) else features[-3:])

    handle = encoder_of(model).register_forward_hook(hook)
    try:
        yield found
    finally:
        handle.remove()
