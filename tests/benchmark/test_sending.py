"""Tensors that are sent together arrive as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from atso_bench.benchmark.machine import sending
from atso_bench.benchmark.machine.sending import constant, sent_together

CPU = torch.device("cpu")


@pytest.mark.parametrize("device", [CPU, torch.device("meta")])
def test_shapes_and_types_stay(device: torch.device) -> None:
    made = parts()
    found = sent_together(made, device)
    assert set(found) == set(made)
    for name, part in made.items():
        assert (found[name].shape, found[name].dtype, found[name].device.type) == (part.shape, part.dtype, device.type)


def test_values_stay_however_they_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the CPU is called something else, and its copies are copies."""
    made = parts()

    class Elsewhere:
        type = "elsewhere"

    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda self, where, **more: to(self, CPU, **more))
    for small in (1 << 10, sending.SMALL):
        monkeypatch.setattr(sending, "SMALL", small)
        found: dict[str, Any] = sent_together(made, Elsewhere())  # type: ignore[arg-type]
        assert all(torch.equal(found[name], part) for name, part in made.items())


def parts() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "flags": torch.rand(5, 3) < 0.5,
        "cases": torch.arange(7),
        "none": torch.zeros(0, 2),
        "matrices": torch.randn(3, 3, 3).transpose(1, 2),
        "shorts": torch.randint(-1, 9, (3, 5), dtype=torch.int16),
        "large": torch.randn(40, 40, 40),
        "doubles": torch.randn(9, dtype=torch.float64),
    }


def test_a_constant_is_sent_once_and_may_be_trained_with() -> None:
    with torch.inference_mode():
        made = constant((1.5, 2.0), CPU)
    assert constant((1.5, 2.0), CPU) is made
    assert not made.is_inference()
    weight = torch.ones(2, requires_grad=True)
    (weight * made).sum().backward()
    assert weight.grad.tolist() == [1.5, 2.0]
