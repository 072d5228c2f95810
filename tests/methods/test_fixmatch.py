"""What makes FixMatch FixMatch, and what UniMatch adds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from caught import batch, caught, gradient
from torch import nn
from toy import ToyTask

from atso_bench.methods import fixmatch, unimatch
from atso_bench.methods._losses import confident, where_confident

METHODS = [fixmatch, unimatch]
TERMS = {"fixmatch": ["strong"], "unimatch": ["strong", "features"]}


def name(module):
    return module.__name__.rpartition(".")[2]


@pytest.mark.parametrize("module", METHODS)
def test_with_threshold_1_nothing_is_learnt_from_r(module, tmp_path):
    job, trainer = caught(name(module), tmp_path, threshold=1)
    terms = job.step(batch(trainer, job), 0.5)
    assert [terms[term].item() for term in TERMS[name(module)]] == [0.0] * len(TERMS[name(module)])
    assert gradient(job, sum(terms[term] for term in TERMS[name(module)])) == 0.0


@pytest.mark.parametrize("module", METHODS)
def test_with_threshold_0_every_voxel_trains(module, tmp_path, monkeypatch):
    job, trainer = caught(name(module), tmp_path, threshold=0)
    seen = []
    monkeypatch.setattr(module, "where_confident", lambda *given: seen.append(given) or where_confident(*given))
    job.step(batch(trainer, job), 0.5)
    assert len(seen) == {"fixmatch": 1, "unimatch": 3}[name(module)]
    for logits, classes, sure in seen:
        assert sure.all()
        assert torch.allclose(where_confident(logits, classes, sure), F.cross_entropy(logits, classes))


def test_voxels_in_doubt_are_left_out_and_not_made_background():
    logits = (
        torch.tensor([[0.0, 9.0, 0.0], [0.3, 0.2, 0.1]]).T[None, :, :, None].requires_grad_()
    )  # sure of 1; in doubt
    classes, sure = confident(logits, 0.95)
    assert sure[0, :, 0].tolist() == [True, False]
    assert classes[0, 0, 0] == 1
    (given,) = torch.autograd.grad(where_confident(logits, classes, sure), logits)
    assert given[0, :, 1].abs().max() == 0.0
    assert given[0, :, 0].abs().max() > 0.0


@pytest.mark.parametrize("module", METHODS)
def test_pseudo_labels_are_mixed_as_the_images_are(module, tmp_path, monkeypatch):
    """A network that looks at single voxels sees in a mixed image the mixture of what it saw in each."""
    monkeypatch.setattr(ToyTask, "strong", lambda task, image: image)
    parts = {"encoder": nn.Conv2d(1, 6, 1), "head": nn.Conv2d(6, 3, 1)}
    monkeypatch.setattr(ToyTask, "network", lambda task, start=True: nn.Sequential(parts["encoder"], parts["head"]))
    monkeypatch.setattr(nn.Sequential, "named_modules", lambda self, *_, **__: parts.items())
    options = {"dropped": 0.0} if module is unimatch else {}
    job, trainer = caught(name(module), tmp_path, threshold=0, cutmix=1, **options)
    seen = []
    monkeypatch.setattr(module, "where_confident", lambda *given: seen.append(given) or where_confident(*given))
    job.step(batch(trainer, job), 0.5)
    assert seen
    for logits, classes, _ in seen:
        assert torch.equal(logits.argmax(1), classes)


def test_without_a_gradient_through_the_pseudo_labels(tmp_path, monkeypatch):
    job, trainer = caught("fixmatch", tmp_path, threshold=0)
    given = []
    monkeypatch.setattr(fixmatch, "confident", lambda *found: given.append(confident(*found)) or given[-1])
    job.step(batch(trainer, job), 0.5)
    assert not any(part.requires_grad for part in given[0])


def test_the_two_strong_views_of_unimatch_differ_and_its_weights_add_up(tmp_path, monkeypatch):
    job, trainer = caught("unimatch", tmp_path, threshold=0, weight=2, strong=0.25)
    losses = []
    monkeypatch.setattr(
        unimatch, "where_confident", lambda *given: losses.append(where_confident(*given)) or losses[-1]
    )
    terms = job.step(batch(trainer, job), 0.5)
    one, other, features = (loss.item() for loss in losses)
    assert one != other
    assert terms["strong"].item() == pytest.approx(2 * 0.25 * (one + other) / 2)
    assert terms["features"].item() == pytest.approx(2 * 0.75 * features)
