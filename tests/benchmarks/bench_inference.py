"""Pseudo labels: our predictor against nnU-Net's own, on the same network, plan and volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import volumes
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from racing import faster, sized

pytestmark = pytest.mark.benchmark(group="pseudo labels")
VOLUMES = sized(2, 1)
NETWORKS = sized([("2d", 8), ("2d", 32), ("3d_fullres", 8), ("3d_fullres", 16)], [("2d", 4), ("3d_fullres", 4)])


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize(("configuration", "width"), NETWORKS)
def test_a_volume(
    race: Callable[..., Any],
    device: torch.device,
    configuration: str,
    width: int,
    mirror: bool,
) -> None:
    task = volumes.task(configuration, width=width)
    torch.manual_seed(0)
    network = task.network().eval().to(device)
    theirs = nnUNetPredictor(
        device=device, use_mirroring=mirror, perform_everything_on_device=device.type == "cuda", allow_tqdm=False
    )
    described = (network, task._manager, task._configuration, None, task.dataset_json)
    theirs.manual_initialization(*described, "nnUNetTrainer", task._geometry.mirror_axes)
    images = [task.images[case_id] for case_id in list(task.images)[:VOLUMES]]

    def ours() -> list[torch.Tensor]:
        return [task.predict(network, image, device, mirror=mirror).argmax(0) for image in images]

    def slice_by_slice() -> list[torch.Tensor]:
        arrays = [torch.from_numpy(image.array.copy()) for image in images]
        return [theirs.predict_sliding_window_return_logits(array).float().argmax(0).cpu() for array in arrays]

    differing = [float((a != b).float().mean()) for a, b in zip(ours(), slice_by_slice(), strict=True)]
    assert max(differing) < 1e-4  # ties, see test_predictor.py
    race(
        f"pseudo labels of {volumes.DATA}, {configuration}, width {width}{', mirrored' if mirror else ''}: one volume",
        ours,
        slice_by_slice,
        opponent="nnU-Net's predictor",
        goal=faster(3.5) if configuration == "2d" and mirror else None,
        rounds=5,
        work=VOLUMES,
    )
