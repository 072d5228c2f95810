"""The invariants of ATSO, watched from outside: which cases train whom, and who labels whom."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from fitting import STEPS, fit
from toy import ToyDataset

from atso_bench.benchmark.store.packs import PseudoLabels
from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.task import Recipe
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods.atso import partition


@dataclass
class Watched:
    """What a fit did, in order; models are named by their weights."""

    trainings: list[dict] = field(default_factory=list)
    labellings: list[dict] = field(default_factory=list)


@pytest.fixture
def watch(monkeypatch):
    """Watch a fit."""
    seen = Watched()
    train, predict = Trainer.train, Trainer.predict

    def watched_train(trainer, model, step, pools, **more):
        start = weights_digest(model)
        result = train(trainer, model, step, pools, **more)
        seen.trainings.append(
            {"phase": more["phase"], "start": start, "end": weights_digest(result), "pools": dict(pools)}
        )
        return result

    def watched_predict(trainer, model, pool, **more):
        labels = predict(trainer, model, pool, **more)
        seen.labellings.append({"by": weights_digest(model), "ids": pool.ids, "labels": labels, **more})
        return labels

    monkeypatch.setattr(Trainer, "train", watched_train)
    monkeypatch.setattr(Trainer, "predict", watched_predict)
    return seen


def studied(seen, model):
    """Pseudo-labelled cases in the training set of ``model``."""
    (training,) = [t for t in seen.trainings if t["end"] == model]
    return set(training["pools"]["pseudo"].ids) if "pseudo" in training["pools"] else set()


@pytest.mark.parametrize("schedule", ["alternate", "parallel"])
@pytest.mark.parametrize("subsets", [2, 3])
@pytest.mark.parametrize("restart", ["m0", "previous", "scratch"])
def test_a_student_never_relabels_a_case_of_its_own_training_set(watch, tmp_path, schedule, subsets, restart):
    """Invariant 1."""
    fit("atso", tmp_path, schedule=schedule, subsets=subsets, restart=restart, generations=2)
    written = [labelling for labelling in watch.labellings if labelling.get("kind", "predict") == "predict"]
    assert len(written) >= subsets
    for labelling in written:
        assert not studied(watch, labelling["by"]) & set(labelling["ids"])


def test_labels_of_s_are_never_written(watch, tmp_path):
    """Invariant 2."""
    _, trainer, split = fit("atso", tmp_path, final="union")
    for labelling in watch.labellings:
        assert not set(labelling["ids"]) & set(split.labelled)
    for training in watch.trainings:
        assert training["pools"]["labelled"].labels is trainer.task.labels


def test_one_subset_from_the_previous_model_is_self_learning(tmp_path):
    """Invariant 4, bit for bit and phase for phase."""
    weights, atso, _ = fit("atso", tmp_path / "a", subsets=1, restart="previous", generations=3)
    expected, learning, _ = fit("self-learning", tmp_path / "b", generations=3)
    assert weights == expected
    assert [phase.key for phase in atso.phases] == [phase.key for phase in learning.phases]


def test_the_four_cells_of_the_ablation_differ(tmp_path):
    cells = [(k, restart) for k in (1, 2) for restart in ("previous", "m0")]
    weights = {fit("atso", tmp_path, subsets=k, restart=restart, generations=2)[0] for k, restart in cells}
    assert len(weights) == 4


def test_the_subsets_are_a_seeded_partition_by_case(tmp_path):
    pool = fit("atso", tmp_path)[1].task
    from atso_bench.benchmark.task import Pool

    ids = tuple(f"r{k}" for k in range(11))

    def divided(order, seed):
        return [tuple(part.ids) for part in partition(Pool(order, pool.images), 3, seed)]

    parts = divided(ids, seed=0)
    assert sorted(sum(parts, ())) == sorted(ids)
    assert [len(part) for part in parts] == [4, 4, 3]
    assert parts == divided(ids[::-1], seed=0)
    assert parts != divided(ids, seed=1)
    assert len(partition(Pool(ids[:2], pool.images), 3, seed=0)) == 2
    assert partition(Pool((), pool.images), 2, seed=0) == []


def test_restart_m0_starts_every_student_from_m0(watch, tmp_path):
    fit("atso", tmp_path, restart="m0", generations=2)
    m0, *students = watch.trainings
    assert [student["start"] for student in students] == [m0["end"]] * 4


def test_restart_previous_starts_from_the_student_before(watch, tmp_path):
    fit("atso", tmp_path, restart="previous", generations=2)
    for before, student in zip(watch.trainings, watch.trainings[1:], strict=False):
        assert student["start"] == before["end"]


def test_restart_scratch_starts_from_fresh_weights(watch, tmp_path):
    _, trainer, _ = fit("atso", tmp_path, restart="scratch", generations=2)
    fresh = weights_digest(trainer.new_model())
    assert [training["start"] for training in watch.trainings] == [fresh] * 5


def labels_seen(training):
    pool = training["pools"]["pseudo"]
    return pool.labels.digest(pool.ids)


def test_alternate_students_see_labels_that_were_just_written(watch, tmp_path):
    fit("atso", tmp_path, schedule="alternate", generations=1)
    m0, first = watch.labellings[0]["labels"], watch.labellings[1]["labels"]
    second = watch.trainings[2]
    ids = second["pools"]["pseudo"].ids
    assert labels_seen(second) == first.digest(ids) != m0.digest(ids)


def test_parallel_students_see_the_last_generations_labels(watch, tmp_path):
    fit("atso", tmp_path, schedule="parallel", generations=1)
    m0 = watch.labellings[0]["labels"]
    for student in watch.trainings[1:]:
        assert labels_seen(student) == m0.digest(student["pools"]["pseudo"].ids)


def test_final_union_trains_once_more_on_all_of_r(watch, tmp_path):
    _, _, split = fit("atso", tmp_path, final="union", generations=1)
    last = watch.trainings[-1]
    assert set(last["pools"]["pseudo"].ids) == set(split.unlabelled)
    assert last["phase"] == "union"


def test_final_ensemble_is_the_mean_of_the_students_probabilities(monkeypatch, tmp_path):
    from atso_bench.methods import _pseudo, atso

    kept = []
    monkeypatch.setattr(atso, "mean_of", lambda models: kept.extend(models) or _pseudo.mean_of(models))
    fit("atso", tmp_path, final="ensemble", generations=1)
    assert len(kept) == 2
    image = torch.randn(2, 1, 8, 8)
    model = _pseudo.mean_of(kept).eval()
    with torch.no_grad():
        expected = (kept[0](image).softmax(1) + kept[1](image).softmax(1)) / 2
        assert torch.allclose(model(image).softmax(1), expected, atol=1e-6)


def test_soft_labels_are_probabilities_and_lead_elsewhere_than_hard_ones(watch, tmp_path):
    soft, _, _ = fit("atso", tmp_path, pseudo_labels="soft", generations=1)
    label = next(iter(watch.labellings[0]["labels"].values()))
    assert label.shape == (3, 16, 16)
    assert np.allclose(label.astype(np.float32).sum(0), 1, atol=2e-3)
    assert soft != fit("atso", tmp_path / "hard", generations=1)[0]


def test_every_student_gets_an_even_share_of_what_m0_leaves(tmp_path):
    _, trainer, _ = fit("atso", tmp_path, generations=2, initial_share=0.25)
    assert [phase.steps for phase in trainer.phases if phase.kind == "train"] == [7, 6, 5, 5, 5]
    assert STEPS == 28


def test_observations_hold_own_and_other_subsets(tmp_path):
    _, trainer, split = fit("atso", tmp_path, ToyDataset(), generations=2)
    assert [(seen.generation, seen.subset) for seen in trainer.observations] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for seen in trainer.observations:
        assert isinstance(seen.after, PseudoLabels)
        assert set(seen.inside) & set(seen.after)
        assert set(seen.after) - set(seen.inside) == set(split.unlabelled) - set(seen.inside)


def test_fewer_cases_than_subsets_is_a_warning(tmp_path):
    tiny = ToyDataset(cases=6, unlabelled=())
    _, trainer, _ = fit("atso", tmp_path, tiny, "1cases")
    assert trainer.warnings == ["1 unlabelled case(s) make 1 subsets instead of 2"]


def test_labelled_and_pseudo_labelled_patches_weigh_by_their_share_of_the_batch(tmp_path, monkeypatch):
    from toy import ToyTask

    monkeypatch.setattr(ToyTask, "loss", lambda task, output, label, **_: output.sum() * 0 + 1)
    odd = ToyDataset(recipe=Recipe(patch=(8, 8), batch=5))
    _, trainer, _ = fit("atso", tmp_path, odd, generations=1)
    assert set(trainer.phases[0].losses["labelled"]) == {1.0}
    student = next(phase for phase in trainer.phases if phase.name == "generation 1, subset 1")
    assert student.losses["labelled"] == pytest.approx([3 / 5] * 7)
    assert student.losses["pseudo"] == pytest.approx([2 / 5] * 7)
