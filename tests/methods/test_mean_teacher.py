"""What makes mean teacher mean teacher."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fitting import STEPS, TOY, fit

from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.training import average, loop
from atso_bench.methods._consistency import noisy


def test_without_decay_the_teacher_is_the_student(tmp_path):
    weights, trainer, _ = fit("mean-teacher", tmp_path, ema_decay=0.0)
    stored = trainer.stages.load(next(tmp_path.glob("*/*/model.pt")))["models"]
    student, teacher = trainer.new_model(), trainer.new_model()
    student.load_state_dict(stored[0])
    teacher.load_state_dict(stored[1])
    assert weights_digest(student) == weights_digest(teacher) == weights


def test_without_weight_the_unlabelled_images_teach_nothing(tmp_path):
    """The consistency loss is what learns from R: with weight 0 its gradient is gone, with more it grows."""
    plain = fit("mean-teacher", tmp_path / "0", weight=0.0)
    strong = fit("mean-teacher", tmp_path / "1", weight=10.0)
    assert plain[0] != strong[0]
    assert set(plain[1].phases[0].losses["consistency"]) == {0.0}
    assert max(strong[1].phases[0].losses["consistency"]) > 0


def test_the_noise_is_clipped_and_changes_with_the_step():
    image = torch.zeros(2, 1, 16, 16)
    loop.seed_everything(0, 0, 0, stream=1)
    first, second = (noisy(image, 1.0, 0.2) for _ in range(2))
    assert first.abs().max() <= 0.2
    assert not torch.equal(first, second)
    loop.seed_everything(0, 0, 0, stream=1)
    assert torch.equal(noisy(image, 1.0, 0.2), first)


def test_teacher_passes_are_counted(tmp_path):
    _, trainer, _ = fit("mean-teacher", tmp_path)
    assert trainer.teacher_patches == trainer.spent * trainer.task.recipe.batch // 2
    single = replace(TOY, recipe=replace(TOY.recipe, batch=1))  # one patch of each pool
    _, trainer, _ = fit("mean-teacher", tmp_path / "1", single)
    assert trainer.teacher_patches == trainer.spent


def test_decay_and_weight_follow_their_schedules(tmp_path, monkeypatch):
    """``a_t = min(1 - 1 / (t + 1), a)`` from t = 1, and ``w(t)`` as the ramp says at the step's progress."""
    from atso_bench.methods import mean_teacher

    decays, ramps, modes = [], [], set()
    update, ramp = average.MovingAverage.update, mean_teacher.sigmoid_rampup

    def watched(average, decay):
        decays.append(decay)
        modes.add((average.teacher.training, average.student.training))
        update(average, decay)

    monkeypatch.setattr(average.MovingAverage, "update", watched)
    monkeypatch.setattr(mean_teacher, "sigmoid_rampup", lambda *p: ramps.append(p) or ramp(*p))
    fit("mean-teacher", tmp_path, ema_decay=0.75)
    assert decays == pytest.approx([1 / 2, 2 / 3] + [0.75] * (STEPS - 2))
    assert ramps == [(step / STEPS, 0.4) for step in range(STEPS)]
    assert modes == {(False, True)}  # the teacher is in evaluation mode


def test_the_ramp_and_the_noise_change_the_weights(tmp_path):
    plain = fit("mean-teacher", tmp_path)[0]
    assert len({plain, fit("mean-teacher", tmp_path, noise=0.0)[0], fit("mean-teacher", tmp_path, rampup=1.0)[0]}) == 3
