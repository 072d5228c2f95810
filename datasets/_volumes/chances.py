"""The random parameters of nnU-Net's training transforms, for a whole batch at a time.

Probabilities and ranges are those of ``nnUNetTrainer.get_training_transforms``. ``tests/datasets/test_transforms.py``
holds them against nnU-Net's own pipeline, so that a new version of it does not pass unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROTATION, SCALING, SCALES = 0.2, 0.2, (0.7, 1.4)
NOISE, DEVIATIONS = 0.1, (0.0, 0.1)
BLUR, BLUR_CHANNEL, SIGMAS = 0.2, 0.5, (0.5, 1.0)
BRIGHTNESS, BRIGHTNESSES = 0.15, (0.75, 1.25)
CONTRAST, CONTRASTS = 0.15, (0.75, 1.25)
COARSE, COARSE_CHANNEL, COARSENESS = 0.25, 0.5, (0.5, 1.0)
GAMMA_INVERTED, GAMMA, EXPONENTS = 0.1, 0.3, (0.7, 1.5)
MIRROR = 0.5


@dataclass(frozen=True)
class Geometry:
    """What nnU-Net makes of a patch size.

    Attributes:
        patch: what the network gets.
        wide: what is cut out of the image where a patch is turned or scaled.
        rotation: the largest angle in radians, to either side.
        layered: the first axis is so coarse that its layers are turned alike, about that axis.
        mirror_axes: axes along which patches may be mirrored, in training and at inference.
        masked: channels that stay zero where normalisation left voxels out.
    """

    patch: tuple[int, ...]
    wide: tuple[int, ...]
    rotation: tuple[float, float]
    layered: bool
    mirror_axes: tuple[int, ...]
    masked: tuple[int, ...] = ()

    @classmethod
    def of(cls, patch: Sequence[int], use_mask_for_norm: Sequence[bool] = ()) -> Geometry:
        """As nnUNetTrainer has it for ``patch``; ``use_mask_for_norm`` is the plan's, by channel."""
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        stand_in = SimpleNamespace(
            configuration_manager=SimpleNamespace(patch_size=list(patch)), print_to_log_file=lambda *_: None
        )
        configure = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size
        rotation, layered, wide, mirror_axes = configure(stand_in)
        masked = tuple(channel for channel, masks in enumerate(use_mask_for_norm) if masks)
        return cls(tuple(patch), tuple(map(int, wide)), tuple(rotation), layered, tuple(mirror_axes), masked)

    @property
    def turned_axes(self) -> int:
        """How many of the last axes are turned together."""
        return len(self.patch) - self.layered


def chances(size: int, channels: int, geometry: Geometry) -> dict[str, Tensor]:
    """Parameters of a batch of ``size`` samples, from NumPy's global random state.

    Returns:
        ``turned`` (samples) with ``matrices`` ``(., axes, axes)``; ``noisy`` (samples) with ``deviations``; and by
        rows, numbered ``sample * channels + channel``: ``blurred`` with ``sigmas`` ``(., axes)``, ``brightened`` and
        ``stretched`` with factors, ``coarse`` with ``sizes`` ``(., axes)``, ``inverted`` and ``raised`` with
        exponents; ``mirrored`` ``(size, axes)``, by axis whether to flip.
    """
    axes = len(geometry.patch)
    drawn: dict[str, Any] = {**_turns(size, geometry)}
    drawn["noisy"] = _some(size, NOISE)
    drawn["deviations"] = np.random.uniform(*DEVIATIONS, len(drawn["noisy"]))
    drawn["blurred"] = _rows(size, channels, BLUR, BLUR_CHANNEL)
    drawn["sigmas"] = np.random.uniform(*SIGMAS, (len(drawn["blurred"]), axes))
    drawn["brightened"] = _rows(size, channels, BRIGHTNESS)
    drawn["brightness"] = _about_one(BRIGHTNESSES, len(drawn["brightened"]))
    drawn["stretched"] = _rows(size, channels, CONTRAST)
    drawn["contrast"] = _about_one(CONTRASTS, len(drawn["stretched"]))
    drawn["coarse"] = _rows(size, channels, COARSE, COARSE_CHANNEL)
    shares = np.repeat(np.random.uniform(*COARSENESS, (len(drawn["coarse"]), 1)), axes, axis=1).astype(np.float32)
    if geometry.layered:
        shares[:, 0] = 1
    drawn["sizes"] = np.round(shares.astype(np.float64) * geometry.patch).astype(np.int64)
    drawn["inverted"] = _rows(size, channels, GAMMA_INVERTED)
    drawn["inverted_exponents"] = _about_one(EXPONENTS, len(drawn["inverted"]))
    drawn["raised"] = _rows(size, channels, GAMMA)
    drawn["exponents"] = _about_one(EXPONENTS, len(drawn["raised"]))
    drawn["mirrored"] = np.zeros((size, axes), bool)
    drawn["mirrored"][:, geometry.mirror_axes] = np.random.random((size, len(geometry.mirror_axes))) < MIRROR
    return {name: torch.from_numpy(_single(values)) for name, values in drawn.items()}


def _turns(size: int, geometry: Geometry) -> Mapping[str, np.ndarray]:
    axes = geometry.turned_axes
    rotated, scaled = np.random.random((2, size)) < [[ROTATION], [SCALING]]
    turned = np.flatnonzero(rotated | scaled)
    angles = np.random.uniform(*geometry.rotation, (len(turned), axes)) * rotated[turned, None]
    scales = np.where(scaled[turned], np.random.uniform(*SCALES, len(turned)), 1)
    return {"turned": turned, "matrices": rotations(angles) * scales[:, None, None]}


def rotations(angles: np.ndarray) -> np.ndarray:
    """Rotation matrices ``(N, axes, axes)``: of 3 axes about the first, then the second, then the third; of 2, one.

    Args:
        angles: ``(N, axes)`` in radians; of two axes the last angle counts.
    """
    cos, sin = np.cos(angles), np.sin(angles)
    zero, one = np.zeros(len(angles)), np.ones(len(angles))

    def matrix(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    if angles.shape[1] == 2:
        c, s = cos[:, 1], sin[:, 1]
        return matrix([[c, -s], [s, c]])
    (c0, c1, c2), (s0, s1, s2) = cos.T, sin.T
    first = matrix([[one, zero, zero], [zero, c0, -s0], [zero, s0, c0]])
    second = matrix([[c1, zero, s1], [zero, one, zero], [-s1, zero, c1]])
    third = matrix([[c2, -s2, zero], [s2, c2, zero], [zero, zero, one]])
    return third @ second @ first


def _some(size: int, chance: float) -> np.ndarray:
    return np.flatnonzero(np.random.random(size) < chance)


def _rows(size: int, channels: int, chance: float, chance_of_channel: float = 1.0) -> np.ndarray:
    """Rows of the samples that are taken, and of those the channels that are taken."""
    taken = np.random.random((size, 1)) < chance
    return np.flatnonzero(taken & (np.random.random((size, channels)) < chance_of_channel))


def _about_one(bounds: tuple[float, float], size: int) -> np.ndarray:
    """As likely below 1 as above it."""
    low, high = bounds
    share = np.random.random(size)
    return np.where(np.random.random(size) < 0.5, low + share * (1 - low), 1 + share * (high - 1))


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float64 else values
