"""What every method must obey. A new file in ``methods/`` is tested here without touching this file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fitting import METHODS, STEPS, TOY, fit
from toy import ToyDataset

from atso_bench.benchmark.contract import methods as contract
from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.task import Pool


@pytest.fixture
def folders(tmp_path):
    """A new stage store at each call."""
    numbers = iter(range(1000))
    return lambda: tmp_path / str(next(numbers))


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_weights(name, fits):
    contract.same_seed_same_weights(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_spends_the_budget_and_no_more(name, fits):
    contract.spends_the_budget_and_no_more(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_with_parity_phase_each_training_has_the_whole_budget(name, fits):
    contract.with_parity_phase_each_training_has_the_whole_budget(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_with_parity_line_the_result_has_the_budget_in_its_own_line_of_training(name, fits):
    contract.with_parity_line_the_result_has_the_budget_in_its_own_line_of_training(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_labels_of_unlabelled_and_test_cases_change_nothing(name, fits):
    contract.labels_of_unlabelled_and_test_cases_change_nothing(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_images_of_test_cases_change_nothing(name, fits):
    contract.images_of_test_cases_change_nothing(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_unlabelled_images_change_the_weights_unless_it_learns_from_labels_alone(name, fits):
    contract.unlabelled_images_change_the_weights_unless_it_learns_from_labels_alone(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_learns_in_two_and_in_three_dimensions_from_one_labelled_case(name, fits):
    contract.learns_in_two_and_in_three_dimensions_from_one_labelled_case(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_works_without_unlabelled_cases(name, fits):
    contract.works_without_unlabelled_cases(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_works_with_one_unlabelled_case_and_a_batch_of_one(name, fits):
    contract.works_with_one_unlabelled_case_and_a_batch_of_one(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_goes_on_from_every_finished_phase_to_the_same_weights(name, fits):
    contract.goes_on_from_every_finished_phase_to_the_same_weights(fits(name))


@pytest.mark.parametrize("name", METHODS)
def test_goes_on_from_a_checkpoint_inside_a_training_to_the_same_weights(name, fits):
    contract.goes_on_from_a_checkpoint_inside_a_training_to_the_same_weights(fits(name))


def test_each_check_of_the_contract_is_made_here():
    assert [check.__name__ for check in contract.CHECKS if f"test_{check.__name__}" not in globals()] == []


def test_methods_share_m0_where_it_is_the_same_phase(folders):
    folder = folders()
    _, first, _ = fit("self-learning", folder)
    _, second, _ = fit("atso", folder)
    assert not first.phases[0].reused
    assert second.phases[0].reused
    assert first.phases[0].seconds == second.phases[0].seconds  # its cost counts for each
    _, third, _ = fit("supervised", folders(), parity="phase")
    _, fourth, _ = fit("atso", folders(), parity="phase")
    assert third.phases[0].key == fourth.phases[0].key


def test_overspending_the_budget_is_an_error(folders):
    _, trainer, split = fit("supervised", folders())
    pool = Pool(split.labelled, trainer.task.images, trainer.task.labels)
    with pytest.raises(RuntimeError, match=f"needs 1 steps, but 0 of {STEPS} are left"):
        trainer.train(trainer.new_model(), None, {"labelled": pool}, steps=1, phase="more")


def test_a_budget_too_small_for_all_trainings_is_an_error(folders):
    with pytest.raises(ValueError, match="and 40 more trainings"):
        fit("atso", folders(), generations=20)


def test_a_loss_that_is_not_finite_stops_the_training(folders):
    dataset = ToyDataset(recipe=replace(TOY.recipe, lr=1e30))
    with pytest.raises(FloatingPointError, match="the loss of phase 'M0' is not finite"):
        fit("supervised", folders(), dataset)


def test_an_unlabelled_pool_holds_no_label(folders):
    _, trainer, split = fit("supervised", folders())
    with pytest.raises(KeyError):
        trainer.task.labels[split.unlabelled[0]]
    with pytest.raises(KeyError):
        trainer.task.images[split.test[0]]


def test_the_learning_rate_falls_to_zero_within_each_training_and_the_gradient_is_clipped(folders, monkeypatch):
    from atso_bench.benchmark.training import loop

    rates, norms, one_step = [], [], loop.Training._one_step

    def watched(training, batch):
        one_step(training, batch)
        gradients = [parameter.grad.flatten() for parameter in training.job.model.parameters()]
        rates.append(training.optimizer.param_groups[0]["lr"])
        norms.append(torch.cat(gradients).norm().item())

    monkeypatch.setattr(loop.Training, "_one_step", watched)
    fit("self-learning", folders(), ToyDataset(recipe=replace(TOY.recipe, clip=0.01)), generations=1)
    half = [TOY.recipe.lr * (1 - step / (STEPS // 2)) ** 0.9 for step in range(STEPS // 2)]
    assert rates == pytest.approx(half * 2)
    assert norms == pytest.approx([0.01] * STEPS, rel=1e-3)


def test_labels_without_a_hash_are_refused_since_a_phase_could_not_be_told_from_another(folders):
    _, trainer, split = fit("supervised", folders(), parity="phase")
    label = {case_id: np.zeros(TOY.shape, np.uint8) for case_id in split.unlabelled}
    pool = Pool(split.unlabelled, trainer.task.images, label)
    with pytest.raises(TypeError, match="others have no hash"):
        trainer.train(trainer.new_model(), None, {"pseudo": pool}, steps=1, phase="more")


def test_two_new_models_have_equal_weights_and_the_global_generator_is_left_alone(folders):
    _, trainer, _ = fit("supervised", folders())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = trainer.new_model(), trainer.new_model()
    assert weights_digest(first) == weights_digest(second)
    assert torch.equal(torch.rand(3), expected)
    assert np.isfinite(first[0].weight.detach().numpy()).all()
