"""What makes CutMix-Seg CutMix-Seg."""

from __future__ import annotations

import torch
from caught import batch, caught
from torch import nn
from toy import ToyTask

from atso_bench.benchmark.training.loop import Unlabelled
from atso_bench.methods import cutmix


def plain(monkeypatch):
    """The toy with a network that looks at single voxels: its prediction of a mixture is the mixture of predictions."""
    monkeypatch.setattr(ToyTask, "network", lambda task, start=True: nn.Conv2d(1, 3, 1))


def test_teacher_and_student_agree_at_first_where_the_network_looks_at_single_voxels(tmp_path, monkeypatch):
    plain(monkeypatch)
    job, trainer = caught("cutmix", tmp_path, threshold=0)
    assert job.step(batch(trainer, job), 1.0)["consistency"].item() < 1e-12


def test_the_student_sees_mixtures_and_a_batch_mixed_with_itself_is_what_it_was(tmp_path, monkeypatch):
    job, trainer = caught("cutmix", tmp_path, threshold=0)
    seen = []
    monkeypatch.setattr(cutmix, "together", lambda model, *images: seen.append(images) or [model(i) for i in images])
    patches = batch(trainer, job)
    job.step(patches, 1.0)
    assert not torch.equal(seen[0][1], patches["unlabelled"].image)
    same = patches["unlabelled"].image[:1].repeat(3, 1, 1, 1)
    job.step({**patches, "unlabelled": Unlabelled(same)}, 1.0)
    assert torch.equal(seen[1][1], same)


def test_a_teacher_that_is_never_sure_teaches_nothing(tmp_path):
    job, trainer = caught("cutmix", tmp_path, threshold=1)
    assert job.step(batch(trainer, job), 1.0)["consistency"].item() == 0.0


def test_the_loss_is_scaled_by_the_share_of_voxels_in_which_the_teacher_is_sure(tmp_path, monkeypatch):
    job, trainer = caught("cutmix", tmp_path, threshold=0)
    patches = batch(trainer, job)
    whole = job.step(patches, 1.0)["consistency"].item()
    shares = torch.zeros(3, 8, 8, dtype=torch.bool)
    shares[:, :2] = True
    monkeypatch.setattr(cutmix, "confident", lambda logits, threshold: (None, shares))
    torch.manual_seed(0)
    assert abs(job.step(patches, 1.0)["consistency"].item() - whole / 4) < 1e-7
