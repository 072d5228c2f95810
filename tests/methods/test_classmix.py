"""What makes ClassMix ClassMix, and DACS DACS."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from caught import batch, caught
from toy import ToyTask

from atso_bench.benchmark.task import IGNORE
from atso_bench.methods import classmix
from atso_bench.methods.classmix import half_of_the_classes


def chosen_classes(label, there=None, classes=6):
    there = torch.ones_like(label, dtype=torch.bool) if there is None else there
    chosen = half_of_the_classes(label, there, classes)
    assert not (chosen & ~there).any()
    for one, where, known in zip(label, chosen, there, strict=True):
        for number in one[known].unique():
            assert len(where[(one == number) & known].unique()) == 1  # a class is pasted as a whole
    return [set(one[where].tolist()) for one, where in zip(label, chosen, strict=True)]


def test_half_of_the_classes_of_each_patch_are_chosen_rounded_down_and_each_as_often():
    torch.manual_seed(0)
    counts = Counter()
    label = torch.stack([torch.tensor([[0, 2, 3, 5, 5]]), torch.tensor([[1, 1, 2, 4, 2]]), torch.zeros(1, 5).long()])
    for _ in range(300):
        four, three, one = chosen_classes(label)
        assert (len(four), len(three), len(one)) == (2, 1, 0)
        counts.update(four)
    assert set(counts) == {0, 2, 3, 5}
    assert min(counts.values()) > 110


def test_voxels_without_label_are_no_class():
    torch.manual_seed(0)
    label = torch.tensor([[[0, 1, 1, 0]]])
    there = torch.tensor([[[True, True, False, False]]])
    assert {tuple(sorted(chosen_classes(label, there)[0])) for _ in range(20)} == {(0,), (1,)}
    assert half_of_the_classes(label, torch.zeros_like(there), 2).sum() == 0


def watched(monkeypatch):
    """The images that the student sees, and what its loss is given."""
    images, losses = [], []
    together, loss = classmix.together, classmix.where_confident
    monkeypatch.setattr(ToyTask, "strong", lambda task, image: image)
    monkeypatch.setattr(classmix, "together", lambda model, *given: images.append(given[1]) or together(model, *given))
    monkeypatch.setattr(classmix, "where_confident", lambda *given: losses.append(given) or loss(*given))
    return images, losses


def test_classes_of_the_neighbour_are_pasted_with_their_labels_and_all_weigh_what_the_teacher_is_sure_of(
    tmp_path, monkeypatch
):
    job, trainer = caught("classmix", tmp_path, threshold=0.45)
    images, losses = watched(monkeypatch)
    patches = batch(trainer, job)
    mixed = job.step(patches, 0.5)["mixed"]
    image, (teacher,) = patches["unlabelled"].image, job.also
    chances = teacher(image).softmax(1)
    said, share = chances.argmax(1), (chances.amax(1) > 0.45).float().mean()
    pasted = (images[0] != image)[:, 0]
    assert pasted.any()
    assert torch.equal(images[0], torch.where(pasted[:, None], image.roll(1, 0), image))
    logits, target, weights = losses[0]
    assert torch.equal(target, torch.where(pasted, said.roll(1, 0), said))
    assert 0 < share < 1
    assert torch.allclose(weights, share.expand_as(weights))
    assert mixed.item() == pytest.approx((share * F.cross_entropy(logits, target)).item(), rel=1e-5)


def test_in_dacs_true_classes_of_labelled_patches_are_pasted_and_weigh_1(tmp_path, monkeypatch):
    job, trainer = caught("classmix", tmp_path, preset="dacs", threshold=1)
    images, losses = watched(monkeypatch)
    patches = batch(trainer, job)
    job.step(patches, 0.5)
    image, label = patches["labelled"].image, patches["labelled"].label
    pasted = (images[0] != patches["unlabelled"].image)[:, 0]
    assert pasted.any()
    assert torch.equal(images[0][pasted[:, None]], image[pasted[:, None]])
    _, target, weights = losses[0]
    assert torch.equal(target[pasted], label[pasted])
    assert torch.equal(weights, pasted.float())  # the teacher is sure of nothing


def test_in_dacs_pixels_without_label_are_not_pasted(tmp_path, monkeypatch):
    job, trainer = caught("classmix", tmp_path, pasted="labelled")
    images, losses = watched(monkeypatch)
    patches = batch(trainer, job)
    patches["labelled"].label[:] = IGNORE
    monkeypatch.setattr(ToyTask, "loss", lambda task, output, label, **_: output.sum() * 0)
    job.step(patches, 0.5)
    assert torch.equal(images[0], patches["unlabelled"].image)
    assert losses[0][1].max() < IGNORE


def test_mixtures_are_shown_in_strong_views_unless_they_are_not_to_be(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(ToyTask, "strong", lambda task, image: calls.append(image) or image)
    for strong in (True, False):
        job, trainer = caught("classmix", tmp_path / str(strong), strong=strong)
        job.step(batch(trainer, job), 0.5)
    assert len(calls) == 1
