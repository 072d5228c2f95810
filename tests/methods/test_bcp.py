"""What makes BCP BCP."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from caught import gradient
from fitting import STEPS, TOY, fit
from toy import ToyTask

from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.task import IGNORE
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training import average
from atso_bench.benchmark.training.loop import Labelled, Unlabelled
from atso_bench.methods import _components, bcp
from atso_bench.methods._mixtures import dice_and_cross_entropy


def jobs(folder, **options):
    """The two trainings, not carried out, and their trainer."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "carry_out", lambda trainer, job, *_: found.append(job))
        _, trainer, _ = fit("bcp", folder, **options)
    return *found, trainer


def patches(labelled=2, unlabelled=2):
    """Labelled patches of 1 to 2 with class 1, unlabelled ones of 3 to 4."""
    torch.manual_seed(0)
    label = torch.ones(labelled, 8, 8, dtype=torch.int64)
    return {
        "labelled": Labelled(1 + torch.rand(labelled, 1, 8, 8), label),
        "unlabelled": Unlabelled(3 + torch.rand(unlabelled, 1, 8, 8)),
    }


def watched(monkeypatch, name):
    """What ``bcp`` gives to a function."""
    seen, real = [], getattr(bcp, name)
    monkeypatch.setattr(bcp, name, lambda *given: seen.append(given) or real(*given))
    return seen


def test_the_first_training_mixes_labelled_patches_and_their_labels_alike(tmp_path, monkeypatch):
    first, _, _ = jobs(tmp_path)
    assert list(first.pools) == ["labelled"]
    image = torch.stack([torch.full((1, 8, 8), float(k)) for k in range(3)])
    given = []
    monkeypatch.setattr(ToyTask, "loss", lambda task, output, label, **_: given.append(label) or output.sum())
    first.model.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    first.step({"labelled": Labelled(image, image[:, 0].long())}, 0.0)
    shown, label = given
    assert torch.equal(shown[:, 0].long(), label)
    assert [sorted(one.unique().tolist()) for one in label] == [[0, 2], [0, 1], [1, 2]]
    assert (label[1] == 0).sum() == 25  # a box of 2/3 of each side: 5 of 8 pixels


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_labelled_box_goes_into_an_unlabelled_patch_and_the_reverse_by_the_same_box(number, tmp_path, monkeypatch):
    _, second, _ = jobs(tmp_path)
    seen = watched(monkeypatch, "together")
    second.step(patches(number, number), 0.5)
    (_, out, back) = seen[0]
    assert len(out) == len(back) == number
    inside = (out < 2.5)[0, 0]
    assert inside.sum() == 25
    assert ((out < 2.5) == inside).all()
    assert ((back > 2.5) == inside).all()


def test_every_patch_is_host_once_and_donor_once_and_its_partners_differ(tmp_path, monkeypatch):
    _, second, _ = jobs(tmp_path)
    seen, batch = watched(monkeypatch, "together"), patches(3, 3)
    second.step(batch, 0.5)
    (_, out, back) = seen[0]
    inside = out[:1] < 2.5
    true, free = batch["labelled"].image, batch["unlabelled"].image
    assert torch.equal(out, torch.where(inside, true, free))
    assert torch.equal(back, torch.where(inside, free, true.roll(1, 0)))


def test_true_labels_weigh_1_and_the_teachers_w_each_in_its_own_region(tmp_path, monkeypatch):
    _, second, _ = jobs(tmp_path, weight=0.25)
    monkeypatch.setattr(
        bcp.BidirectionalCopyPaste, "guessed", lambda self, trainer, teacher, image: torch.full((2, 8, 8), 2)
    )
    images, losses = watched(monkeypatch, "together"), watched(monkeypatch, "dice_and_cross_entropy")
    terms = second.step(patches(), 0.5)
    assert len(losses) == 4
    for _, target, region in losses:
        assert len(target[region].unique()) == 1
    assert [target[region][0].item() for _, target, region in losses] == [1, 2, 1, 2]
    inside = images[0][1][:, 0] < 2.5
    assert torch.equal(losses[0][2], inside)
    assert torch.equal(losses[1][2], ~inside)
    assert torch.equal(losses[2][2], ~inside)
    assert torch.equal(losses[3][2], inside)
    single = [dice_and_cross_entropy(*given).item() for given in losses]
    assert terms["labelled"].item() == pytest.approx(single[0] + single[2])
    assert terms["pseudo"].item() == pytest.approx(0.25 * (single[1] + single[3]))


def test_true_pixels_without_label_train_nothing(tmp_path):
    _, second, _ = jobs(tmp_path, weight=0)
    batch = patches()
    hidden = replace(batch["labelled"], label=torch.full((2, 8, 8), IGNORE))
    assert gradient(second, second.step({**batch, "labelled": hidden}, 0.5)["labelled"]) == 0.0
    assert gradient(second, second.step(batch, 0.5)["labelled"]) > 0.0


def test_teacher_and_student_begin_where_the_first_training_ended(tmp_path):
    _, second, _ = jobs(tmp_path)
    student, teacher = second.models
    assert weights_digest(student) == weights_digest(teacher)
    assert not teacher.training
    assert not any(weight.requires_grad for weight in teacher.parameters())


def test_the_decay_is_the_same_from_the_first_step(tmp_path, monkeypatch):
    decays, update = [], average.MovingAverage.update
    monkeypatch.setattr(
        average.MovingAverage, "update", lambda self, decay: decays.append(decay) or update(self, decay)
    )
    _, trainer, _ = fit("bcp", tmp_path, ema_decay=0.9)
    assert decays == [0.9] * trainer.phases[1].steps


def test_the_first_training_has_its_share_and_the_rate_starts_anew(tmp_path):
    _, trainer, _ = fit("bcp", tmp_path)
    assert [phase.steps for phase in trainer.phases] == [STEPS // 4, STEPS - STEPS // 4]
    share = fit("bcp", tmp_path, initial_share=0.5)[1]
    assert [phase.steps for phase in share.phases] == [STEPS // 2, STEPS // 2]
    assert trainer.teacher_patches == trainer.phases[1].steps * TOY.recipe.batch // 2


def test_pseudo_labels_of_volumes_keep_their_largest_components_and_those_of_frames_all(tmp_path, monkeypatch):
    _, _, trainer = jobs(tmp_path)
    scattered = torch.zeros(2, 3, 8, 8)
    scattered[:, 1, :3, :3] = 1
    scattered[:, 1, 6, 6] = 1
    scattered[:, 0] = 0.5
    method = bcp.BidirectionalCopyPaste()
    kept = method.guessed(trainer, lambda image: scattered, torch.zeros(2, 1, 8, 8))
    assert (kept == 1).sum() == 2 * 9
    everything = method.model_copy(update={"largest_component": False})
    assert (everything.guessed(trainer, lambda image: scattered, torch.zeros(2, 1, 8, 8)) == 1).sum() == 2 * 10
    frames = replace(trainer.task.metric, case="frame")
    monkeypatch.setattr(trainer, "task", replace(trainer.task, metric=frames))
    label = scattered.argmax(1)
    assert torch.equal(_components.tidied(trainer, label), label)


def test_the_result_is_the_student_or_its_average(tmp_path):
    student = fit("bcp", tmp_path)[0]
    teacher, again, _ = fit("bcp", tmp_path, final="teacher")
    assert student != teacher
    assert [phase.reused for phase in again.phases] == [True, True]
