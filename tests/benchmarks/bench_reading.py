"""Patches cut out of volumes: from memory, and from compressed files where memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import volumes
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from racing import sized

from atso_bench.datasets._volumes import opened
from atso_bench.datasets._volumes.patches import cut

pytestmark = pytest.mark.benchmark(group="reading")
PATCHES = sized(64, 4)


@pytest.mark.parametrize("memory", [True, False], ids=["memory", "files"])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_load_and_crop(
    race: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configuration: str, memory: bool
) -> None:
    if not memory:
        monkeypatch.setattr(opened, "CACHE_BYTES", 0)
    task = volumes.task(configuration)
    draw = task.draws(volumes.labelled(task), PATCHES)
    loader = volumes.nnunets_loader(task, tmp_path, PATCHES, None)
    np.random.seed(0)
    places, size = list(draw.places()), draw.geometry.wide
    target = np.zeros((1, *size), np.float32)

    def ours() -> None:
        for name, lower in places:
            cut(task.images[name].array, lower, target)

    def theirs() -> None:
        for name, lower in places:
            data, _, _, _ = loader._data.load_case(name)
            box = [[low, low + length] for low, length in zip(lower, draw._wide, strict=True)]
            crop_and_pad_nd(data, box, 0).astype(np.float32)

    race(
        f"load and crop, {configuration}, from {'memory' if memory else 'compressed files'}: one patch",
        ours,
        theirs,
        opponent="nnU-Net: open, decompress, crop",
        work=PATCHES,
    )
