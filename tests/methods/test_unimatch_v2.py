"""What makes UniMatch V2 UniMatch V2."""

from __future__ import annotations

import pytest
import torch
from caught import batch, caught, gradient
from fitting import fit
from torch import nn

from atso_bench.benchmark.spec import Budget
from atso_bench.datasets._frames.network import StreetNetwork
from atso_bench.methods import unimatch_v2
from atso_bench.methods._losses import where_confident
from atso_bench.methods.unimatch_v2 import complementary_dropout


class Levels(nn.Module):
    """An encoder that gives two levels of ones, and hands them on."""

    def __init__(self):
        super().__init__()
        self.encoder = Encoder()

    def forward(self, image):
        return self.encoder(image)


class Encoder(nn.Module):
    def forward(self, image):
        return [torch.ones(len(image), 64, 4, 4), torch.ones(len(image), 32, 2, 2)]


def test_a_channel_that_one_view_lacks_is_doubled_in_the_other_and_half_of_the_patches_keep_all():
    torch.manual_seed(0)
    model = Levels()
    with complementary_dropout(model, 2, 4, 0.5):
        levels = model(torch.zeros(10, 1, 8, 8))
    whole = []
    for level in levels:
        assert (level[:2] == 1).all()
        one, other = level[2:6], level[6:]
        assert torch.equal(one + other, torch.full_like(one, 2.0))
        assert (one == one[:, :, :1, :1]).all()
        kept = (one == 1).flatten(1).all(1)
        assert kept.sum() == 2
        assert set(one[~kept].unique().tolist()) == {0.0, 2.0}
        assert one[~kept].mean().item() == pytest.approx(1, abs=0.3)
        whole.append(kept)
    assert torch.equal(*whole)  # the same patches at all levels
    assert (model(torch.zeros(10, 1, 8, 8))[0] == 1).all()


@pytest.mark.parametrize(("share", "number"), [(0.0, 0), (1.0, 3)])
def test_the_share_of_whole_patches_is_an_option(share, number):
    model = Levels()
    with complementary_dropout(model, 0, 3, share):
        (level, _) = model(torch.zeros(6, 1, 8, 8))
    assert (level[:3] == 1).flatten(1).all(1).sum() == number


def test_real_networks_are_reached_and_left_as_they_were(tiny):
    task = tiny.task(tiny.pool[:2], tiny.pool, Budget("smoke", 14), {"width": 2})
    street = StreetNetwork({"encoder_name": "resnet18", "in_channels": 3, "classes": 4})
    for network, image in (
        (task.network(), torch.randn(4, 1, *task.recipe.patch)),
        (street, torch.randn(4, 3, 32, 48)),
    ):
        network.eval()
        with torch.inference_mode():
            plain = network(image)
            with complementary_dropout(network, 1, 1, 0.0):
                changed = network(image[:3])
            with complementary_dropout(network, 0, 2, 1.0):
                assert torch.allclose(network(image), plain, atol=1e-5)
            assert torch.equal(network(image), plain)
        assert torch.allclose(changed[0], plain[0], atol=1e-5)
        assert not torch.allclose(changed[1:], plain[1:3], atol=1e-3)


def test_labels_are_the_averages_and_both_views_learn_them_each_with_its_own_boxes(tmp_path, monkeypatch):
    job, trainer = caught("unimatch-v2", tmp_path, threshold=0, cutmix=1, weight=2)
    (teacher,) = job.also
    seen, losses = [], []

    def watched(*given):
        seen.append(given)
        losses.append(where_confident(*given))
        return losses[-1]

    monkeypatch.setattr(unimatch_v2, "where_confident", watched)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.neg_()
    patches = batch(trainer, job)
    terms = job.step(patches, 0.5)
    assert len(seen) == 2
    said = teacher(patches["unlabelled"].image).argmax(1)
    for _, classes, sure in seen:
        assert ((classes == said) | (classes == said.roll(1, 0))).all()
        assert sure.all()
        assert not classes.requires_grad
    assert not torch.equal(seen[0][1], seen[1][1])
    assert not torch.equal(seen[0][0], seen[1][0])
    assert terms["strong"].item() == pytest.approx(2 * sum(loss.item() for loss in losses) / 2)


def test_with_threshold_1_nothing_is_learnt_from_r(tmp_path):
    job, trainer = caught("unimatch-v2", tmp_path, threshold=1)
    assert gradient(job, job.step(batch(trainer, job), 0.5)["strong"]) == 0.0


def test_the_dropout_changes_what_is_learnt_and_the_result_is_the_average(tmp_path):
    _, trainer, _ = fit("unimatch-v2", tmp_path / "1", ema_decay=0.0)
    stored = trainer.stages.load(next((tmp_path / "1").rglob("model.pt")))["models"]
    assert len(stored) == 2
    assert all(torch.equal(value, stored[1][name]) for name, value in stored[0].items())
    assert fit("unimatch-v2", tmp_path / "2")[0] != fit("unimatch-v2", tmp_path / "3", whole=1.0)[0]
