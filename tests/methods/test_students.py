"""The options that self-learning and ATSO have in common: what students learn from, and how."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import torch
from fitting import STEPS, fit
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from atso_bench.benchmark import registry
from atso_bench.benchmark.task import IGNORE, Pool
from atso_bench.benchmark.training.batches import Labelled
from atso_bench.benchmark.training.imitation import Imitation
from atso_bench.benchmark.training.labels import Style, largest_components, styled
from atso_bench.benchmark.training.loop import Training

METHODS = ["self-learning", "atso"]


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 0.5},
        {"weight": 0.5},
        {"strong": True},
        {"cutmix": True},
        {"confidence": 0.6},
        {"largest_component": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", METHODS)
def test_an_option_changes_the_students_and_leaves_m0(name, options, tmp_path):
    weights, plain, _ = fit(name, tmp_path, generations=1)
    other, changed, _ = fit(name, tmp_path, generations=1, **options)
    assert changed.phases[0].key == plain.phases[0].key
    assert changed.phases[0].reused
    if "largest_component" in options:  # the toy's labels may be of one piece
        kind = "predict"
    else:
        kind = "train"
        assert other != weights
    before, after = ({p.key for p in trainer.phases[1:] if p.kind == kind} for trainer in (plain, changed))
    assert after.isdisjoint(before)


def test_defaults_keep_the_phases_of_before(tmp_path):
    """Options at their defaults are in no key: spelled out, they are the same phases."""
    spelled = {"rate": 1, "weight": 1, "strong": False, "cutmix": False, "confidence": 0, "largest_component": False}
    plain, same = fit("self-learning", tmp_path)[1], fit("self-learning", tmp_path, **spelled)[1]
    assert [phase.key for phase in same.phases] == [phase.key for phase in plain.phases]


def test_self_learning_and_atso_share_all_options_but_atsos_two_ideas():
    atso, learning = (registry.method(name, {}).model_dump() for name in ("atso", "self-learning"))
    own = {"subsets", "restart", "schedule", "final", "pseudo_labels"}
    assert {name: value for name, value in atso.items() if name not in own} == learning


def test_the_rate_is_a_multiple_of_the_recipes_and_falls_with_it(tmp_path, monkeypatch):
    seen, one_step = {}, Training._one_step

    def watched(training, batch):
        one_step(training, batch)
        seen.setdefault(training.job.phase, []).append(training.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(Training, "_one_step", watched)
    _, trainer, _ = fit("self-learning", tmp_path, generations=1, rate=0.1)
    first, second = (np.array(rates) for rates in seen.values())
    assert len(first) == len(second) == STEPS // 2
    assert first[0] == trainer.task.recipe.lr
    assert np.allclose(second, 0.1 * first)


def test_without_weight_pseudo_labels_teach_nothing(tmp_path):
    """Its loss is in the record, as 0, and the network learns from the labelled half of each batch alone."""
    _, trainer, _ = fit("self-learning", tmp_path, generations=1, weight=0)
    losses = next(phase.losses for phase in trainer.phases if phase.name.startswith("generation"))
    assert set(losses["pseudo"]) == {0.0}
    assert min(losses["labelled"]) > 0


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=3, max_side=7), elements=st.integers(0, 2)))
def test_of_each_class_its_largest_component_stays(label):
    kept = largest_components(label)
    for number in np.unique(label[label > 0]):
        parts, _ = scipy.ndimage.label(label == number, np.ones((3,) * label.ndim))
        sizes = np.bincount(parts.ravel())[1:]
        largest = np.isin(parts, 1 + np.flatnonzero(sizes == sizes.max()))
        assert np.array_equal(kept == number, largest)
    assert np.array_equal(kept == 0, ~np.isin(kept, label[label > 0]))


def test_largest_components_are_refused_where_a_class_has_many_objects(tmp_path):
    with pytest.raises(ValueError, match="largest_component is for hard pseudo labels of volumes"):
        fit("atso", tmp_path, largest_component=True, pseudo_labels="soft")


def test_a_confidence_is_refused_for_probabilities(tmp_path):
    with pytest.raises(ValueError, match="confidence"):
        fit("atso", tmp_path, confidence=0.9, pseudo_labels="soft")


@given(arrays(np.float32, (3, 4, 5, 5), elements=st.floats(-4, 4, width=16)), st.floats(0.35, 0.99))
def test_voxels_below_the_confidence_have_no_label(logits, confidence):
    slabs = torch.from_numpy(logits).split(2, 1)
    plain = styled(slabs, (4, 5, 5), 3, Style(False, False))
    label = styled(slabs, (4, 5, 5), 3, Style(False, False, confidence=confidence))
    chances = scipy.special.softmax(logits.astype(np.float64), 0).max(0)
    clear = abs(chances - confidence) > 1e-6  # where rounding decides, either is right
    assert np.array_equal((label == IGNORE)[clear], (chances < confidence)[clear])
    assert np.array_equal(label[label != IGNORE], plain[label != IGNORE])


def test_the_largest_component_is_that_of_the_whole_label():
    logits = torch.full((2, 1, 1, 9), -4.0)
    logits[1, ..., 0:2] = 8.0  # the smaller piece is surer than the larger
    logits[1, ..., 4:8] = -3.0
    label = styled([logits], (1, 1, 9), 2, Style(False, False, largest=True, confidence=0.9))
    assert label.ravel().tolist() == [0, 0, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE]


def test_labels_of_which_no_voxel_is_confident_are_said(tmp_path):
    _, trainer, _ = fit("self-learning", tmp_path, generations=1, confidence=0.999)
    assert any("no pixel is confident enough" in warning for warning in trainer.warnings)


def test_cutmix_takes_image_and_label_from_the_same_place_and_leaves_true_labels_alone():
    torch.manual_seed(0)
    label = torch.randint(0, 3, (6, 8, 8))
    pools = {"labelled": Pool((), {}), "pseudo": Pool((), {}, pseudo=True)}
    batch = dict.fromkeys(pools, Labelled(label[:, None].float(), label))
    found = Imitation(None, None, pools, False, cutmix=True)._mixed(batch)
    assert torch.equal(found["labelled"].image, batch["labelled"].image)
    assert torch.equal(found["pseudo"].image[:, 0], found["pseudo"].label.float())
    own = (found["pseudo"].label == label).flatten(1).float().mean(1)
    assert ((own > 0.5) & (own < 1)).all()
