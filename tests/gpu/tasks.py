"""What the check of a GPU trains on: hippocampi (or a phantom of their size) and noise in the shape of Cityscapes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import stepping
import torch
import volumes

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Image, Pool, TrainData
from atso_bench.benchmark.training.loop import Training
from atso_bench.datasets._frames.classes import CITYSCAPES
from atso_bench.datasets._frames.task import FramesTask

SMALL = os.environ.get("GPU_CHECK_SMALL") == "1"
"""To try the check itself, on an emulated GPU."""
CUDA = torch.device("cuda")


def medical(configuration: str) -> tuple[Any, TrainData]:
    """The planned network and batch; labelled cases, and all others."""
    small = {"width": 4, "batch": 4} if SMALL else {}
    task = volumes.task(configuration, **small)
    return task, stepping.data(task)


def streets() -> tuple[Any, TrainData]:
    """Frames of Cityscapes' size, with the recipe of UniMatch's protocol."""
    rng, names = np.random.default_rng(0), [f"f{number}" for number in range(6)]
    height, width, side, batch = (96, 128, 48, 4) if SMALL else (1024, 2048, 801, 8)
    blocks = [rng.integers(0, 19, (height // 16, width // 16)) for _ in range(3)]
    images = {name: Image(rng.integers(0, 255, (3, height, width), np.uint8), {}) for name in names}
    labels = {
        name: np.kron(each, np.ones((16, 16))).astype(np.uint8) for name, each in zip(names, blocks, strict=False)
    }
    task = FramesTask(
        classes=CITYSCAPES,
        configuration="512x1024",
        budget=Budget.parse("smoke" if SMALL else "standard"),
        overrides={"patch": [side, side], "batch": batch, "weights": "none"},
        images=images,
        labels=labels,
        visible={name: name for name in names},
        labelled={name: name for name in names[:3]},
        unlabelled=3,
        listed=False,
    )
    return task, TrainData(Pool(tuple(names[:3]), images, labels), Pool(tuple(names[3:]), images))


def training(method: str, task: Any, data: TrainData, folder: Path, workers: int) -> Training:
    """The training of a method's first phase, or of one on true and pseudo labels (``imitate``), standing still."""
    trainer = stepping.Standing(
        task,
        Budget.parse("standard"),
        0,
        Stages(folder),
        device=CUDA,
        workers=workers,
        method=registry.method("supervised" if method == "imitate" else method, {}),
    )
    if method == "imitate":
        labelled = data.labelled
        pools = {"labelled": labelled, "pseudo": Pool(labelled.ids, labelled.images, task.labels, pseudo=True)}
        trainer.imitate(trainer.new_model(), pools, steps=10_000, phase="imitate")
    else:
        registry.method(method, {}).fit(trainer, data)
    trainer.training.job.model.train()
    return trainer.training
