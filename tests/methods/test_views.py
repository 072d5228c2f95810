"""Boxes, strong views, perturbed features, pyramids."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.training.boxes import boxes, mixed
from atso_bench.datasets._frames.draws import MEAN, STD
from atso_bench.datasets._frames.network import StreetNetwork
from atso_bench.datasets._frames.strong import strong_crops
from atso_bench.datasets._volumes.strong import strong_patches
from atso_bench.methods._views import Pyramid, encoder_of, perturbed_copies

STREET = {"encoder_name": "resnet18", "in_channels": 3, "classes": 4}


@pytest.mark.parametrize("patch", [(32, 48), (16, 24, 32)])
@pytest.mark.parametrize("share", [(0.5, 0.5), (0.02, 0.4)])
def test_a_box_covers_its_share_of_the_patch(patch, share):
    torch.manual_seed(0)
    inside = boxes(400, patch, share)
    assert inside.shape == (400, 1, *patch)
    covered = inside.float().flatten(1).mean(1)
    assert covered.max() <= share[1] * 1.2
    assert covered.mean().item() == pytest.approx(sum(share) / 2, rel=0.15)
    for one in inside[:20, 0]:  # a box: what it covers is the product of what it covers along each axis
        lines = [one.any(tuple(a for a in range(len(patch)) if a != axis)) for axis in range(len(patch))]
        assert one.sum() == torch.stack([line.sum() for line in lines]).prod()
        for line in lines:
            assert (line.int().diff() != 0).sum() <= 2


def test_boxes_come_with_their_chance():
    torch.manual_seed(0)
    found = boxes(1000, (8, 8), (0.1, 0.1), chance=0.3).flatten(1).any(1).float().mean()
    assert 0.25 < found < 0.35
    assert not boxes(50, (8, 8), (0.5, 0.5), chance=0.0).any()


@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (3, 8, 8)])
def test_a_batch_mixed_with_itself_changes_nothing_and_others_change_inside_alone(shape):
    torch.manual_seed(0)
    inside = boxes(3, (8, 8), (0.3, 0.3))
    same = torch.randn(1, *shape[1:]).expand(shape)
    assert torch.equal(mixed(same, inside), same)
    part = torch.randn(shape)
    changed = mixed(part, inside)
    where = inside.expand(shape) if len(shape) == 4 else inside[:, 0]
    assert torch.equal(changed[~where], part[~where])
    assert torch.equal(changed[where], part.roll(1, 0)[where])
    assert torch.equal(mixed(part[:1], inside[:1]), part[:1])  # a batch of one has no other


@pytest.mark.parametrize("shape", [(8, 1, 24, 24), (4, 2, 12, 12, 12)])
def test_a_strong_view_of_volumes_changes_intensities_and_no_places(shape):
    torch.manual_seed(0)
    image = torch.randn(shape)
    strong = strong_patches(image)
    assert strong.shape == image.shape
    assert strong.isfinite().all()
    flat, before = strong.flatten(1), image.flatten(1)
    low, reach = before.amin(1), before.amax(1) - before.amin(1)
    assert (flat >= low[:, None] - 1e-4).all()
    assert (flat <= (low + 1.5 * reach)[:, None] + 1e-4).all()  # half as bright again, from the darkest voxel on
    alike = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(flat, before, strict=True)])
    assert (alike > 0.5).all()
    assert not torch.equal(strong, image)
    torch.manual_seed(0)
    torch.randn(shape)
    assert torch.equal(strong_patches(image), strong)
    assert strong_patches(torch.full(shape, 3.0)).sub(3).abs().max() < 1e-4


def test_a_strong_view_of_frames_has_other_colours_and_is_grey_now_and_then():
    torch.manual_seed(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    colours = torch.rand(1, 3, 24, 24).expand(200, -1, -1, -1)
    strong = strong_crops((colours - mean) / std) * std + mean
    assert strong.min() > -1e-4
    assert strong.max() < 1 + 1e-4
    grey = (strong.amax(1) - strong.amin(1)).flatten(1).amax(1) < 1e-3
    assert 0.1 < grey.float().mean() < 0.3
    unchanged = (strong - colours).abs().flatten(1).amax(1) < 1e-4
    assert 0.04 < unchanged.float().mean() < 0.14  # 0.2 * 0.8 * 0.5 = 0.08


def networks(tiny):
    task = tiny.task(tiny.pool[:2], tiny.pool, Budget("smoke", 14), {"width": 2})
    return [
        (task.network(), torch.randn(3, 1, *task.recipe.patch)),
        (StreetNetwork(STREET), torch.randn(3, 3, 32, 48)),
    ]


def test_perturbed_copies_come_last_and_without_perturbation_are_copies(tiny):
    for network, image in networks(tiny):
        network.eval()
        with torch.inference_mode():
            plain = network(image)
            with perturbed_copies(network, 1, 3, 0.0):
                same = network(image)
            with perturbed_copies(network, 1, 3, 0.5):
                other = network(image)
            assert torch.equal(network(image), plain)
        assert len(same) == len(other) == 5
        assert torch.allclose(same, torch.cat([plain, plain[1:]]), atol=1e-5)
        assert torch.allclose(other[:3], plain, atol=1e-5)
        assert not torch.allclose(other[3:], plain[1:], atol=1e-3)


def test_a_pyramid_is_the_networks_own_heads_or_more_on_its_encoder(tiny):
    (planned, volumes), (street, frames) = networks(tiny)
    own, added = Pyramid(planned, volumes[:2], 3), Pyramid(street, frames[:2], 4)
    assert not own.extra
    assert len(own.train()(volumes)) > 1
    assert len(added.extra) == 3
    heads = added.train()(frames)
    assert [len(heads), heads[0].shape[2:]] == [4, frames.shape[2:]]
    sizes = [head.shape[2] for head in heads]
    assert sizes == sorted(sizes, reverse=True)
    added.eval()
    street.eval()
    with torch.inference_mode():
        assert torch.equal(added(frames), street(frames))


def test_making_a_pyramid_leaves_the_network_as_it_was():
    street = StreetNetwork(STREET)
    before = {name: value.clone() for name, value in street.state_dict().items()}
    Pyramid(street, torch.randn(2, 3, 32, 32), 4)
    assert all(torch.equal(value, before[name]) for name, value in street.state_dict().items())


def test_a_network_without_an_encoder_is_named():
    with pytest.raises(LookupError, match="Linear has no module called 'encoder'"):
        encoder_of(nn.Linear(1, 1))
