"""Partners, boxes and losses of mixtures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from atso_bench.benchmark.task import IGNORE
from atso_bench.methods._mixtures import (
    cross_entropy,
    dice,
    dice_and_cross_entropy,
    known,
    random_boxes,
    repeated,
)


def test_samples_are_repeated_from_the_first():
    part = torch.arange(3)
    assert repeated(part, 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert repeated(part, 2).tolist() == [0, 1]
    assert repeated(part, 3) is part


@pytest.mark.parametrize("patch", [(40, 60), (20, 30, 40)])
def test_boxes_have_one_size_in_the_patchs_proportions_and_the_mean_of_their_distribution(patch):
    torch.manual_seed(0)
    drawn = [random_boxes(3, patch, (2.0, 8.0), torch.device("cpu")) for _ in range(300)]
    shares = torch.stack([inside.float().flatten(1).mean(1) for inside in drawn])
    assert torch.allclose(shares, shares[:, :1].expand(-1, 3))
    assert shares.mean().item() == pytest.approx(0.2, rel=0.1)
    for inside in drawn[:20]:
        lines = [inside[0, 0].any(tuple(a for a in range(len(patch)) if a != axis)).sum() for axis in range(len(patch))]
        sides = [line.item() / size for line, size in zip(lines, patch, strict=True)]
        assert max(sides) - min(sides) <= 1 / min(patch)


def test_losses_are_those_of_the_voxels_that_count():
    torch.manual_seed(0)
    logits, classes = torch.randn(2, 3, 4, 6), torch.randint(0, 3, (2, 4, 6))
    where = torch.zeros(2, 4, 6, dtype=torch.bool)
    where[:, :, :3] = True
    assert torch.allclose(cross_entropy(logits, classes, where), F.cross_entropy(logits[..., :3], classes[..., :3]))
    every = torch.ones(2, 4, 3, dtype=torch.bool)
    assert torch.allclose(dice(logits, classes, where), dice(logits[..., :3], classes[..., :3], every))
    assert cross_entropy(logits, classes, torch.zeros_like(where)).item() == 0.0


def test_dice_of_a_perfect_prediction_is_0_and_of_a_small_case_what_it_is_by_hand():
    classes = torch.tensor([[[0, 1], [1, 1]]])
    every = torch.ones_like(classes, dtype=torch.bool)
    assert dice(100.0 * F.one_hot(classes, 2).movedim(-1, 1), classes, every).item() == pytest.approx(0, abs=1e-4)
    half = torch.zeros(1, 2, 2, 2)  # probabilities of a half: overlaps 0.5 and 1.5, totals 2 + 1 and 2 + 3
    assert dice(half, classes, every).item() == pytest.approx(1 - (1 / 3 + 3 / 5) / 2, abs=1e-4)


def test_all_heads_learn_but_the_coarsest_and_a_single_one_does():
    torch.manual_seed(0)
    classes, where = torch.randint(0, 3, (2, 8, 8)), torch.rand(2, 8, 8) < 0.5
    heads = [torch.randn(2, 3, size, size, requires_grad=True) for size in (8, 4, 2)]
    given = torch.autograd.grad(dice_and_cross_entropy(heads, classes, where), heads, allow_unused=True)
    assert given[0].abs().max() > given[1].abs().mean() > 0
    assert given[2] is None
    alone = dice_and_cross_entropy(heads[0], classes, where)
    expected = (dice(heads[0], classes, where) + cross_entropy(heads[0], classes, where)) / 2
    assert torch.allclose(alone, expected)
    assert torch.allclose(dice_and_cross_entropy([heads[0], heads[1]], classes, where), alone)


def test_what_has_no_label_is_no_class():
    classes, there = known(torch.tensor([[0, 2, IGNORE]]))
    assert classes.tolist() == [[0, 2, 0]]
    assert there.tolist() == [[True, True, False]]
