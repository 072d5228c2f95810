"""What makes UA-MT UA-MT."""

from __future__ import annotations

import math

import pytest
import torch
from caught import batch, caught, gradient
from fitting import fit
from torch import nn

from atso_bench.methods.ua_mt import UncertaintyAwareMeanTeacher

OPTIONS = {"weight": 10, "rampup": 0.4}


def test_with_a_threshold_that_no_entropy_reaches_it_is_mean_teacher(tmp_path):
    folders = {name: tmp_path / name for name in ("ua-mt", "mean-teacher")}
    fit("ua-mt", folders["ua-mt"], threshold=2, **OPTIONS)
    _, trainer, _ = fit("mean-teacher", folders["mean-teacher"], **OPTIONS)
    ours, plain = (trainer.stages.load(next(folder.glob("*/*/model.pt")))["models"] for folder in folders.values())
    for mine, other in zip(ours, plain, strict=True):
        for name, value in other.items():
            assert torch.allclose(mine[name], value, atol=1e-6), name
    assert fit("ua-mt", tmp_path / "unsure", **OPTIONS)[0] != fit("mean-teacher", tmp_path / "other", **OPTIONS)[0]


@pytest.mark.parametrize(("ramp", "expected"), [(0.0, [True, False, False]), (1.0, [True, True, False])])
def test_voxels_are_sure_below_a_rising_share_of_the_largest_entropy(ramp, expected):
    """Entropies of 0, about 0.95 and 1 of log 4; the limit rises from 0.75 to 1."""

    class Teacher(nn.Module):
        def forward(self, image):
            logits = torch.tensor([[50.0, 0, 0, 0], [1.0, 0, 0, 0], [0.0, 0, 0, 0]]).T
            return logits[None, :, :, None].expand(len(image), 4, 3, 1)

    probability, sure = UncertaintyAwareMeanTeacher().judged(Teacher(), torch.zeros(1, 1, 3, 1), ramp)
    assert sure[0, :, 0].tolist() == expected
    assert torch.allclose(probability.sum(1), torch.ones(1, 3, 1))


def test_where_the_teacher_is_never_sure_nothing_is_learnt_from_r(tmp_path):
    job, trainer = caught("ua-mt", tmp_path, threshold=0, rampup=1)
    consistency = job.step(batch(trainer, job), 0.0)["consistency"]  # the limit is e^-5 of the largest entropy
    assert gradient(job, consistency) == 0.0


def test_the_uncertainty_is_in_the_mean_of_the_passes():
    """Passes that contradict each other with certainty are uncertain together."""
    flips = iter([1, 1, -1] * 10)

    class Teacher(nn.Module):
        def forward(self, image):
            return 50.0 * next(flips) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(len(image), 2, 2, 2)

    _, sure = UncertaintyAwareMeanTeacher(passes=2).judged(Teacher(), torch.zeros(1, 1, 2, 2), 0.0)
    assert not sure.any()


def test_all_passes_of_the_teacher_are_counted(tmp_path):
    _, trainer, _ = fit("ua-mt", tmp_path, passes=3)
    assert trainer.teacher_patches == 4 * trainer.spent * trainer.task.recipe.batch // 2


def test_the_limit_is_of_the_number_of_classes():
    """SSL4MIS keeps log 2 for four classes; two of three classes in doubt are below 3/4 of log 3."""

    class Teacher(nn.Module):
        def forward(self, image):
            return torch.tensor([0.0, 0.0, -50.0]).view(1, 3, 1, 1).expand(len(image), 3, 1, 1)

    method = UncertaintyAwareMeanTeacher()
    assert method.judged(Teacher(), torch.zeros(1, 1, 1, 1), 0.0)[1].all() == (math.log(2) < 0.75 * math.log(3))
