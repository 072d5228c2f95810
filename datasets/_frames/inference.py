"""Prediction of a whole street frame, in one pass or by a sliding window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from atso_bench.datasets._frames.draws import normalise

# pixels in one forward pass: enough to fill the device, little enough to fit
_PIXELS = {"cuda": 1 << 22, "cpu": 1 << 18}

Place = tuple[slice, slice]
"""Rows and columns of a window."""


@torch.inference_mode()
def predict_frame(
    model: nn.Module,
    image: np.ndarray,
    device: torch.device,
    *,
    window: int | tuple[int, int] | None,
    stride: float,
    mirror: bool,
    shift: bool = False,
) -> Tensor:
    """Logits ``(K, H, W)`` float32 on ``device``: the network's own, or the log of averaged probabilities.

    All is computed in float32 on a GPU too: of logits in bfloat16, with 8 bits, the two largest are often equal.
    The model is left in the mode in which it was. A pixel's probabilities are averaged over the windows that hold it,
    and over the mirrored inputs.

    Args:
        model: ``(N, 3, h, w)`` normalised, of any size, to logits ``(N, K, h, w)``; on ``device``.
        image: ``(3, H, W)`` uint8 RGB.
        device: where to compute.
        window: height and width of the window in pixels; None passes the whole frame at once.
        stride: pixels from window to window along both axes, rounded up; of no effect without a window.
        mirror: also predict the input flipped from left to right.
        shift: move a window that reaches beyond the frame back inside, as CPS does (800, stride 2/3 of it); otherwise
            it is cut off at the edge, as UniMatch does (801, stride 534).
    """
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a frame is (3, H, W) uint8, got {image.shape} {image.dtype}")
    frame = normalise(torch.from_numpy(np.array(image, order="C")).to(device))
    with _evaluating(model):
        if window is None and not mirror:
            return torch.as_tensor(model(frame[None])[0]).float()
        places = _places(frame.shape[1:], window, stride, shift)
        return _averaged(model, frame, places, mirror)


def _averaged(model: nn.Module, frame: Tensor, places: list[Place], mirror: bool) -> Tensor:
    """Log of the probabilities ``(K, H, W)``, averaged over ``places``."""
    total: Tensor | None = None
    windows = frame.new_zeros(frame.shape[1:])
    for together in _batches(places, _PIXELS.get(frame.device.type, _PIXELS["cpu"])):
        probabilities = _probabilities(model, torch.stack([frame[:, rows, columns] for rows, columns in together]))
        if mirror:
            flipped = torch.stack([frame[:, rows, columns].flip(-1) for rows, columns in together])
            probabilities = (probabilities + _probabilities(model, flipped).flip(-1)) / 2
        if total is None:
            total = frame.new_zeros((probabilities.shape[1], *frame.shape[1:]))
        for (rows, columns), part in zip(together, probabilities, strict=True):
            total[:, rows, columns] += part
            windows[rows, columns] += 1
    assert total is not None  # a frame has at least one window
    # a probability may underflow to 0, and an infinite logit would turn NaN where logits are scaled or interpolated
    return total.div_(windows).clamp_min_(torch.finfo(total.dtype).tiny).log_()


def _probabilities(model: nn.Module, tiles: Tensor) -> Tensor:
    """``(N, 3, h, w)`` to ``(N, K, h, w)`` float32."""
    return torch.as_tensor(model(tiles)).float().softmax(1)


def _places(shape: tuple[int, ...], window: int | tuple[int, int] | None, stride: float, shift: bool) -> list[Place]:
    """Windows that cover a frame of ``shape``, row by row."""
    if window is None:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    sizes = (window, window) if isinstance(window, int) else window
    step = math.ceil(stride)
    if not 1 <= step <= min(sizes):
        raise ValueError(f"the stride of windows of {sizes} pixels is from 1 to {min(sizes)} pixels, got {stride}")
    rows, columns = (_along(length, size, step, shift) for length, size in zip(shape, sizes, strict=True))
    return [(row, column) for row in rows for column in columns]


def _along(length: int, window: int, step: int, shift: bool) -> list[slice]:
    """Windows along one axis; the last one is the first that reaches the edge."""
    last = max(0, math.ceil((length - window) / step))
    starts = [k * step for k in range(last + 1)]
    if shift:
        starts[-1] = max(0, length - window)
    return [slice(start, min(start + window, length)) for start in starts]


def _batches(places: list[Place], pixels: int) -> Iterator[list[Place]]:
    """The same windows in batches of equal sizes, of at most ``pixels`` or of a single window."""
    by_size: dict[tuple[int, int], list[Place]] = {}
    for rows, columns in places:
        by_size.setdefault((rows.stop - rows.start, columns.stop - columns.start), []).append((rows, columns))
    for (height, width), equal in by_size.items():
        count = max(1, pixels // (height * width))
        for start in range(0, len(equal), count):
            yield equal[start : start + count]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each module goes back to its own mode, for a part of a network may be frozen."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
