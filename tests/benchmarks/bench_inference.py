"""Pseudo labels: our predictor against nnU-Net's own, on the same network, plan and volumes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hippocampi import open_cases
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from racing import faster

from atso_bench.benchmark.spec import Budget

pytestmark = pytest.mark.benchmark(group="pseudo labels")
VOLUMES = 2


@pytest.fixture(scope="module")
def task_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Any]:
    """A configuration's task with so many features in the network's first stage."""

    @cache
    def opened(configuration: str) -> tuple[Any, Any]:
        return open_cases(tmp_path_factory.mktemp(configuration), configuration)

    def task(configuration: str, width: int) -> Any:
        dataset, one = opened(configuration)
        return dataset.task(tuple(one.labels), tuple(one.images), Budget.parse("standard"), {"width": width})

    return task


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize(("configuration", "width"), [("2d", 16), ("2d", 32), ("3d_fullres", 8), ("3d_fullres", 16)])
def test_a_volume(
    race: Callable[..., Any],
    device: torch.device,
    task_of: Callable[[str, int], Any],
    configuration: str,
    width: int,
    mirror: bool,
) -> None:
    task = task_of(configuration, width)
    torch.manual_seed(0)
    network = task.network().eval().to(device)
    theirs = nnUNetPredictor(
        device=device, use_mirroring=mirror, perform_everything_on_device=device.type == "cuda", allow_tqdm=False
    )
    described = (network, task._manager, task._configuration, None, task.dataset_json)
    theirs.manual_initialization(*described, "nnUNetTrainer", task._augmentation.mirror_axes)
    images = [task.images[case_id] for case_id in list(task.images)[:VOLUMES]]

    def ours() -> list[torch.Tensor]:
        return [task.predict(network, image, device, mirror=mirror).argmax(0) for image in images]

    def slice_by_slice() -> list[torch.Tensor]:
        arrays = [torch.from_numpy(image.array.copy()) for image in images]
        return [theirs.predict_sliding_window_return_logits(array).float().argmax(0).cpu() for array in arrays]

    differing = [float((a != b).float().mean()) for a, b in zip(ours(), slice_by_slice(), strict=True)]
    assert max(differing) < 1e-4  # ties, see test_predictor.py
    race(
        f"pseudo labels, {configuration}, width {width}{', mirrored' if mirror else ''}",
        ours,
        slice_by_slice,
        opponent="nnU-Net's predictor",
        goal=faster(3.5) if configuration == "2d" and mirror else None,
        rounds=5,
        work=VOLUMES,
    )
