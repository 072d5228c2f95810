"""nnU-Net's sliding-window predictor, with several tiles and mirrored tiles in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, combinations, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from atso_bench.datasets._shared.storage import quiet
from atso_bench.datasets._volumes.sums import Sums

# voxels of the tiles in one forward pass: enough to fill the device, little enough to fit
_VOXELS = {"cuda": 1 << 21, "cpu": 1 << 16}


class BatchedPredictor(nnUNetPredictor):
    """Gives the logits of nnU-Net's own predictor, which passes one tile at a time through a queue.

    Tiles are weighted and added in nnU-Net's order and precision, so only the forward pass differs, in its last bits.
    """

    def __init__(self, device: torch.device) -> None:
        fastest = torch.backends.cudnn.benchmark
        with quiet():
            super().__init__(
                tile_step_size=0.5,
                use_gaussian=True,
                perform_everything_on_device=True,
                device=device,
                allow_tqdm=False,
            )
        torch.backends.cudnn.benchmark = fastest  # nnU-Net switches it on for the whole process

    @torch.inference_mode()
    def slabs(self, network: nn.Module, image: Tensor, *, mirror: bool) -> Iterator[Tensor]:
        """Logits of image ``(C, *spatial)``, as soon as no later tile changes them; the network's mode is left as is.

        Yields:
            ``(K, n, *rest)`` in half precision on the CPU: piece by piece along the first spatial axis.

        Raises:
            RuntimeError: if a logit is infinite in half precision, or not a number.
        """
        self.network, self.use_mirroring = network.to(self.device), mirror
        training = network.training
        network.eval()
        try:
            with quick_kernels(network, self.device):
                yield from self._slabs(image)
        finally:
            network.train(training)

    def _slabs(self, image: Tensor) -> Iterator[Tensor]:
        padded, inner = pad_nd_image(image, self._patch, "constant", {"value": 0}, True, None)
        sums = Sums(self.label_manager.num_segmentation_heads, padded.shape[1:], self._patch, self.device, inner[1:])
        try:
            data = padded.to(sums.device)
        except torch.OutOfMemoryError:
            sums.leave_device()
            data = padded
        for places in in_parts(self._internal_get_sliding_window_slicers(padded.shape[1:]), self._tiles):
            tiles = self._logits(torch.stack([data[place] for place in places]).to(self.device), sums)
            gaussian = compute_gaussian(self._patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=sums.device)
            for place, tile in zip(places, tiles.to(sums.device).mul_(gaussian), strict=True):
                yield from sums.whole_before(place[1])
                sums.add(place[1:], tile, gaussian)
        yield from sums.whole_before(None)

    def _logits(self, tiles: Tensor, sums: Sums) -> Tensor:
        """The network's mean logits of tiles; if the device has no room beside the sums, these go to the CPU."""
        half = self.device.type == "cuda"
        try:
            with torch.autocast("cuda", enabled=half):
                return self._internal_maybe_mirror_and_predict(tiles)
        except torch.OutOfMemoryError:
            if sums.device.type == "cpu":
                raise
        sums.leave_device()
        with torch.autocast("cuda", enabled=half):
            return self._internal_maybe_mirror_and_predict(tiles)

    @torch.inference_mode()
    def _internal_maybe_mirror_and_predict(self, x: Tensor) -> Tensor:
        """Mean logits ``(N, K, *patch)`` of tiles ``(N, C, *patch)`` over their mirrored versions, added in order."""
        axes = [axis + 2 for axis in self.allowed_mirroring_axes or ()] if self.use_mirroring else []
        flips = list(chain.from_iterable(combinations(axes, number) for number in range(len(axes) + 1)))
        total: Tensor | None = None
        for some in in_parts(flips, max(1, self._tiles // len(x))):
            output = self.network(torch.cat([x.flip(flip) for flip in some]))
            for flip, part in zip(some, output.split(len(x)), strict=True):
                total = part if total is None else total.add_(part.flip(flip))
        assert total is not None
        return total.div_(len(flips))

    @property
    def _patch(self) -> tuple[int, ...]:
        return tuple(self.configuration_manager.patch_size)

    @property
    def _tiles(self) -> int:
        """Tiles in one forward pass."""
        return max(1, _VOXELS.get(self.device.type, _VOXELS["cpu"]) // math.prod(self._patch))


@contextmanager
def quick_kernels(network: nn.Module, device: torch.device) -> Iterator[None]:
    """On a CPU, let a network predict by the fastest kernels for float32; they differ in the last bits alone.

    Instance norm is a group norm with one channel a group, for which torch has a kernel of its own (it computes
    instance norm as the batch norm of a longer batch). And convolutions of one small tile take oneDNN too, where torch
    falls back to a convolution ten times as slow.
    """
    changed = []
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        for module in network.modules():
            if (kernel := _kernel(module)) is not None:
                module.forward = kernel
                changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _kernel(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    if isinstance(module, _InstanceNorm) and not module.track_running_stats:
        return partial(_instance_norm, module)
    if not isinstance(module, nn.Conv2d | nn.Conv3d) or module.weight.dtype != torch.float32:
        return None
    plain = module.padding_mode == "zeros" and isinstance(module.padding, tuple)
    return partial(_convolution, module, module.padding) if plain else None


def _instance_norm(module: _InstanceNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, x.shape[1], module.weight, module.bias, module.eps)


def _convolution(module: nn.Conv2d | nn.Conv3d, padding: Any, x: Tensor) -> Tensor:
    weight, bias = module.weight, module.bias
    return torch.mkldnn_convolution(x, weight, bias, padding, module.stride, module.dilation, module.groups)


def in_parts(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """Cut a sequence into parts of nearly equal length, of at most so many items."""
    parts = math.ceil(len(items) / most)
    bounds = [len(items) * part // parts for part in range(parts + 1)]
    return (items[start:stop] for start, stop in pairwise(bounds))
