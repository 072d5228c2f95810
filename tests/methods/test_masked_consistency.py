"""What makes masked image consistency that."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from caught import batch, caught
from toy import ToyTask

from atso_bench.methods import masked_consistency
from atso_bench.methods.masked_consistency import seen


@pytest.mark.parametrize("patch", [(64, 96), (16, 24, 32)])
def test_blocks_of_a_share_of_the_patch_are_hidden_whole(patch):
    torch.manual_seed(0)
    shown = seen(torch.zeros(20, 2, *patch), 1 / 8, 0.7)
    assert shown.shape == (20, 1, *patch)
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    cells = shown[:, 0]
    for axis, length in enumerate(patch, start=1):
        cells = cells.unfold(axis, length // 8, length // 8)
    flat = cells.flatten(len(patch) + 1)
    assert (flat == flat[..., :1]).all()
    assert 1 - shown.mean().item() == pytest.approx(0.7, abs=0.05)
    assert not torch.equal(shown[0], shown[1])


def test_a_patch_of_few_voxels_has_blocks_of_one():
    assert seen(torch.zeros(1, 1, 1, 5), 1 / 8, 0.5).shape == (1, 1, 1, 5)
    assert seen(torch.zeros(1, 1, 5, 5), 1.0, 0.0).all()


def test_the_student_sees_a_part_and_learns_what_the_teacher_sees_in_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyTask, "strong", lambda task, image: image)
    job, trainer = caught("masked-consistency", tmp_path, threshold=0.45, weight=3, hidden=0.5, block=1 / 4)
    images, losses = [], []
    together, loss = masked_consistency.together, masked_consistency.where_confident
    monkeypatch.setattr(
        masked_consistency, "together", lambda model, *given: images.append(given[1]) or together(model, *given)
    )
    monkeypatch.setattr(masked_consistency, "where_confident", lambda *given: losses.append(given) or loss(*given))
    patches = batch(trainer, job)
    term = job.step(patches, 0.5)["masked"].item()
    image, (teacher,) = patches["unlabelled"].image, job.also
    hidden = images[0] == 0
    assert 0.1 < hidden.float().mean() < 0.9
    assert torch.equal(images[0], torch.where(hidden, 0.0, image))
    chances = teacher(image).softmax(1)
    share = (chances.amax(1) > 0.45).float().mean()
    logits, target, _ = losses[0]
    assert torch.equal(target, chances.argmax(1))
    assert 0 < share < 1
    assert term == pytest.approx((3 * share * F.cross_entropy(logits, target)).item(), rel=1e-5)


def test_a_teacher_that_is_never_sure_teaches_nothing(tmp_path):
    job, trainer = caught("masked-consistency", tmp_path, threshold=1)
    assert job.step(batch(trainer, job), 0.5)["masked"].item() == 0.0
