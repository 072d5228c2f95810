"""AugSeg's random operations on intensities: some of eleven, each with a strength from a continuous range.

The operations are PIL's, on a scale on which a patch's darkest voxel is 0 and its brightest 1, so that they work on
normalised volumes and frames alike. Saturation and hue change images of several channels alone, as grey ones have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as colours

Operation = Callable[[Tensor, float], Tensor]
"""(patch ``(C, *spatial)`` in [0, 1], strength in [0, 1)) -> another."""


def operated(image: Tensor, most: int) -> Tensor:
    """Each patch of ``(N, C, *patch)`` after 1 to ``most`` random operations, which may repeat."""
    rows = image.flatten(1)
    low, high = (_wide(edge, image) for edge in (rows.amin(1), rows.amax(1)))
    reach = (high - low).clamp_min(1e-6)
    numbers = torch.rand(len(image), 1 + 2 * most).tolist()  # on the CPU: the same on every device
    shown = (image - low) / reach
    changed = torch.stack([_several(patch, most, *each) for patch, each in zip(shown, numbers, strict=True)])
    return changed * reach + low


def _several(patch: Tensor, most: int, count: float, *pairs: float) -> Tensor:
    for place in range(1 + int(count * most)):
        kind, strength = pairs[2 * place : 2 * place + 2]
        patch = OPERATIONS[int(kind * len(OPERATIONS))](patch, strength)
    return patch


def identity(patch: Tensor, strength: float) -> Tensor:
    """The same."""
    return patch


def stretched(patch: Tensor, strength: float) -> Tensor:
    """Each channel over the whole range (autocontrast)."""
    rows = patch.flatten(1)
    low, high = (_wide(edge, patch) for edge in (rows.amin(1), rows.amax(1)))
    return (patch - low) / (high - low).clamp_min(1e-6)


def equalised(patch: Tensor, strength: float) -> Tensor:
    """Each of 256 levels of a channel as often as any other, as far as can be."""
    levels = (patch.clamp(0, 1) * 255).round().long().flatten(1)
    own = levels + 256 * torch.arange(len(patch), device=patch.device)[:, None]
    counts = torch.zeros(256 * len(patch), dtype=torch.int64, device=patch.device)
    counts.scatter_add_(0, own.flatten(), torch.ones_like(own).flatten())
    below = counts.view(len(patch), 256).cumsum(1)
    return (below.gather(1, levels) / levels.shape[1]).to(patch.dtype).view_as(patch)


def blurred(patch: Tensor, strength: float) -> Tensor:
    """A Gaussian of 0.1 to 2 voxels."""
    return _gaussian(patch, 0.1 + 1.9 * strength)


def contrasted(patch: Tensor, strength: float) -> Tensor:
    """Between the patch and its mean."""
    return torch.lerp(patch.mean().expand_as(patch), patch, _kept(strength))


def darkened(patch: Tensor, strength: float) -> Tensor:
    """Between the patch and black (brightness)."""
    return patch * _kept(strength)


def faded(patch: Tensor, strength: float) -> Tensor:
    """Between the patch and its grey form, the mean of its channels (colour)."""
    return torch.lerp(patch.mean(0, keepdim=True).expand_as(patch), patch, _kept(strength))


def softened(patch: Tensor, strength: float) -> Tensor:
    """Between the patch and one blurred by 0.7 voxels, about PIL's own filter (sharpness)."""
    return torch.lerp(_gaussian(patch, 0.7), patch, _kept(strength))


def posterised(patch: Tensor, strength: float) -> Tensor:
    """4 to 7 of 8 bits of each value."""
    step = 2 ** max(1, math.ceil(4 * strength))
    return ((patch.clamp(0, 1) * 255).round() / step).floor() * step / 255


def solarised(patch: Tensor, strength: float) -> Tensor:
    """Values from a limit on turned round."""
    return torch.where(patch * 255 >= 256 - max(1, math.ceil(255 * strength)), 1 - patch, patch)


def turned(patch: Tensor, strength: float) -> Tensor:
    """Another hue, by up to half of the circle to either side; of two axes and three channels alone."""
    if patch.ndim != 3 or len(patch) != 3:
        return patch
    turned: Tensor = colours.adjust_hue(patch.clamp(0, 1), strength - 0.5)
    return turned


OPERATIONS: tuple[Operation, ...] = (
    identity,
    stretched,
    equalised,
    blurred,
    contrasted,
    darkened,
    faded,
    softened,
    posterised,
    solarised,
    turned,
)


def _kept(strength: float) -> float:
    """What is left of a patch, 0.95 to 0.05."""
    return 0.95 - 0.9 * strength


def _gaussian(patch: Tensor, sigma: float) -> Tensor:
    """``(C, *spatial)`` blurred along every spatial axis, its edges repeated."""
    reach = max(1, math.ceil(3 * sigma))
    weights = [math.exp(-(shift**2) / (2 * sigma**2)) for shift in range(-reach, reach + 1)]
    for axis in range(1, patch.ndim):
        length = patch.shape[axis]
        place = torch.arange(length, device=patch.device)
        shifted = (
            weight / sum(weights) * patch.index_select(axis, (place + shift).clamp(0, length - 1))
            for shift, weight in enumerate(weights, start=-reach)
        )
        patch = torch.stack(list(shifted)).sum(0)
    return patch


def _wide(values: Tensor, part: Tensor) -> Tensor:
    """``(N)`` as something that goes with all of ``part`` ``(N, ...)``."""
    return values.view(-1, *[1] * (part.ndim - 1))
