"""Pseudo labels by batched tiles and quick kernels are nnU-Net's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor, nn

from atso_bench.benchmark.spec import Budget
from atso_bench.datasets._volumes import predictor
from atso_bench.datasets._volumes.predictor import in_parts, quick_kernels

CPU = torch.device("cpu")


def nnunets(task: Any, network: nn.Module, image: Tensor, mirror: bool) -> tuple[Tensor, Tensor]:
    """Logits ``(K, *spatial)`` by nnU-Net's own predictor, tile by tile, and how far rounding moves them at most.

    nnU-Net adds weighted logits in half precision. In the corners its weights are so small that their products are
    multiples of 2^-24, the smallest number that there is; divided by the weights, these steps are wide.
    """
    theirs = nnUNetPredictor(device=CPU, use_mirroring=mirror, perform_everything_on_device=False, allow_tqdm=False)
    described = (network, task._manager, task._configuration, None, task.dataset_json)
    theirs.manual_initialization(*described, "nnUNetTrainer", task._geometry.mirror_axes)
    logits = theirs.predict_sliding_window_return_logits(image).float()

    patch = task.recipe.patch
    padded, inner = pad_nd_image(image, patch, "constant", {"value": 0}, True, None)
    weights = torch.zeros(padded.shape[1:])
    for place in theirs._internal_get_sliding_window_slicers(padded.shape[1:]):
        weights[place[1:]] += compute_gaussian(patch, sigma_scale=1 / 8, value_scaling_factor=10, device=CPU)
    return logits, 2**-24 / weights[inner[1:]] + 2 * torch.finfo(torch.half).eps * logits.abs().clamp_min(1)


@pytest.mark.parametrize("name", ["tiny", "tiny_3d"])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_masks_of_all_cases_are_nnunets(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str, mirror: bool, small: bool
) -> None:
    dataset = request.getfixturevalue(name)
    visible = (*dataset.pool, *dataset.test, *dataset.unlabelled)
    axes = 2 if name == "tiny" else 3
    patch = {"patch": [8, 16, 16][-axes:]} if small else {}  # overlapping tiles, or one that covers the image
    task = dataset.task(dataset.pool[:2], visible, Budget.parse("smoke"), patch)
    if small:
        monkeypatch.setitem(predictor._VOXELS, "cpu", 5 * 8 * 16 * 16)  # batches that do not come out even
    torch.manual_seed(1)
    network = task.network().eval()
    for case_id in visible[::3]:
        image = task.images[case_id]
        theirs, rounding = nnunets(task, network, torch.from_numpy(image.array.copy()), mirror)
        ours = task.predict(network, image, CPU, mirror=mirror)
        assert ((ours - theirs).abs() <= rounding).all()
        mine, its = ours.argmax(0)[None], theirs.argmax(0)[None]
        assert (mine != its).float().mean() < 1e-3
        # where the masks differ, nnU-Net's own logits of the two classes are equal but for rounding
        margin = theirs.gather(0, its) - theirs.gather(0, mine)
        assert (margin <= 2 * rounding.gather(0, its)).all()


@pytest.mark.parametrize("name", ["tiny", "tiny_3d"])
def test_quick_kernels_change_the_last_bits_at_most_and_are_taken_away_again(
    request: pytest.FixtureRequest, name: str
) -> None:
    dataset = request.getfixturevalue(name)
    task = dataset.task(dataset.pool[:2], dataset.pool, Budget.parse("smoke"), {})
    network = task.network().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)  # norms scale and shift
        for tiles in (1, 3):
            x = torch.randn(tiles, 1, *task.recipe.patch)
            plain = network(x)
            with quick_kernels(network, CPU):
                assert torch.allclose(network(x), plain, atol=1e-4, rtol=1e-4)
                kinds = {type(module).__name__ for module in network.modules() if "forward" in vars(module)}
            assert torch.equal(network(x), plain)
    axes = len(task.recipe.patch)
    assert kinds == {f"Conv{axes}d", f"InstanceNorm{axes}d"}
    with pytest.raises(RuntimeError, match="channels"), quick_kernels(network, CPU):
        network(torch.randn(1, 2, *task.recipe.patch))
    assert not any("forward" in vars(module) for module in network.modules())


def test_kernels_that_do_not_compute_the_same_are_left_alone() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.InstanceNorm2d(1, track_running_stats=True),
        nn.Conv2d(1, 1, 3).double(),
    )
    with quick_kernels(network, CPU):
        assert not any("forward" in vars(module) for module in network)
    norm = nn.InstanceNorm2d(1)
    with quick_kernels(norm, torch.device("cuda")):
        assert "forward" not in vars(norm)


def test_parts_are_nearly_equal_and_keep_the_order() -> None:
    assert [list(part) for part in in_parts(range(7), 3)] == [[0, 1], [2, 3], [4, 5, 6]]
    assert [len(part) for part in in_parts(range(40), 29)] == [20, 20]
    assert [len(part) for part in in_parts(range(2), 5)] == [2]
