"""What makes mean teacher mean teacher."""

from __future__ import annotations

from test_methods import fit

from atso_bench.benchmark import loop
from atso_bench.benchmark.stages import weights_digest
from atso_bench.methods.mean_teacher import MeanTeacher


def test_without_decay_the_teacher_is_the_student(tmp_path):
    weights, trainer, _ = fit("mean-teacher", tmp_path, ema_decay=0.0)
    stored = trainer.stages.load(next(tmp_path.glob("*/model.pt")))["models"]
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
    import torch

    method, image = MeanTeacher(noise=1.0, noise_clip=0.2), torch.zeros(2, 1, 16, 16)
    loop.seed_everything(0, 0, 0, stream=1)
    first = method.perturb(image)
    second = method.perturb(image)
    assert first.abs().max() <= 0.2
    assert not torch.equal(first, second)
    loop.seed_everything(0, 0, 0, stream=1)
    assert torch.equal(method.perturb(image), first)


def test_teacher_passes_are_counted(tmp_path):
    _, trainer, _ = fit("mean-teacher", tmp_path)
    assert trainer.teacher_patches == trainer.spent * trainer.task.recipe.batch // 2
