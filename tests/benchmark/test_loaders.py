"""Loader processes: as many as shared memory holds, and an end to waiting for those that hang."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from atso_bench.benchmark import remedies
from atso_bench.benchmark.training import loaders
from atso_bench.benchmark.training.batches import Batches
from atso_bench.benchmark.training.loaders import loading

CPU = torch.device("cpu")
MEGABYTE = 1_000_000


class Draw:
    """Batches of one megabyte, or none at all."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> tuple[torch.Tensor, None]:
        time.sleep(self.seconds)
        return torch.zeros(MEGABYTE // 4), None


def batches(draw: Any) -> Batches:
    return Batches({"labelled": draw}, 0, 0, whole=True)


@pytest.mark.parametrize(
    ("megabytes", "fit"),
    [(10_000, (8, 4)), (64, (8, 4)), (40, (8, 3)), (20, (8, 1)), (5, (3, 1)), (1, (0, 4))],
)
def test_loaders_are_ahead_by_no_more_than_shared_memory_holds(
    megabytes: int, fit: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "_free", lambda: megabytes * MEGABYTE)
    said: list[str] = []
    found = loaders._fitting(batches(Draw()), range(100), 8, said.append)
    assert found == fit
    assert bool(said) == (fit != (8, 4))
    assert all("--shm-size 8g" in each and f"{megabytes} MB free" in each for each in said)


def test_no_batch_is_looked_at_where_there_is_no_shared_memory_or_no_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "_free", lambda: None)
    assert loaders._fitting(batches(None), range(3), 8, pytest.fail) == (3, 4)
    monkeypatch.setattr(loaders, "_free", lambda: 1)
    assert loaders._fitting(batches(None), range(3), 0, pytest.fail) == (0, 4)


def test_loaders_that_give_nothing_are_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "SECONDS", 1.0)
    began = time.monotonic()
    with loading(batches(Draw(60.0)), range(4), 1, CPU, pytest.fail) as made, pytest.raises(RuntimeError) as caught:
        next(made)
    assert time.monotonic() - began < 30
    assert "--shm-size" in remedies.message(caught.value)
