"""Strong views for consistency methods: intensities change, places do not. Parameters are those of UniMatch's code.

UniMatch (Yang et al., CVPR 2023) jitters colours with probability 0.8 (brightness, contrast and saturation by up to
0.5, hue by up to 0.25), makes frames grey with probability 0.2, and blurs with probability 0.5; on medical slices it
does the same to their grey values. A volume has no hue, and its blur is nnU-Net's, up to 1 voxel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as colours

from atso_bench.datasets import _transforms as transforms
from atso_bench.datasets._street_draws import MEAN, STD

JITTER, HUE = 0.5, 0.25
JITTERED, GREY, BLURRED = 0.8, 0.2, 0.5
"""Chances of a sample."""

_FRAME_SIGMA = (0.1, 2.0)  # pixels
_PATCH_SIGMA = (1 / 3, 1.0)  # voxels; what nnU-Net's kernel can


def strong_patches(image: Tensor) -> Tensor:
    """Normalised patches ``(N, C, *patch)`` with other brightness and contrast, or blurred, all channels alike."""
    rows, channels = image.flatten(0, 1), image.shape[1]
    chances = torch.rand(len(image), 5).repeat_interleave(channels, 0)  # on the CPU: nothing waits for a device
    jittered, blurred, *numbers = chances.unbind(1)
    bright, contrast = (_to(rows, 1 + JITTER * (2 * number - 1)) for number in numbers[:2])
    low = rows.flatten(1).amin(1).view(-1, *[1] * (rows.ndim - 1))
    changed = transforms.contrast(low + transforms.brighten(rows - low, bright), contrast)
    rows = torch.where(_to(rows, jittered < JITTERED), changed, rows)
    least, most = _PATCH_SIGMA
    sigmas = (least + (most - least) * numbers[2]).to(rows.device)[:, None].expand(-1, rows.ndim - 1)
    return torch.where(_to(rows, blurred < BLURRED), transforms.blur(rows, sigmas), rows).view_as(image)


def strong_crops(image: Tensor) -> Tensor:
    """Crops ``(N, 3, H, W)`` as ``normalise`` gives them, with other colours, grey, or blurred."""
    mean, std = (image.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    numbers = torch.rand(len(image), 8).tolist()
    crops = [_strong_crop(crop, *each) for crop, each in zip(image * std + mean, numbers, strict=True)]
    return (torch.stack(crops) - mean) / std


def _strong_crop(
    crop: Tensor,
    jittered: float,
    grey: float,
    blurred: float,
    bright: float,
    contrast: float,
    saturation: float,
    hue: float,
    sharpness: float,
) -> Tensor:
    """One crop ``(3, H, W)`` in [0, 1], from eight random numbers in [0, 1)."""
    if jittered < JITTERED:
        crop = colours.adjust_brightness(crop, 1 + JITTER * (2 * bright - 1))
        crop = colours.adjust_contrast(crop, 1 + JITTER * (2 * contrast - 1))
        crop = colours.adjust_saturation(crop, 1 + JITTER * (2 * saturation - 1))
        crop = colours.adjust_hue(crop.clamp(0, 1), HUE * (2 * hue - 1))
    if grey < GREY:
        crop = colours.rgb_to_grayscale(crop, num_output_channels=3)
    if blurred < BLURRED:
        least, most = _FRAME_SIGMA
        sigma = least + (most - least) * sharpness
        crop = colours.gaussian_blur(crop, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma, sigma])
    return crop


def _to(rows: Tensor, values: Tensor) -> Tensor:
    """``(R)`` on the device of ``rows``, as something that goes with all its voxels."""
    return values.to(rows.device).view(-1, *[1] * (rows.ndim - 1))
