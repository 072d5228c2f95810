"""What makes URPC URPC."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from caught import batch, caught, gradient
from fitting import fit

from atso_bench.benchmark.spec import Budget
from atso_bench.methods.urpc import full_size, rectified


def test_scales_that_agree_cost_nothing_and_others_something():
    torch.manual_seed(0)
    head = torch.randn(2, 3, 4, 4)
    assert rectified([head, head, head]).item() == pytest.approx(0, abs=1e-6)
    assert rectified([head, -head, head]).item() > 0.1


def test_the_loss_is_the_papers_formula():
    torch.manual_seed(0)
    heads = [torch.randn(2, 3, 4, 4) for _ in range(4)]
    mean = torch.stack([head.softmax(1) for head in heads]).mean(0)
    expected = 0.0
    for head in heads:
        apart = F.kl_div(mean.log(), head.softmax(1), reduction="none").sum(1)
        weight = torch.exp(-apart)
        squared = (head.softmax(1) - mean).square().mean(1)
        expected += ((weight * squared).sum() / weight.sum() + apart.mean()).item() / 4
    assert rectified(heads).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 8)])
def test_coarse_heads_are_brought_to_full_size(shape):
    heads = [torch.zeros(1, 3, *(size // 2**k for size in shape)) for k in range(3)]
    assert [tuple(head.shape[2:]) for head in full_size(heads)] == [shape] * 3


def test_a_network_of_one_head_gets_further_ones_that_learn_and_are_left_out_of_the_result(tmp_path):
    job, trainer = caught("urpc", tmp_path, rampup=0)
    assert len(job.model.extra) == 1
    terms = job.step(batch(trainer, job), 0.0)
    assert terms["consistency"].item() > 0
    given = torch.autograd.grad(terms["labelled"] + terms["consistency"], list(job.model.extra.parameters()))
    assert all(part.abs().max() > 0 for part in given)
    _, trainer, _ = fit("urpc", tmp_path / "fit")
    whole = trainer.stages.load(next((tmp_path / "fit").glob("*/*/model.pt")))["models"][0]
    assert {f"network.{name}" for name in trainer.new_model().state_dict()} < set(whole)


def test_nnunets_own_heads_are_the_pyramid(tiny, tmp_path):
    labelled = tiny.pool[:2]
    task = tiny.task(labelled, tiny.pool, Budget("smoke", 14), {"width": 2})
    from atso_bench.benchmark.store.stages import Stages
    from atso_bench.benchmark.task import Pool, TrainData
    from atso_bench.benchmark.trainer import Trainer
    from atso_bench.methods.urpc import PyramidConsistency

    jobs = []
    method = PyramidConsistency(rampup=0)
    trainer = Trainer(task, Budget("smoke", 14), 0, Stages(tmp_path), method=method)
    trainer.carry_out = lambda job, *_: jobs.append(job)  # type: ignore[method-assign]
    data = TrainData(Pool(labelled, task.images, task.labels), Pool(tiny.pool[2:], task.images))
    model = method.fit(trainer, data)
    assert not jobs[0].model.extra
    assert jobs[0].model.network is model
    assert gradient(jobs[0], jobs[0].step(batch(trainer, jobs[0], 2), 0.0)["consistency"]) > 0
