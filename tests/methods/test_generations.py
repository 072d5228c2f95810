"""What makes noisy student and ST++ what they are."""

from __future__ import annotations

import numpy as np
import pytest
from fitting import STEPS, fit
from toy import ToyTask

from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods.st_plus_plus import by_reliability

METHODS = ["noisy-student", "st-plus-plus"]


@pytest.fixture
def watch(monkeypatch):
    """What the trainer was asked for: trainings with the hash of their start, and labellings."""
    asked = {"train": [], "predict": []}
    train, predict = Trainer.train, Trainer.predict

    def watched_train(self, model, step, pools, **more):
        asked["train"].append((weights_digest(model), pools, more["phase"]))
        return train(self, model, step, pools, **more)

    def watched_predict(self, model, pool, **more):
        asked["predict"].append((weights_digest(model), pool.ids, more))
        return predict(self, model, pool, **more)

    monkeypatch.setattr(Trainer, "train", watched_train)
    monkeypatch.setattr(Trainer, "predict", watched_predict)
    return asked


@pytest.mark.parametrize("name", METHODS)
def test_every_student_starts_from_the_initial_weights(name, watch, tmp_path):
    _, trainer, _ = fit(name, tmp_path)
    start = weights_digest(trainer.new_model())
    assert [begin for begin, *_ in watch["train"]] == [start] * len(watch["train"])
    assert len(watch["train"]) == {"noisy-student": 2, "st-plus-plus": 3}[name]


@pytest.mark.parametrize("name", METHODS)
def test_students_see_strong_views_of_r_alone(name, tmp_path, monkeypatch):
    seen, strong = [], ToyTask.strong
    monkeypatch.setattr(ToyTask, "strong", lambda task, image: seen.append(len(image)) or strong(task, image))
    _, trainer, _ = fit(name, tmp_path)
    assert seen == [2] * (STEPS - trainer.phases[0].steps)  # half of a batch of four in each step of a student
    seen.clear()
    fit(name, tmp_path / "weak", strong=False)
    assert not seen


@pytest.mark.parametrize("name", METHODS)
def test_labels_are_averaged_over_mirrored_inputs(name, watch, tmp_path, monkeypatch):
    mirrored, slabs = [], ToyTask.slabs
    monkeypatch.setattr(
        ToyTask, "slabs", lambda *given, mirror: mirrored.append(mirror) or slabs(*given, mirror=mirror)
    )
    fit(name, tmp_path)
    assert set(mirrored) == {True}
    mirrored.clear()
    _, trainer, _ = fit(name, tmp_path, augmented_labels=False)
    assert set(mirrored) == {False}  # the same store, and yet other phases
    assert not any(phase.reused for phase in trainer.phases if phase.kind == "predict")


def test_st_plus_plus_learns_from_the_reliable_half_first_and_relabels_the_other(watch, tmp_path):
    _, trainer, split = fit("st-plus-plus", tmp_path)
    (_, m0, _), (_, first, _), (_, last, _) = watch["train"]
    assert set(m0) == {"labelled"}
    assert set(last["pseudo"].ids) == set(split.unlabelled)
    reliable = set(first["pseudo"].ids)
    assert len(reliable) == round(len(split.unlabelled) / 2)
    final, third, two_thirds, others = (ids for _, ids, _ in watch["predict"])
    assert final == third == two_thirds == split.unlabelled
    assert set(others) == set(split.unlabelled) - reliable
    models = trainer.stages.load(trainer.stages.folder(trainer.phases[0].key) / "model.pt")["models"]
    digests = []
    for state in models:
        model = trainer.new_model()
        model.load_state_dict(state)
        digests.append(weights_digest(model))
    assert digests == [digest for digest, *_ in watch["predict"][:3]]
    assert len(set(digests)) == 3
    for case_id in split.unlabelled:
        same = np.array_equal(last["pseudo"].labels[case_id], first["pseudo"].labels[case_id])
        assert same or case_id not in reliable


def test_the_earlier_models_are_those_at_a_third_and_two_thirds(tmp_path, monkeypatch):
    from atso_bench.benchmark.training import loop

    digests, one_step = [], loop.Training._one_step

    def watched(training, batch):
        one_step(training, batch)
        if training.job.also:
            digests.append([weights_digest(model) for model in training.job.models])

    monkeypatch.setattr(loop.Training, "_one_step", watched)
    fit("st-plus-plus", tmp_path)
    m0 = [models[0] for models in digests]
    steps = len(m0)
    assert steps == round(STEPS / 3)
    assert digests[-1][1] == m0[steps // 3 - 1]
    assert digests[-1][2] == m0[2 * steps // 3 - 1]


def test_reliability_is_the_agreement_of_earlier_labels_with_the_last():
    final = {case_id: np.array([0, 0, 1, 1]) for case_id in "abc"}
    early = {"a": np.array([1, 1, 0, 0]), "b": np.array([0, 0, 1, 1]), "c": np.array([0, 1, 1, 1])}
    late = {"a": np.array([0, 0, 1, 1]), "b": np.array([0, 0, 1, 1]), "c": np.array([0, 1, 1, 1])}
    assert by_reliability("abc", final, [early, late], 2) == ["b", "c", "a"]  # 1, 0.58 and (0 + 1) / 2
    assert by_reliability("cab", final, [final, final], 2) == ["a", "b", "c"]


def test_a_noisy_student_without_its_three_differences_but_the_start_learns_as_self_training_does(watch, tmp_path):
    """One generation, weak views, plain labels: self-learning but for where the student starts."""
    fit("noisy-student", tmp_path, generations=1, strong=False, augmented_labels=False)
    _, other, _ = fit("self-learning", tmp_path, generations=1)
    assert [phase.name for phase in other.phases if phase.reused] == ["M0", "M0 labels R"]
