"""On emulated GPUs: every method, on volumes and on frames, in two and in three dimensions, waits for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import kinds
import pytest

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.training import residence


@pytest.fixture(scope="module", params=kinds.KINDS)
def task(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, TrainData]:
    return kinds.opened(request.param, tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", ["supervised", "unimatch"])
def test_none_waits_where_batches_come_from_loaders(
    name: str, task: tuple[Any, TrainData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residence, "SHARE", 0.0)
    check(name, task, tmp_path)


@pytest.mark.parametrize("name", kinds.METHODS)
def test_no_step_waits_for_the_device_but_to_read_the_losses_once_a_window(
    name: str, task: tuple[Any, TrainData], tmp_path: Path
) -> None:
    check(name, task, tmp_path)


def check(name: str, task: tuple[Any, TrainData], folder: Path) -> None:
    """The first step of a process may wait: it sends constants."""
    with kinds.watched(fake_cuda.install()) as seen:
        kinds.fit(name, *task, folder)
    assert all(step.operations > 50 for step in seen)
    for step in seen[1:]:
        reading = [line for line in step.waits if kinds.LOG in line]
        assert not set(step.waits) - set(reading), f"{step.phase}, step {step.number} waits"
        assert step.waits.total() == step.read
