"""What makes entropy minimisation that."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from caught import batch, caught
from fitting import fit

from atso_bench.methods.entropy_minimisation import relative_entropy


def test_the_entropy_is_a_share_of_the_largest_for_any_number_of_classes():
    for classes in (2, 5):
        assert relative_entropy(torch.zeros(1, classes, 4)).item() == pytest.approx(1)
    certain = torch.tensor([200.0, 0.0, 0.0]).view(1, 3, 1)
    assert relative_entropy(certain).item() == 0.0
    two = torch.tensor([0.0, 0.0, -200.0]).view(1, 3, 1)
    assert relative_entropy(two).item() == pytest.approx(math.log(2) / math.log(3))


def test_a_step_down_its_gradient_lowers_the_entropy_also_from_certainty_on():
    torch.manual_seed(0)
    logits = torch.cat([torch.randn(1, 3, 50), torch.tensor([200.0, 0, 0]).view(1, 3, 1)], 2).requires_grad_()
    (given,) = torch.autograd.grad(relative_entropy(logits), logits)
    assert given.isfinite().all()
    assert relative_entropy(logits - given) < relative_entropy(logits)


def test_it_leaves_a_model_that_is_surer_of_r(tmp_path):
    found = []
    for weight in (0.0, 3.0):
        folder = tmp_path / str(weight)
        _, trainer, split = fit("entropy-minimisation", folder, weight=weight, rampup=0)
        model = trainer.new_model()
        model.load_state_dict(trainer.stages.load(next(folder.glob("*/*/model.pt")))["models"][0])
        images = [trainer.task.images[case_id].array for case_id in split.unlabelled]
        with torch.inference_mode():
            found.append(relative_entropy(model.eval()(torch.from_numpy(np.stack(images)))).item())
    assert found[1] < 0.9 * found[0]


def test_labelled_images_count_if_asked(tmp_path):
    alone, trainer = caught("entropy-minimisation", tmp_path / "alone", rampup=0)
    both, _ = caught("entropy-minimisation", tmp_path / "both", rampup=0, on_labelled=True)
    patches = batch(trainer, alone)
    images = [patches[name].image for name in ("labelled", "unlabelled")]
    output = alone.model(torch.cat(images))
    for job, heads in ((alone, output[len(images[0]) :]), (both, output)):
        assert job.step(patches, 0.0)["entropy"].item() == pytest.approx(0.1 * relative_entropy(heads).item())
