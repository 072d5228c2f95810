"""Patches from a device's memory are those that loaders cut from the images, bit for bit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.task import IGNORE, Image, Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training import loop, residence
from atso_bench.benchmark.training.batches import seed_everything
from atso_bench.datasets._volumes.chances import Geometry
from atso_bench.datasets._volumes.draws import BatchDraw, SampleDraw
from atso_bench.datasets._volumes.opened import MaskedImage

CPU = torch.device("cpu")
SIZES = ((9, 30, 22), (14, 11, 25), (1, 40, 40))
"""Some are smaller than a wide patch, so that much of it lies beyond them."""


def pool(labels: str, *, masked: bool, channels: int = 2) -> Pool:
    rng = np.random.default_rng(3)
    images: dict[str, Image] = {}
    found: dict[str, np.ndarray] = {}
    for name, size in zip("abc", SIZES, strict=True):
        outside = rng.random(size) < 0.3
        array = rng.standard_normal((channels, *size)).astype(np.float32)
        images[name] = MaskedImage(array, {}, outside if masked else None)
        hard = rng.choice([0, 1, 2, IGNORE], size, p=[0.6, 0.2, 0.15, 0.05]).astype(np.uint8)
        soft = np.moveaxis(rng.dirichlet(np.ones(3), size), -1, 0).astype(np.float16)
        found[name] = soft if labels == "soft" else hard
    return Pool(("a", "b", "c"), images, found if labels != "none" else None)


@pytest.mark.parametrize("patch", [(20, 16), (8, 12, 16), (4, 28, 28)], ids=str)
@pytest.mark.parametrize("labels", ["hard", "soft", "none"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_from_memory_is_a_loaders(patch: tuple[int, ...], labels: str, masked: bool) -> None:
    ignore = labels == "hard"
    manager = SimpleNamespace(foreground_labels=[1, 2], has_ignore_label=ignore, all_labels=[0, 1, 2])
    given = pool(labels, masked=masked)
    read = BatchDraw(given, 9, Geometry.of(patch, [False, masked]), manager)
    held = read.held(CPU, {})
    turned = 0
    for step in range(6):
        batches = []
        for draw in (read, held):
            seed_everything(0, 0, step, stream=0)
            batches.append(draw())
        seed_everything(0, 0, step, stream=0)
        turned += len(read.read()["turned"])
        for one, other in zip(*batches, strict=True):
            assert (one is None) == (other is None)
            assert one is None or (one.dtype == other.dtype and torch.equal(one, other))
    assert turned > 3


def test_what_is_sent_in_a_step_is_numbers_alone() -> None:
    manager = SimpleNamespace(foreground_labels=[1, 2], has_ignore_label=False, all_labels=[0, 1, 2])
    held = BatchDraw(pool("hard", masked=False), 64, Geometry.of((28, 28)), manager).held(CPU, {})
    assert sum(part.nbytes for part in held.read().values()) < 16_000


def test_pools_of_the_same_images_share_them() -> None:
    manager = SimpleNamespace(foreground_labels=[1, 2], has_ignore_label=False, all_labels=[0, 1, 2])
    given, shelf = pool("hard", masked=False), {}  # type: ignore[var-annotated]
    draws = [BatchDraw(each, 4, Geometry.of((20, 16)), manager) for each in (given, given.labelled_by(given.labels))]
    stores = [draw.held(CPU, shelf).store for draw in draws]
    assert stores[0].parts["image"] is stores[1].parts["image"]
    assert len(shelf) == 1


def test_the_weight_of_a_pool_is_what_it_takes() -> None:
    manager = SimpleNamespace(foreground_labels=[1, 2], has_ignore_label=False, all_labels=[0, 1, 2])
    for labels in ("hard", "soft", "none"):
        draw = BatchDraw(pool(labels, masked=labels == "none"), 4, Geometry.of((20, 16)), manager)
        held = draw.held(CPU, {}).store
        assert held is not None
        assert draw.weight(1 << 30) == sum(laid.values[:, :-1].nbytes for laid in held.parts.values())
        assert draw.weight(10) > 10
    assert SampleDraw(pool("hard", masked=False), 4, Geometry.of((20, 16)), manager).weight(1 << 30) is None


@pytest.mark.parametrize(("free", "together", "resident"), [(1000, 1, True), (900, 1, False), (1900, 2, False)])
def test_data_live_on_a_device_with_room_for_them(
    free: int, together: int, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Draw:
        def weight(self, most: int) -> int:
            return 200

        def held(self, device: torch.device, shelf: Any) -> str:
            return "held"

    monkeypatch.setattr(residence, "_free", lambda device: free)
    draws: Any = {"labelled": Draw(), "unlabelled": Draw()}
    found = residence.held(draws, torch.device("cuda"), together, {})
    assert found == ({"labelled": "held", "unlabelled": "held"} if resident else None)
    assert residence.held(draws, CPU, 1, {}) is None


@pytest.mark.parametrize("name", ["supervised", "mean-teacher", "atso"])
def test_a_training_from_memory_gives_the_weights_of_one_with_loaders(
    name: str, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for resident in (False, True):
        if resident:
            monkeypatch.setattr(loop, "held", _always)
        task = tiny.task(tiny.pool[:3], tiny.pool, Budget.parse("14"), {"batch": 4})
        data = TrainData(Pool(tiny.pool[:3], task.images, task.labels), Pool(tiny.pool[3:6], task.images))
        method = registry.method(name, {})
        trainer = Trainer(task, Budget.parse("14"), 0, Stages(tmp_path / str(resident)), workers=2, method=method)
        found.append(weights_digest(method.fit(trainer, data)))
    assert found[0] == found[1]


def _always(draws: Any, device: torch.device, together: int, shelf: dict[Any, Any]) -> dict[str, Any]:
    return {name: draw.held(device, shelf) for name, draw in draws.items()}
