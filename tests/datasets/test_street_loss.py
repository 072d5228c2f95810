"""Pixel cross-entropy and OHEM, against torch and against a plain NumPy implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from atso_bench.benchmark.task import IGNORE
from atso_bench.datasets._frames.loss import StreetLoss

SEEDS = st.integers(0, 999)


def batch(seed, ignored=0.3, shape=(2, 5, 6, 7)):
    """Logits of a network that is right more often than not, and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    logits = rng.normal(0, 1.5, shape) + 2 * np.moveaxis(np.eye(shape[1])[label], -1, 1)
    label[rng.random(label.shape) < ignored] = IGNORE
    return torch.tensor(logits, dtype=torch.float32, requires_grad=True), torch.tensor(label)


def by_hand(logits, label, threshold, kept):
    """OHEM pixel by pixel: the loss, and which pixels are kept."""
    logits, label = logits.detach().double().numpy(), label.numpy()
    pixels = []
    for n, row, column in np.ndindex(label.shape):
        if label[n, row, column] != IGNORE:
            values = logits[n, :, row, column]
            probability = np.exp(values[label[n, row, column]]) / np.exp(values).sum()
            pixels.append((probability, (n, row, column)))
    pixels.sort()
    k = round(kept * label.size)
    limit = threshold if len(pixels) >= k else 1.0
    if len(pixels) >= k >= 1:
        limit = max(limit, pixels[k - 1][0])
    chosen = [(probability, place) for probability, place in pixels if probability <= limit]
    mask = np.zeros(label.shape, bool)
    for _, place in chosen:
        mask[place] = True
    return np.mean([-np.log(probability) for probability, _ in chosen]), mask


@settings(max_examples=40, deadline=None, derandomize=True)  # no pixel may lie on the limit up to rounding
@given(
    seed=SEEDS, ignored=st.sampled_from([0.0, 0.3, 0.9]), threshold=st.floats(0.05, 0.99), kept=st.floats(0.05, 0.95)
)
def test_ohem_equals_a_plain_implementation_and_trains_the_kept_pixels_alone(seed, ignored, threshold, kept):
    logits, label = batch(seed, ignored)
    label[0, 0, 0] = 1  # at least one
    expected, mask = by_hand(logits, label, threshold, kept)
    loss = StreetLoss(threshold, kept)(logits, label)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert np.array_equal((logits.grad.abs().sum(1) > 0).numpy(), mask)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, ignored=st.sampled_from([0.0, 0.5]))
def test_without_mining_it_is_the_cross_entropy_of_torch(seed, ignored):
    logits, label = batch(seed, ignored)
    expected = F.cross_entropy(logits, label, ignore_index=IGNORE)
    for loss in (StreetLoss(None, 0.1), StreetLoss(0.7, 1.0), StreetLoss(0.7, 3.0)):
        assert torch.isclose(loss(logits, label), expected, rtol=1e-5)
    assert torch.isclose(StreetLoss(0.3, 0.1)(logits, label, pseudo=True), expected, rtol=1e-5)


def test_pseudo_labels_train_with_every_pixel_and_true_ones_with_the_hard_ones():
    logits, label = batch(0)
    mining = StreetLoss(0.3, 0.1)
    gradients = {}
    for pseudo in (False, True):
        (gradient,) = torch.autograd.grad(mining(logits, label, pseudo=pseudo), logits)
        gradients[pseudo] = gradient.abs().sum(1) > 0
    assert torch.equal(gradients[True], label != IGNORE)
    assert 8 <= gradients[False].sum() < gradients[True].sum() / 2
    assert mining(logits, label) > mining(logits, label, pseudo=True)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, pseudo=st.booleans(), threshold=st.sampled_from([None, 0.6]))
def test_one_hot_soft_labels_are_hard_labels(seed, pseudo, threshold):
    logits, label = batch(seed)
    soft = F.one_hot(label.clamp_max(5), 6)[..., :5].movedim(-1, 1)  # ignored pixels have no probability
    loss = StreetLoss(threshold, 0.2)
    hard = loss(logits, label, pseudo=pseudo)
    for kind in (torch.float32, torch.float16):
        assert torch.isclose(loss(logits, soft.to(kind), pseudo=pseudo), hard, rtol=1e-5)


def test_soft_labels_are_weighted_by_their_probabilities_and_ignored_below_a_half():
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, 0] = torch.tensor([1.0, 2.0, 3.0])
    soft = torch.tensor([[[[0.25, 0.5, 0.3]], [[0.75, 0.1, 0.1]]]])
    log = logits.log_softmax(1)[0, :, 0]
    expected = -(0.25 * log[0, 0] + 0.75 * log[1, 0] + 0.5 * log[0, 1] + 0.1 * log[1, 1]) / 2
    assert torch.isclose(StreetLoss(None, 0.1)(logits, soft), expected)


@pytest.mark.parametrize("threshold", [None, 0.7])
@pytest.mark.parametrize("pseudo", [False, True])
def test_a_batch_without_labels_costs_nothing_and_breaks_nothing(threshold, pseudo):
    logits, label = batch(0, ignored=1.0)
    for nothing in (label, torch.zeros_like(logits, requires_grad=False)):
        logits.grad = None
        loss = StreetLoss(threshold, 0.2)(logits, nothing, pseudo=pseudo)
        loss.backward()
        assert loss == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, threshold=st.floats(0.05, 0.9), kept=st.floats(0.05, 0.9), more=st.floats(0, 0.5))
def test_mining_fewer_pixels_never_lowers_the_loss(seed, threshold, kept, more):
    logits, label = batch(seed, ignored=0.0)
    strict, mild = StreetLoss(threshold, kept), StreetLoss(min(1.0, threshold + more), kept + more)
    assert strict(logits, label) >= mild(logits, label) - 1e-6
    assert mild(logits, label) >= F.cross_entropy(logits, label) - 1e-6


def test_two_numbers_worked_by_hand():
    """True-class probabilities 0.9, 0.8, 0.6, 0.5: three are kept below 0.8, and two of 0.55 with k = 2."""
    probability = torch.tensor([0.9, 0.8, 0.6, 0.5])
    logits = torch.stack([probability.log(), (1 - probability).log()])[None, :, None]
    label = torch.zeros(1, 1, 4, dtype=torch.int64)
    three = -np.log([0.8, 0.6, 0.5]).mean()
    assert StreetLoss(0.81, 0.25)(logits, label).item() == pytest.approx(three, rel=1e-6)
    assert StreetLoss(0.55, 0.75)(logits, label).item() == pytest.approx(three, rel=1e-6)
    assert StreetLoss(0.55, 0.25)(logits, label).item() == pytest.approx(-np.log(0.5), rel=1e-6)


def test_a_network_that_has_diverged_is_not_hidden_by_mining():
    logits, label = batch(0)
    with torch.no_grad():
        logits[1, :, 2, 2], label[1, 2, 2] = float("nan"), 0
    assert StreetLoss(0.7, 0.05)(logits, label).isnan()


def test_half_precision_logits_are_counted_in_single_precision():
    logits, label = batch(0)
    low = logits.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = StreetLoss(0.7, 0.2)(low, label)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, StreetLoss(0.7, 0.2)(low.float(), label))


def test_what_cannot_be_mined_is_said():
    with pytest.raises(ValueError, match=r"threshold of OHEM is a probability above 0, or None, got 1.5"):
        StreetLoss(1.5, 0.1)
    with pytest.raises(ValueError, match=r"share of pixels that OHEM keeps is at least 0, got -1"):
        StreetLoss(0.7, -1)
