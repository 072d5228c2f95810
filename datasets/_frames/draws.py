"""Batches of scaled, cropped and mirrored street frames; only the part of a frame that a crop needs is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Picture
from torch import Tensor

from atso_bench.benchmark.machine.sending import constant
from atso_bench.benchmark.task import IGNORE, Draw, Pool

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of the RGB channels in [0, 1], over ImageNet, on which the networks' encoders were trained."""


def normalise(image: Tensor) -> Tensor:
    """``(..., 3, H, W)`` uint8 RGB to float32 with ImageNet's mean 0 and standard deviation 1, on the same device."""
    mean, std = (255 * constant(values, image.device)[:, None, None] for values in (MEAN, STD))
    return image.float().sub_(mean).div_(std)


class FrameDraw(Draw):
    """Draws a batch from a pool at each call: a function of NumPy's global random state, no more.

    A frame, a scale, a place and a side are drawn for each sample; the image and its label share them. Intensities
    stay as they are: a method that wants several views of one image makes them from the batch.

    Attributes:
        pool: frames ``(3, H, W)`` uint8 RGB; labels, if any, ``(H, W)`` or soft ``(K, H, W)``.
        size: samples in a batch.
        patch: height and width of a sample in pixels. A scaled frame that is smaller is padded at the right and the
            bottom: black, and ``IGNORE`` or a soft label of zeros.
        scales: two numbers are the ends of a range, each scale in it equally likely; otherwise one of them is drawn.
        mirror: whether half of the samples are flipped from left to right.
    """

    def __init__(
        self, pool: Pool, size: int, patch: tuple[int, int], scales: Sequence[float], mirror: bool = True
    ) -> None:
        if not pool.ids:
            raise ValueError("a batch cannot be drawn from a pool without frames")
        if not scales or min(scales) <= 0:
            raise ValueError(f"recipe.scales must be one or more numbers above 0, got {tuple(scales)}")
        self.pool, self.size, self.patch = pool, size, patch
        self.scales, self.mirror = tuple(scales), mirror

    def read(self) -> dict[str, Any]:
        samples = [self._sample(*numbers) for numbers in np.random.random((self.size, 5))]  # noqa: NPY002
        drawn = {"image": torch.from_numpy(np.stack([image for image, _ in samples]))}
        labels = [label for _, label in samples if label is not None]
        return {**drawn, "label": torch.from_numpy(np.stack(labels))} if labels else drawn

    def finish(self, drawn: Mapping[str, Any], device: torch.device) -> tuple[Tensor, Tensor | None]:
        image, label = super().finish(drawn, device)
        return normalise(image), label if label is None or label.is_floating_point() else label.long()

    def _sample(
        self, frame: float, scale: float, top: float, left: float, side: float
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """One sample from five random numbers in [0, 1)."""
        name = self.pool.ids[int(frame * len(self.pool.ids))]
        image, factor = self.pool.images[name].array, self._scale(scale)
        rows = _span(image.shape[1], factor, self.patch[0], top)
        columns = _span(image.shape[2], factor, self.patch[1], left)
        crop = _Crop(rows, columns, flip=self.mirror and side < 0.5)
        drawn = self._padded(crop.of_image(image), 0)
        if self.pool.labels is None:
            return drawn, None
        label = self.pool.labels[name]
        if label.shape[-2:] != image.shape[1:]:
            raise ValueError(
                f"the label of {name} has {label.shape[-2:]} pixels and its image {image.shape[1:]}; "
                "prepare the data again"
            )
        if label.ndim == 3:
            return drawn, self._padded(crop.of_soft_label(label), 0)
        return drawn, self._padded(crop.of_label(label), IGNORE)

    def _scale(self, number: float) -> float:
        if len(self.scales) == 2:
            low, high = self.scales
            return low + number * (high - low)
        return self.scales[int(number * len(self.scales))]

    def _padded(self, part: np.ndarray, value: int) -> np.ndarray:
        """``part`` ``(..., h, w)`` in the top left corner of ``(..., *patch)``."""
        full = np.full((*part.shape[:-2], *self.patch), value, part.dtype)
        full[..., : part.shape[-2], : part.shape[-1]] = part
        return full


class _Span(NamedTuple):
    """Along one axis: pixels ``start`` to ``start + length`` of a frame of ``size`` pixels scaled to ``scaled``."""

    size: int
    scaled: int
    start: int
    length: int

    def nearest(self) -> np.ndarray:
        """Pixel of the frame at the centre of each pixel; in integers, so that no tie is left to rounding."""
        return (2 * np.arange(self.start, self.start + self.length) + 1) * self.size // (2 * self.scaled)

    def centres(self) -> np.ndarray:
        """Where the centre of each pixel lies in the frame, in its pixels; at its edge, where its last pixel does."""
        centres = (np.arange(self.start, self.start + self.length) + 0.5) * self.size / self.scaled - 0.5
        return centres.clip(0, self.size - 1)

    def source(self) -> tuple[slice, float, float]:
        """What to read of the frame for a filtered crop, and where in that the crop begins and ends."""
        begin, end = (at * self.size / self.scaled for at in (self.start, self.start + self.length))
        # PIL's bilinear filter reaches one pixel of the scaled frame to either side
        margin = math.ceil(max(1.0, self.size / self.scaled)) + 1
        first, last = max(0, int(begin) - margin), min(self.size, math.ceil(end) + margin)
        return slice(first, last), begin - first, end - first


def _span(size: int, scale: float, patch: int, at: float) -> _Span:
    """The span of at most ``patch`` pixels that begins at the share ``at`` in [0, 1) of the possible places."""
    scaled = max(1, int(size * scale + 0.5))
    length = min(patch, scaled)
    return _Span(size, scaled, int(at * (scaled - length + 1)), length)


@dataclass(frozen=True)
class _Crop:
    """One geometry for an image and its label; gives what scaling the whole frame and then cutting it would give."""

    rows: _Span
    columns: _Span
    flip: bool

    def of_image(self, image: Any) -> np.ndarray:
        """Bilinear, ``(3, H, W)`` to ``(3, h, w)`` uint8."""
        (tall, top, bottom), (wide, left, right) = self.rows.source(), self.columns.source()
        picture = Picture.fromarray(np.ascontiguousarray(image[:, tall, wide].transpose(1, 2, 0)))
        size = (self.columns.length, self.rows.length)
        scaled = picture.resize(size, Picture.Resampling.BILINEAR, box=(left, top, right, bottom))
        return self._flipped(np.asarray(scaled).transpose(2, 0, 1))

    def of_label(self, label: np.ndarray) -> np.ndarray:
        """The nearest label, never one between two; ``(H, W)`` to ``(h, w)``."""
        return self._flipped(label[self.rows.nearest()[:, None], self.columns.nearest()])

    def of_soft_label(self, label: np.ndarray) -> np.ndarray:
        """Bilinear, so that probabilities go on adding up to 1; ``(K, H, W)`` to ``(K, h, w)`` float32."""
        rows, columns = self.rows.centres(), self.columns.centres()
        top, left = int(rows[0]), int(columns[0])
        part = np.array(label[:, top : math.ceil(rows[-1]) + 1, left : math.ceil(columns[-1]) + 1])
        # grid_sample wants places from -1 to 1, from edge to edge of the part
        across, down = (2 * columns - 2 * left + 1) / part.shape[2] - 1, (2 * rows - 2 * top + 1) / part.shape[1] - 1
        places = torch.from_numpy(np.stack(np.meshgrid(across, down), axis=-1)).float()
        soft = F.grid_sample(
            torch.from_numpy(part).float()[None], places[None], padding_mode="border", align_corners=False
        )
        return self._flipped(soft[0].numpy())

    def _flipped(self, part: np.ndarray) -> np.ndarray:
        return part[..., ::-1] if self.flip else part
