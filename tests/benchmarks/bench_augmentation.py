"""Batches of augmented patches: ours against nnU-Net's loader with its full augmentation by batchgeneratorsv2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import volumes
from racing import Goal, faster, sized

pytestmark = pytest.mark.benchmark(group="augmentation")


RACES = [
    ("2d", 16, faster(7), 80),
    ("2d", 64, faster(12), 40),
    ("2d", 366, None, 8),
    ("3d_fullres", 2, faster(2), 100),
    ("3d_fullres", 9, faster(2), 40),
]


@pytest.mark.parametrize(("configuration", "batch", "goal", "rounds"), sized(RACES, [RACES[0], RACES[3]]))
def test_augmented_batches(
    race: Callable[..., Any],
    device: torch.device,
    tmp_path: Path,
    configuration: str,
    batch: int,
    goal: Goal | None,
    rounds: int,
) -> None:
    task = volumes.task(configuration)
    draw = task.draws(volumes.labelled(task), batch)
    geometry = draw.geometry
    loader = volumes.nnunets_loader(task, tmp_path, batch, volumes.nnunets_transforms(geometry))

    def ours() -> None:
        draw.finish(draw.read(), device)

    def theirs() -> None:
        found = loader.generate_train_batch()
        for part in (found["data"], found["target"]):
            part.to(device, non_blocking=True)

    np.random.seed(0)
    torch.manual_seed(0)
    for _ in range(sized(5, 0)):  # nnU-Net's blur first measures which of two algorithms is faster
        ours()
        theirs()
    size = "x".join(map(str, geometry.patch))
    race(
        f"augmented {len(geometry.patch)}d patches of {volumes.DATA}, {size}, batch {batch}: one patch",
        ours,
        theirs,
        opponent="nnU-Net's loader, batchgeneratorsv2",
        goal=goal,
        rounds=rounds,
        work=batch,
    )
