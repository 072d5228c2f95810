"""Small tasks of each kind for the emulated GPU: what every method learns there, and what its steps wait for."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fake_cuda
import numpy as np
import pytest
import torch

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Image, Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.loop import Training
from atso_bench.datasets._frames.classes import CITYSCAPES
from atso_bench.datasets._frames.task import FramesTask

METHODS = registry.names("methods")
KINDS = ("2d", "3d_fullres", "frames")
STEPS = 2
"""Of each training, the first of which sends constants to the device."""
WINDOW = 2
"""Steps after which the losses are read; in so short a training it would be after each."""

LOG = "loss_log.py"
"""Where the losses are read from the device, once a window."""


def volumes(configuration: str, root: Path) -> tuple[Any, TrainData]:
    """A phantom of a few small cases."""
    from atso_bench.datasets.phantom import Phantom

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(root))
        data = Phantom(configuration, cases=10, unlabelled=2, size=(10, 24, 24))
        data.ready()
    task = data.task(data.pool[:3], data.pool, Budget.parse("smoke"), {})
    return task, TrainData(Pool(data.pool[:3], task.images, task.labels), Pool(data.pool[3:6], task.images))


def frames() -> tuple[Any, TrainData]:
    """Noise in the place of street scenes."""
    rng, names = np.random.default_rng(0), [f"f{number}" for number in range(6)]
    images = {name: Image(rng.integers(0, 255, (3, 72, 96), np.uint8), {"size": [72, 96]}) for name in names}
    labels = {name: rng.integers(0, 19, (72, 96), np.uint8) for name in names[:3]}
    task = FramesTask(
        classes=CITYSCAPES,
        configuration="512x1024",
        budget=Budget.parse("smoke"),
        overrides={"patch": [48, 48], "batch": 4},
        images=images,
        labels=labels,
        visible={name: name for name in names},
        labelled={name: name for name in names[:3]},
        unlabelled=3,
        listed=False,
    )
    return task, TrainData(Pool(tuple(names[:3]), images, labels), Pool(tuple(names[3:]), images))


def opened(kind: str, root: Path) -> tuple[Any, TrainData]:
    """The task of a kind, and what a method learns from; volumes are prepared below ``root``."""
    return frames() if kind == "frames" else volumes(kind, root)


def fit(name: str, task: Any, data: TrainData, folder: Path, device: str = "cuda", **more: Any) -> torch.nn.Module:
    """The model that a method makes with ``STEPS`` steps in each training."""
    method = registry.method(name, {})
    budget = Budget.parse(str(STEPS), "phase")
    trainer = Trainer(task, budget, 0, Stages(folder), device=device, method=method, **more)
    return method.fit(trainer, data)


def weights(model: torch.nn.Module) -> torch.Tensor:
    """All parameters and buffers on the CPU, one after the other."""
    return torch.cat([tensor.detach().cpu().float().flatten() for tensor in model.state_dict().values()])


@dataclass
class Seen:
    """What one step did: where the host waited for the device and for what, and how many operations it queued."""

    phase: str
    number: int
    waits: Counter[str]
    operations: int
    read: bool = field(default=False)


@contextmanager
def watched(emulation: Any) -> Iterator[list[Seen]]:
    """Every step within this, as it is seen by the emulator."""
    seen: list[Seen] = []
    with pytest.MonkeyPatch.context() as patch, synchronising() as found:
        patch.setattr(Training, "_one_step", _watching(emulation, found, seen, Training._one_step))
        yield seen


@contextmanager
def synchronising() -> Iterator[Counter[str]]:
    """The lines that torch itself warns of: those in whose operations it waits for a device."""
    found: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", message=".*synchronizing CUDA operation")
        warnings.showwarning = lambda *_, **__: found.update([fake_cuda.where()])  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _watching(
    emulation: Any,
    synchronised: Counter[str],
    seen: list[Seen],
    one_step: Callable[[Training, Mapping[str, Any]], None],
) -> Callable[[Training, Mapping[str, Any]], None]:
    def step(training: Training, drawn: Mapping[str, Any]) -> None:
        synchronised.clear()
        training.losses.window = WINDOW
        emulation.waits.clear()
        emulation.operations.clear()
        before, windows = fake_cuda.waited() - emulation.explained, len(training.losses.means["step"])
        one_step(training, drawn)
        waits = Counter(emulation.waits)
        if unseen := fake_cuda.waited() - emulation.explained - before:
            waits.update(synchronised or {"elsewhere": unseen})
        synchronised.clear()
        read = len(training.losses.means["step"]) > windows
        operations = sum(emulation.operations.values())
        seen.append(Seen(training.job.phase, training.done, waits, operations, read))

    return step
