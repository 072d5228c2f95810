"""Views of unlabelled images for consistency: boxes of CutMix, and copies whose features are perturbed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from atso_bench.benchmark.machine.sending import sent

BOX = (0.02, 0.4)
"""Least and largest share of a patch that a box covers in UniMatch's code, for FixMatch too."""


def boxes(
    number: int,
    patch: Sequence[int],
    share: tuple[float, float],
    *,
    chance: float = 1.0,
    aspect: float = 0.3,
    device: torch.device | None = None,
) -> Tensor:
    """A random box in each of ``number`` patches, ``(N, 1, *patch)`` boolean, for ``mixed``.

    A box covers a share of the patch that is drawn from ``share``; each of its sides differs from the patch's own by a
    factor between ``aspect`` and its inverse, in proportion, as far as the patch allows. With probability
    ``1 - chance`` there is none. CutMix: Yun et al., ICCV 2019; for segmentation French et al., BMVC 2020.
    """
    axes = len(patch)
    numbers = torch.rand(number, 2 + 2 * axes)  # on the CPU: the same on every device
    wanted = share[0] + (share[1] - share[0]) * numbers[:, 0]
    stretch = (2 * numbers[:, 2 : 2 + axes] - 1) * math.log(1 / aspect) / 2
    sides = wanted.pow(1 / axes)[:, None] * (stretch - stretch.mean(1, keepdim=True)).exp()
    sizes = (sides.clamp(max=1) * torch.tensor(patch)).round().clamp(min=1)
    starts = (numbers[:, 2 + axes :] * (torch.tensor(patch) - sizes + 1)).floor()
    ends = torch.where(numbers[:, 1:2] < chance, starts + sizes, 0)
    edges = sent(torch.stack([starts, ends]), device or starts.device)
    inside = torch.ones((), dtype=torch.bool, device=edges.device)
    for axis, length in enumerate(patch):
        place = torch.arange(length, device=edges.device)
        line = (place >= edges[0, :, axis, None]) & (place < edges[1, :, axis, None])
        inside = inside & line.view(number, *[1] * axis, length, *[1] * (axes - 1 - axis))
    return inside[:, None]


def mixed(part: Tensor, inside: Tensor) -> Tensor:
    """``part`` ``(N, C, *patch)`` or ``(N, *patch)``, within the boxes that of its neighbour in the batch."""
    return torch.where(inside if part.ndim == inside.ndim else inside[:, 0], part.roll(1, 0), part)


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
