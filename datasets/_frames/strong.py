"""Strong views of frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as colours

from atso_bench.benchmark.machine.sending import constant
from atso_bench.datasets._frames.draws import MEAN, STD
from atso_bench.datasets._shared.strong import BLURRED, GREY, HUE, JITTER, JITTERED

_FRAME_SIGMA = (0.1, 2.0)  # pixels


def strong_crops(image: Tensor) -> Tensor:
    """Crops ``(N, 3, H, W)`` as ``normalise`` gives them, with other colours, grey, or blurred."""
    mean, std = (constant(values, image.device, image.dtype)[:, None, None] for values in (MEAN, STD))
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
