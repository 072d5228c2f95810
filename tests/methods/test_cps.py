"""What makes CPS CPS."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from caught import batch, caught
from fitting import TOY, fit
from torch import nn
from toy import ToyDataset

from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.training import loop
from atso_bench.methods.cps import crossed


def test_the_two_networks_start_apart_and_the_first_where_all_methods_start(tmp_path):
    job, trainer = caught("cps", tmp_path)
    first, second = job.model
    assert weights_digest(first) == weights_digest(trainer.new_model())
    assert weights_digest(second) == weights_digest(trainer.new_model(1))
    assert not torch.equal(first[0].weight, second[0].weight)


def test_the_two_networks_stay_apart(tmp_path):
    _, trainer, _ = fit("cps", tmp_path)
    (state,) = trainer.stages.load(next(tmp_path.glob("*/*/model.pt")))["models"]
    one, other = state["0.encoder.weight"], state["1.encoder.weight"]
    assert (one - other).abs().max() > 0.01
    assert not torch.equal(one, trainer.new_model()[0].weight)
    assert not torch.equal(other, trainer.new_model(1)[0].weight)


def test_the_loss_is_symmetric_and_each_network_learns_from_the_others_classes():
    torch.manual_seed(0)
    one, other = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    assert torch.equal(crossed(one, other), crossed(other, one))
    expected = F.cross_entropy(one, other.argmax(1)) + F.cross_entropy(other, one.argmax(1))
    assert torch.allclose(crossed(one, other), expected)
    (given,) = torch.autograd.grad(crossed(one, other), one)
    (alone,) = torch.autograd.grad(F.cross_entropy(one, other.argmax(1)), one)
    assert torch.allclose(given, alone)


def test_networks_that_agree_still_sharpen_each_other_and_labelled_images_count_if_asked(tmp_path):
    both, trainer = caught("cps", tmp_path / "both", weight=1)
    alone, _ = caught("cps", tmp_path / "alone", weight=1, on_labelled=False)
    patches = batch(trainer, both)
    crosses = [job.step(patches, 0.5)["cross"].item() for job in (both, alone)]
    assert crosses[0] != crosses[1]
    images = [patches["labelled"].image, patches["unlabelled"].image]
    heads = [network(torch.cat(images))[len(images[0]) :] for network in both.model]
    assert crosses[1] == pytest.approx(crossed(*heads).item())


def test_each_networks_gradient_is_clipped_by_itself(tmp_path, monkeypatch):
    norms, one_step = [], loop.Training._one_step

    def watched(training, drawn):
        one_step(training, drawn)
        norms.extend(nn.utils.get_total_norm([p.grad for p in net.parameters()]).item() for net in training.job.model)

    monkeypatch.setattr(loop.Training, "_one_step", watched)
    fit("cps", tmp_path, ToyDataset(recipe=replace(TOY.recipe, clip=0.01)))
    assert norms == pytest.approx([0.01] * len(norms), rel=1e-3)


def test_the_result_is_the_first_network_or_the_mean_of_both(tmp_path):
    first, _, _ = fit("cps", tmp_path)
    mean, again, _ = fit("cps", tmp_path, final="ensemble")
    assert first != mean
    assert again.phases[0].reused  # it is the same training
