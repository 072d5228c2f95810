"""Strong views for consistency methods: intensities change, places do not. Parameters are those of UniMatch's code.

UniMatch (Yang et al., CVPR 2023) jitters colours with probability 0.8 (brightness, contrast and saturation by up to
0.5, hue by up to 0.25), makes frames grey with probability 0.2, and blurs with probability 0.5; on medical slices it
does the same to their grey values. A volume has no hue, and its blur is nnU-Net's, up to 1 voxel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from atso_bench.benchmark.machine.sending import sent
from atso_bench.datasets._shared.strong import BLURRED, JITTER, JITTERED
from atso_bench.datasets._volumes import transforms

_PATCH_SIGMA = (1 / 3, 1.0)  # voxels; what nnU-Net's kernel can


def strong_patches(image: Tensor) -> Tensor:
    """Normalised patches ``(N, C, *patch)`` with other brightness and contrast, or blurred, all channels alike."""
    rows, channels = image.flatten(0, 1), image.shape[1]
    chances = torch.rand(len(image), 5).repeat_interleave(channels, 0)  # on the CPU: the same on every device
    jittered, blurred, *numbers = sent(chances, rows.device).unbind(1)
    bright, contrast = (1 + JITTER * (2 * number - 1) for number in numbers[:2])
    low = rows.flatten(1).amin(1).view(-1, *[1] * (rows.ndim - 1))
    changed = transforms.contrast(low + transforms.brighten(rows - low, bright), contrast)
    rows = torch.where(_wide(jittered < JITTERED, rows), changed, rows)
    least, most = _PATCH_SIGMA
    sigmas = (least + (most - least) * numbers[2])[:, None].expand(-1, rows.ndim - 1)
    return torch.where(_wide(blurred < BLURRED, rows), transforms.blur(rows, sigmas), rows).view_as(image)


def _wide(values: Tensor, rows: Tensor) -> Tensor:
    """``(R)`` as something that goes with all voxels of ``rows``."""
    return values.view(-1, *[1] * (rows.ndim - 1))
