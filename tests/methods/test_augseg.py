"""What makes AugSeg AugSeg."""

from __future__ import annotations

import math

import pytest
import torch
from caught import batch, caught, gradient
from torch import nn

from atso_bench.benchmark.task import IGNORE
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods import _operations, augseg
from atso_bench.methods._operations import OPERATIONS, operated
from atso_bench.methods.augseg import AugSeg, adapted

SURE, LOST = 1.0, 0.0


def parts(trust, number=3):
    """Unlabelled patches of -1, -2, ... with classes 0, 1, ... that count nowhere; what ``adapted`` makes of them."""
    image = -torch.arange(1.0, number + 1)[:, None, None, None].expand(number, 1, 20, 20)
    classes = torch.arange(number)[:, None, None].expand(number, 20, 20)
    labelled = Labelled(7 * torch.ones(2, 1, 20, 20), torch.full((2, 20, 20), 9))
    given = image, classes, torch.zeros(number, 20, 20, dtype=torch.bool)
    return given, adapted(given, labelled, torch.full((number,), trust))


def test_no_labelled_box_where_the_teacher_trusts_itself_and_one_in_every_donor_where_it_does_not():
    torch.manual_seed(0)
    found = []
    for _ in range(30):
        (image, classes, _), (view, target, sure) = parts(SURE)
        assert not sure.any()
        others = view != image
        assert torch.equal(target, torch.where(others[:, 0], classes.roll(1, 0), classes))
        assert torch.equal(view, torch.where(others, image.roll(1, 0), image))
        view, target, sure = parts(LOST)[1]
        assert torch.equal(view[:, 0] == 7, sure)
        assert (target[sure] == 9).all()
        found.append(sure.flatten(1).float().mean(1))
    assert 0.01 < torch.stack(found).mean() < 0.3  # what donors' boxes and labelled boxes have in common


def test_labelled_boxes_come_with_the_probability_of_doubt():
    torch.manual_seed(0)
    counted = torch.stack([parts(0.7, 8)[1][2].flatten(1).any(1).float().mean() for _ in range(100)]).mean()
    always = torch.stack([parts(LOST, 8)[1][2].flatten(1).any(1).float().mean() for _ in range(100)]).mean()
    assert (counted / always).item() == pytest.approx(0.3, abs=0.06)


def test_true_pixels_without_label_do_not_count():
    torch.manual_seed(0)
    given = torch.zeros(2, 1, 9, 9), torch.ones(2, 9, 9, dtype=torch.int64), torch.ones(2, 9, 9, dtype=torch.bool)
    labelled = Labelled(torch.ones(2, 1, 9, 9), torch.full((2, 9, 9), IGNORE))
    for _ in range(20):
        view, target, sure = adapted(given, labelled, torch.zeros(2))
        assert torch.equal(sure, view[:, 0] == 0)
        assert target.max() < IGNORE


def test_trust_is_the_mean_of_probability_and_certainty():
    class Teacher(nn.Module):
        def forward(self, image):
            return torch.tensor([[0.0, 0.0], [0.0, 99.0]]).T[None, :, :, None].expand(len(image), 2, 2, 1)

    classes, sure, trust = AugSeg(threshold=0.9).judged(Teacher(), torch.zeros(1, 1, 2, 1))
    assert classes[0, :, 0].tolist() == [0, 1]
    assert sure[0, :, 0].tolist() == [False, True]
    assert trust.item() == pytest.approx((0.5 * 0 + 1 * 1) / 2)


def test_a_threshold_of_1_leaves_the_true_labels_alone(tmp_path, monkeypatch):
    job, trainer = caught("augseg", tmp_path, threshold=1)
    monkeypatch.setattr(
        augseg, "adapted", lambda parts, labelled, trust: adapted(parts, labelled, torch.ones_like(trust))
    )
    assert gradient(job, job.step(batch(trainer, job), 0.5)["strong"]) == 0.0
    monkeypatch.setattr(
        augseg, "adapted", lambda parts, labelled, trust: adapted(parts, labelled, torch.zeros_like(trust))
    )
    torch.manual_seed(1)
    assert gradient(job, job.step(batch(trainer, job), 0.5)["strong"]) > 0.0


# The operations


def patch(channels=3, spatial=(12, 14), seed=0):
    return torch.rand(channels, *spatial, generator=torch.Generator().manual_seed(seed))


def named(function):
    return function.__name__


@pytest.mark.parametrize("spatial", [(12, 14), (6, 7, 8)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_every_operation_keeps_shape_and_range_and_most_change_something(operation, channels, spatial):
    before = patch(channels, spatial)
    for strength in (0.0, 0.4, 0.999):
        after = operation(before, strength)
        assert after.shape == before.shape
        assert after.dtype == before.dtype
        assert after.isfinite().all()
        assert after.min() > -1e-5
        assert after.max() < 1 + 1e-5
    nothing = {_operations.identity}
    if channels == 1:
        nothing |= {_operations.faded, _operations.turned}
    if len(spatial) == 3:
        nothing |= {_operations.turned}
    assert torch.allclose(operation(before, 0.7), before, atol=1e-6) == (operation in nothing)


def test_operations_by_hand():
    two = torch.tensor([[[0.0, 1.0]]])
    assert _operations.contrasted(two, 0.5).flatten().tolist() == pytest.approx([0.25, 0.75])
    assert _operations.darkened(two, 0.0).flatten().tolist() == pytest.approx([0.0, 0.95])
    assert _operations.solarised(torch.tensor([[[0.2, 0.9]]]), 0.5).flatten().tolist() == pytest.approx([0.2, 0.1])
    assert _operations.stretched(torch.tensor([[[0.2, 0.4, 0.6]]]), 0).flatten().tolist() == pytest.approx([0, 0.5, 1])
    assert len(_operations.posterised(patch(), 0.999).unique()) <= 16
    colours = torch.tensor([1.0, 0.0, 0.5])[:, None, None]
    assert _operations.faded(colours, 0.5).flatten().tolist() == pytest.approx([0.75, 0.25, 0.5])


def test_levels_are_equally_frequent_when_they_are_equalised():
    dark = patch(1, (40, 40)) ** 4
    even = _operations.equalised(dark, 0.0).flatten().sort().values
    assert (even - torch.linspace(0, 1, even.numel())).abs().max() < 0.25  # a quarter of all is nearly black
    assert even[even.numel() // 2 :].sub(torch.linspace(0.5, 1, even.numel() // 2)).abs().max() < 0.02


def test_the_blur_is_a_gaussian_of_its_width():
    line = torch.zeros(1, 1, 41)
    line[..., 20] = 1
    spread = _operations.blurred(line, (1.5 - 0.1) / 1.9).flatten()
    place = torch.arange(41.0) - 20
    assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    assert math.sqrt((spread * place**2).sum().item()) == pytest.approx(1.5, rel=0.02)


def test_each_patch_has_its_own_operations_on_its_own_scale(monkeypatch):
    counts = []
    monkeypatch.setattr(_operations, "OPERATIONS", (lambda part, strength: counts.append(part) or part,))
    torch.manual_seed(0)
    image = 100 * torch.randn(60, 1, 5, 5) - 30
    after = operated(image, 3)
    assert torch.allclose(after, image, atol=1e-3)
    assert all(part.min() > -1e-5 and part.max() < 1 + 1e-5 for part in counts)
    assert 1.7 * 60 < len(counts) < 2.3 * 60  # 1, 2 or 3
    flat = torch.full((2, 1, 5, 5), 3.0)
    assert torch.allclose(operated(flat, 3), flat)
