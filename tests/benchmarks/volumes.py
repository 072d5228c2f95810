"""Volumes to measure on: real hippocampi where they are, else a phantom of their size; a tiny one for a mere try."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from racing import TABLE, sized

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.task import Pool
from atso_bench.datasets._volumes.chances import Geometry
from atso_bench.datasets._volumes.patches import OVERSAMPLED
from atso_bench.datasets.hippocampus import Hippocampus
from atso_bench.datasets.phantom import Phantom

REAL = Path(os.environ.get("ATSO_BENCH_REAL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
SOURCE = REAL / "Task04_Hippocampus"
DATA = "hippocampus" if TABLE and SOURCE.is_dir() else "phantom"
CASES, SIZE = sized(48, 10), sized((36, 50, 35), (10, 24, 24))


@cache
def dataset(configuration: str) -> Any:
    """A dataset of a few cases, prepared once for all benchmarks of a session."""
    home = Path(mkdtemp(prefix="atso-bench-volumes-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(home / "data"))
        for name in ("nnUNet_raw", "nnUNet_preprocessed"):
            patch.delenv(name, raising=False)
        if DATA == "phantom":
            found: Any = Phantom(configuration, cases=CASES, unlabelled=0, size=SIZE)
            found.ready()
        else:
            found = Hippocampus(configuration)
            found.prepare(_few(home / SOURCE.name))
    return found


def _few(folder: Path) -> Path:
    """The decathlon's task with its first cases only."""
    description = json.loads((SOURCE / "dataset.json").read_text(encoding="utf-8"))
    description["training"] = description["training"][:CASES]
    for entry in description["training"]:
        for path in entry.values():
            link = folder / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(SOURCE / path)
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": CASES}), encoding="utf-8")
    return folder


def task(
    configuration: str = "2d", budget: str = sized("standard", "small"), labelled: int = sized(30, 8), **overrides: Any
) -> Any:
    """A task on ``labelled`` labelled cases, opened for the whole pool and T."""
    found = dataset(configuration)
    return found.task(found.pool[:labelled], (*found.pool, *found.test), Budget.parse(budget), overrides)


def labelled(task: Any) -> Pool:
    return Pool(tuple(task.labels), task.images, task.labels)


def nnunets_transforms(geometry: Geometry, scales: Any = None) -> Any:
    """nnU-Net's training transforms as it has them; with the ``scales`` of the heads, labels for each head."""
    return nnUNetTrainer.get_training_transforms(
        geometry.patch, geometry.rotation, scales, geometry.mirror_axes, geometry.layered, use_mask_for_norm=[False]
    )


def nnunets_loader(task: Any, folder: Path, batch: int, transforms: Any) -> Any:
    """nnU-Net's own loader over the labelled cases of ``task``, which are written to ``folder`` as nnU-Net does."""
    names: Sequence[str] = tuple(task.labels)
    draw = task.draws(labelled(task), batch)
    for name in names:
        image, label = task.images[name].array, task.labels[name]
        properties = {"class_locations": draw.voxels(name)}
        target = str(folder / name)
        blocks, chunks = comp_blosc2_params(image.shape, task.recipe.patch)
        nnUNetDatasetBlosc2.save_case(
            image, np.asarray(label, np.int8)[None], properties, target, chunks=chunks, blocks=blocks
        )
    geometry = draw.geometry
    return nnUNetDataLoader(
        nnUNetDatasetBlosc2(str(folder), list(names)),
        batch,
        geometry.wide,
        geometry.patch,
        task._label_manager,
        oversample_foreground_percent=OVERSAMPLED,
        transforms=transforms,
    )
