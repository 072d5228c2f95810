"""CutMix's boxes (Yun et al., ICCV 2019), on patches of any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from atso_bench.benchmark.machine.sending import sent


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
