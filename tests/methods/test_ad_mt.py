"""What makes AD-MT AD-MT."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from caught import batch, caught, gradient
from fitting import STEPS, fit
from torch import nn

from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.training import average
from atso_bench.methods import ad_mt
from atso_bench.methods._mixtures import dice
from atso_bench.methods.ad_mt import AlternateDiverseTeachers, entropy, turns


def saying(*rows):
    """A network that says the same of every image: logits of each voxel."""

    class Said(nn.Module):
        def forward(self, image):
            return torch.tensor(rows).T[None, :, :, None].expand(len(image), -1, -1, 1)

    return Said()


def judged(student, one, other, **options):
    image = torch.zeros(1, 1, len(student), 1)
    teachers = [saying(*one), saying(*other)]
    classes, sure = AlternateDiverseTeachers(**options).judged(saying(*student)(image), teachers, image)
    return classes[0, :, 0].tolist(), sure[0, :, 0].tolist()


def test_teachers_take_turns_after_a_random_number_of_steps_within_the_period():
    found = turns(1000, 7, 0)
    changes = [0, *(step for step in range(1, 1000) if found[step] != found[step - 1])]
    stays = {end - begin for begin, end in itertools.pairwise(changes)}
    assert found[0] == 0
    assert stays == set(range(1, 8))
    assert turns(1000, 7, 0) == found != turns(1000, 7, 1)
    assert turns(4, 1, 3) == [0, 1, 0, 1]


def test_one_teacher_learns_at_a_time_and_the_other_stays(tmp_path, monkeypatch):
    updates, update = [], average.MovingAverage.update

    def watched(self, decay):
        before = weights_digest(self.teacher)
        update(self, decay)
        updates.append((self.teacher, before, weights_digest(self.teacher), decay))

    monkeypatch.setattr(average.MovingAverage, "update", watched)
    _, trainer, _ = fit("ad-mt", tmp_path, period=3, ema_decay=0.75)
    teachers = list(dict.fromkeys(id(teacher) for teacher, *_ in updates))
    assert [teachers.index(id(teacher)) for teacher, *_ in updates] == turns(STEPS, 3, trainer.seed)
    last = {}
    for teacher, before, after, _ in updates:
        assert last.get(id(teacher), before) == before  # nobody else changed it
        last[id(teacher)] = after
    assert [decay for *_, decay in updates] == pytest.approx([1 / 2, 2 / 3] + [0.75] * (STEPS - 2))


def test_the_student_sees_strong_views_in_one_teachers_turn_and_mixtures_in_the_others(tmp_path, monkeypatch):
    job, trainer = caught("ad-mt", tmp_path, period=1)  # 0, 1, 0, ...
    seen, real = [], ad_mt.together
    monkeypatch.setattr(ad_mt, "together", lambda model, *images: seen.append(images[2]) or real(model, *images))
    patches = batch(trainer, job)
    images = patches["unlabelled"].image
    for step in range(2):
        torch.manual_seed(3)
        job.step(patches, step / STEPS)
    strong, mixture = seen
    torch.manual_seed(3)
    assert torch.equal(strong, trainer.task.strong(images))
    neighbours = images.roll(1, 0)
    assert ((mixture == images) | (mixture == neighbours)).all()
    assert not torch.equal(mixture, images)


def test_labels_of_a_mixture_are_mixed_as_its_patches_are(tmp_path, monkeypatch):
    job, trainer = caught("ad-mt", tmp_path, period=1, threshold=0)
    marks = torch.arange(3)[:, None, None].expand(3, 8, 8)
    monkeypatch.setattr(
        AlternateDiverseTeachers, "judged", lambda self, *_: (marks, torch.ones(3, 8, 8, dtype=torch.bool))
    )
    images, targets, real = [], [], ad_mt.together
    monkeypatch.setattr(ad_mt, "together", lambda model, *given: images.append(given[2]) or real(model, *given))
    monkeypatch.setattr(
        ad_mt, "cross_entropy", lambda logits, classes, sure: targets.append(classes) or logits.sum() * 0
    )
    patches = batch(trainer, job)
    job.step(patches, 1 / STEPS)
    others = images[0][:, 0] != patches["unlabelled"].image[:, 0]
    assert others.any()
    assert torch.equal(targets[0], torch.where(others, marks.roll(1, 0), marks))


def test_the_teacher_in_less_doubt_has_the_word_and_by_how_much_is_as_in_the_paper():
    one, other = [[2.0, 0.0, 0.0]], [[0.0, 0.5, 0.0]]
    assert judged([[0.0, 0.0, 0.0]], one, other, threshold=0)[0] == [0]
    first, second = (torch.tensor(logits).softmax(1) for logits in (one, other))
    weights = [2.0 ** (-entropy(part).item() / 0.6931471805599453) for part in (first, second)]  # exp(-H), H in bits
    expected = ((weights[0] * first + weights[1] * second) / sum(weights)).max().item()
    for threshold, sure in ((expected - 1e-4, True), (expected + 1e-4, False)):
        assert judged([[0.0, 0.0, 0.0]], one, other, threshold=threshold)[1] == [sure]


def test_where_the_teachers_conflict_a_surer_student_is_followed_and_elsewhere_never():
    sure = [[0.0, 0.0, 9.0]] * 3
    one = [[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [99.0, 0.0, 0.0]]
    other = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 99.0, 0.0]]
    classes, counts = judged(sure, one, other, threshold=0.95)
    assert classes[:2] == [2, 0]  # a conflict; none
    assert counts[:2] == [True, False]
    assert judged([[0.0, 0.0, 0.1]], one[:1], other[:1], threshold=0)[0] == [0]  # in more doubt than they are


def test_entropy_is_in_bits():
    chances = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])[:, :, None, None]
    assert entropy(chances).flatten().tolist() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("loss", ["ce", "dice"])
def test_the_loss_is_taken_over_sure_voxels_alone_and_rises(loss, tmp_path, monkeypatch):
    job, trainer = caught("ad-mt", tmp_path, loss=loss, threshold=0.4, rampup=0.5)
    seen, name = [], {"ce": "cross_entropy", "dice": "dice"}[loss]
    real = getattr(ad_mt, name)
    monkeypatch.setattr(ad_mt, name, lambda *given: seen.append(given) or real(*given))
    patches = batch(trainer, job)
    term = job.step(patches, 0.5)["pseudo"].item()
    logits, classes, sure = seen[0]
    assert 0 < sure.float().mean() < 1
    if loss == "ce":
        picked = F.cross_entropy(logits.movedim(1, -1)[sure], classes[sure])
    else:
        picked = dice(logits, classes, sure)
    assert term == pytest.approx(2 * picked.item(), rel=1e-5)
    torch.manual_seed(0)
    assert job.step(patches, 0.0)["pseudo"].item() < 0.1 * term


def test_a_threshold_that_nothing_reaches_teaches_nothing(tmp_path):
    for loss in ("ce", "dice"):
        job, trainer = caught("ad-mt", tmp_path / loss, loss=loss, threshold=1)
        assert gradient(job, job.step(batch(trainer, job), 0.5)["pseudo"]) == 0.0


def test_two_teachers_and_the_student_are_asked_of_every_unlabelled_patch(tmp_path):
    _, trainer, _ = fit("ad-mt", tmp_path)
    assert trainer.teacher_patches == 3 * trainer.spent * trainer.task.recipe.batch // 2


def test_the_result_is_the_student_or_the_teachers_mean(tmp_path):
    student = fit("ad-mt", tmp_path)[0]
    mean, again, _ = fit("ad-mt", tmp_path, final="teachers")
    assert student != mean
    assert again.phases[0].reused
