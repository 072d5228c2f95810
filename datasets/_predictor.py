"""nnU-Net's sliding-window predictor, with several tiles in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor, nn

from atso_bench.datasets._storage import quiet

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

    def logits(self, network: nn.Module, image: Tensor, *, mirror: bool) -> Tensor:
        """Logits ``(K, *spatial)`` of image ``(C, *spatial)``, on the CPU; the network's mode is left as it was."""
        self.network, self.use_mirroring = network, mirror
        training = network.training
        try:
            return self.predict_sliding_window_return_logits(image).cpu()
        finally:
            network.train(training)

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: Sequence[tuple[Any, ...]], do_on_device: bool = True
    ) -> Tensor:
        where = self.device if do_on_device else torch.device("cpu")
        data = data.to(where)
        heads = self.label_manager.num_segmentation_heads
        total = torch.zeros((heads, *data.shape[1:]), dtype=torch.half, device=where)
        weights = torch.zeros(data.shape[1:], dtype=torch.half, device=where)
        patch = tuple(self.configuration_manager.patch_size)
        gaussian = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=where)
        size = max(1, _VOXELS.get(self.device.type, _VOXELS["cpu"]) // math.prod(patch))
        for start in range(0, len(slicers), size):
            places = slicers[start : start + size]
            tiles = torch.stack([data[place] for place in places]).to(self.device)
            for place, tile in zip(places, self._internal_maybe_mirror_and_predict(tiles).to(where), strict=True):
                total[place] += tile * gaussian
                weights[place[1:]] += gaussian
        total /= weights
        if torch.isinf(total).any():
            raise RuntimeError("the network's logits overflow half precision; its weights have diverged")
        return total
