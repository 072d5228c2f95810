"""Volumes to measure on: real hippocampus where it is, else the embedded phantom."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.task import Pool
from atso_bench.datasets.hippocampus import Hippocampus
from atso_bench.datasets.phantom import Phantom

REAL = Path(os.environ.get("ATSO_BENCH_REAL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
SOURCE = REAL / "Task04_Hippocampus"
DATA = "hippocampus" if SOURCE.is_dir() else "phantom"


@cache
def dataset(configuration: str) -> Any:
    """The dataset, prepared once for all benchmarks of a session."""
    os.environ["ATSO_BENCH_DATA"] = _home()
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        os.environ.pop(name, None)
    found = Hippocampus(configuration) if DATA == "hippocampus" else Phantom(configuration)
    if DATA == "hippocampus" and not any(Path(_home()).glob("nnUNet_raw/*")):
        found.prepare(SOURCE)
    else:
        found.ready()
    return found


@cache
def _home() -> str:
    return mkdtemp(prefix="atso-bench-volumes-")


def task(configuration: str = "2d", labelled: int = 40, **overrides: Any) -> Any:
    """A task on ``labelled`` labelled cases, opened for the whole pool, with the plan's recipe."""
    found = dataset(configuration)
    return found.task(found.pool[:labelled], found.pool, Budget("standard", 50_000), overrides)


def labelled(task: Any) -> Pool:
    return Pool(tuple(task.labels), task.images, task.labels)


def nnunets_loader(task: Any, folder: Path, batch: int, transforms: Any) -> Any:
    """nnU-Net's own loader over the labelled cases of ``task``, which are written to ``folder`` as nnU-Net does."""
    names: Sequence[str] = tuple(task.labels)
    draw = task.draws(labelled(task), batch)
    for name in names:
        image, label = task.images[name].array, task.labels[name]
        properties = {"class_locations": draw._find(name, label)}
        target = str(folder / name)
        blocks, chunks = comp_blosc2_params(image.shape, task.recipe.patch)
        nnUNetDatasetBlosc2.save_case(image, np.asarray(label, np.int8)[None], properties, target, chunks=chunks, blocks=blocks)
    geometry = draw.geometry
    return nnUNetDataLoader(
        nnUNetDatasetBlosc2(str(folder), list(names)),
        batch,
        geometry.wide,
        geometry.patch,
        task._label_manager,
        oversample_foreground_percent=0.33,
        transforms=transforms,
    )
