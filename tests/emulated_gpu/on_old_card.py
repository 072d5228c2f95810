"""On an emulated GPU without bfloat16 (T4, RTX 20xx): float16 with a scaled loss, and nothing waits there either."""

from __future__ import annotations

from pathlib import Path

import fake_cuda
import grids
import kinds
import pytest
import torch
from on_runs import toy
from toy import ToyDataset

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.training.precision import Update, precision

CUDA = torch.device("cuda:0")


@pytest.mark.parametrize("name", kinds.METHODS)
def test_every_method_learns_and_waits_for_nothing(name: str, tmp_path: Path) -> None:
    with kinds.watched(fake_cuda.install()) as seen:
        model = kinds.fit(name, *toy(), tmp_path)
    assert kinds.weights(model).isfinite().all()
    for step in seen[1:]:
        assert step.waits.total() == step.read, f"{step.phase}, step {step.number}: {dict(step.waits)}"


def test_a_step_with_infinite_gradients_is_left_out_and_the_scale_halved() -> None:
    model = torch.nn.Linear(3, 1).to(CUDA)
    update = Update(torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, fused=True), CUDA)
    before, scale = kinds.weights(model), update.scaler.get_scale()
    for factor in (float("inf"), 1.0):
        update.optimizer.zero_grad()
        update.backward(model(torch.ones(2, 3, device=CUDA)).sum() * factor)
        update.step([model], 12.0)
        if factor != 1:
            assert torch.equal(kinds.weights(model), before)
            assert update.scaler.get_scale() == scale / 2
    # gradients 2 and 2 of norm 4; the first momentum is the gradient, of which Nesterov takes 1.9
    assert torch.allclose(before - kinds.weights(model), torch.full((4,), 0.1 * 1.9 * 2))


def test_the_record_says_so_and_a_stopped_training_goes_on_with_its_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": ToyDataset())
    spec = RunSpec("toy", "supervised", "10", 0, Budget.parse("4"))
    assert grids.work([spec], tmp_path, "cuda") == 0
    assert Record.read(tmp_path / "records" / spec.path).environment["precision"] == precision(CUDA) == "float16"
    state = torch.nn.Linear(1, 1).to(CUDA)
    updates = [Update(torch.optim.SGD(state.parameters(), 0.1), CUDA) for _ in range(2)]
    updates[0].scaler.load_state_dict({**updates[0].scaler.state_dict(), "scale": 4.0})
    updates[1].scaler.load_state_dict(updates[0].scaler.state_dict())
    assert updates[1].scaler.get_scale() == 4.0
