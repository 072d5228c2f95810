"""How a budget is divided among the trainings of a method, and what a batch holds of each pool."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fitting import STEPS, TOY, fit
from hypothesis import given
from hypothesis import strategies as st

from atso_bench.benchmark.spec import PARITIES
from atso_bench.benchmark.task import Recipe
from atso_bench.benchmark.training.batches import batch_shares


def steps(name, folder, parity, **options):
    """Steps by training, in order."""
    return [p.steps for p in fit(name, folder, parity=parity, **options)[1].phases if p.kind == "train"]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("self-learning", {"generations": 2}, [14, 7, 7]),
        ("atso", {"generations": 2}, [14, 14, 14, 14, 14]),  # each student is one training away from M0
        ("atso", {"generations": 2, "restart": "previous"}, [14, 4, 4, 3, 3]),  # as with parity total
        ("atso", {"generations": 2, "restart": "previous", "schedule": "parallel"}, [14, 7, 7, 7, 7]),
        ("atso", {"generations": 1, "restart": "previous", "final": "union"}, [14, 5, 5, 4]),
        ("atso", {"generations": 1, "restart": "scratch"}, [14, 28, 28]),
        ("noisy-student", {}, [14, 28]),
        ("st-plus-plus", {}, [9, 28, 28]),
        ("supervised", {}, [28]),
    ],
)
def test_parity_line_gives_the_budget_to_the_trainings_that_lead_to_the_result(name, options, expected, tmp_path):
    assert steps(name, tmp_path, "line", **options) == expected


@pytest.mark.parametrize("schedule", ["alternate", "parallel"])
@pytest.mark.parametrize("final", ["last", "union", "ensemble"])
@pytest.mark.parametrize("restart", ["m0", "previous", "scratch"])
def test_no_model_of_atso_has_a_longer_line_than_the_budget(schedule, final, restart, tmp_path):
    """The trainer refuses a training that would make it longer; the result has all of it."""
    _, trainer, _ = fit("atso", tmp_path, parity="line", schedule=schedule, final=final, restart=restart, generations=2)
    assert trainer.spent >= STEPS


@pytest.mark.parametrize("parity", PARITIES)
def test_a_budget_without_a_step_for_each_training_is_refused(parity, tmp_path):
    if parity == "phase":
        assert len(steps("self-learning", tmp_path, parity, generations=40)) == 41
    else:
        with pytest.raises(ValueError, match=f"a budget of {STEPS} steps is too small for the first model"):
            steps("self-learning", tmp_path, parity, generations=40)


RECIPES = st.builds(
    Recipe,
    patch=st.just((8, 8)),
    batch=st.integers(2, 64),
    labelled_share=st.floats(0.1, 0.9),
    extra_unlabelled=st.booleans(),
)


@given(RECIPES)
def test_a_batch_holds_each_pool_in_its_share(recipe):
    sizes = batch_shares(recipe, ["labelled", "unlabelled"])
    if recipe.extra_unlabelled:
        assert sizes["labelled"] == recipe.batch == batch_shares(recipe, ["labelled"])["labelled"]
        found, wanted = sizes["unlabelled"], recipe.batch * (1 / recipe.labelled_share - 1)
    else:
        assert recipe.batch <= sum(sizes.values()) <= recipe.batch + 1
        found, wanted = sizes["labelled"], recipe.batch * recipe.labelled_share
    assert min(sizes.values()) >= 1
    assert abs(found - wanted) <= 1


def test_the_share_reaches_the_batches_and_is_another_phase(tmp_path):
    plain = fit("mean-teacher", tmp_path)[1]
    few = replace(TOY, recipe=replace(TOY.recipe, labelled_share=0.25))
    more = replace(TOY, recipe=replace(TOY.recipe, extra_unlabelled=True))
    patches = [fit("mean-teacher", tmp_path, dataset)[1].phases[0].samples // STEPS for dataset in (TOY, few, more)]
    assert patches == [4, 4, 8]
    assert fit("mean-teacher", tmp_path, few)[1].teacher_patches == plain.teacher_patches * 3 // 2
