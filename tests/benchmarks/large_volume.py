"""Peak memory of one volume of any size, which the network has no share in: its logits are the image times a number.

Run: python tests/benchmarks/large_volume.py label 800 512 50. What: label, soft, restore, resample or score; then
planes, rows and columns, and classes. Prints JSON: bytes that it took beside what the process had, and what the
benchmark says beforehand that it takes; seconds.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atso_bench.benchmark.machine.timing import process_bytes

TILE = 8  # planes; with tiles as large as a slice, and few of them, most of the time is no forward pass


class Multiples(nn.Module):
    """Logits are multiples of the image, which is cheap."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.factors = torch.linspace(-1, 1, classes).view(1, -1, 1, 1, 1)
        self.room: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.room is None:
            self.room = torch.empty(len(x), self.factors.shape[1], *x.shape[2:])
        return torch.mul(x, self.factors, out=self.room)


def opened(folder: Path, side: int, classes: int) -> Any:
    """A task of so many classes, on the plan of a tiny phantom."""
    from atso_bench.benchmark.spec import Budget
    from atso_bench.datasets.phantom import Phantom

    os.environ["ATSO_BENCH_DATA"] = str(folder)
    dataset = Phantom("3d_fullres", cases=10, unlabelled=0, size=(10, 24, 24))
    dataset.ready()
    task = dataset.task(dataset.pool[:2], (), Budget.parse("smoke"), {"patch": [TILE, side, side]})
    task.classes = tuple(f"class {number}" for number in range(classes))
    task.dataset_json["labels"] = {"background": 0, **{f"class {number}": number for number in range(1, classes)}}
    return task


def volume(task: Any, planes: int, side: int, *, resampled: bool) -> Any:
    from atso_bench.benchmark.task import Image

    before = (planes, side, side)
    after = (planes + planes // 10, side, side + 40) if resampled else before
    spacing = [step * old / new for step, old, new in zip(task._configuration.spacing, before, after, strict=True)]
    box = [[0, size] for size in after]
    sizes = {"shape_before_cropping": after, "shape_after_cropping_and_before_resampling": after}
    array = np.random.default_rng(0).standard_normal((1, *before), dtype=np.float32)
    array.setflags(write=False)
    return Image(array, {**sizes, "spacing": spacing, "bbox_used_for_cropping": box})


def balls(planes: int, side: int, classes: int, shift: int) -> np.ndarray:
    """One ball, or what the spacing makes of it, of each class but the background, on a grid of 4 x 4 x 4."""
    label = np.zeros((planes, side, side), np.uint8)
    places = product(*(np.linspace(0.12, 0.88, 4) * size for size in label.shape))
    for number, centre in zip(range(1, classes), places, strict=False):
        radii = 0.09 * np.array(label.shape)
        sides = zip(centre, radii, label.shape, strict=True)
        box = tuple(slice(int(at - r), min(int(at + r) + 2 + shift, size)) for at, r, size in sides)
        axes = zip(np.ogrid[box], centre, radii, strict=True)
        label[box][sum(((x - at - shift) / r) ** 2 for x, at, r in axes) <= 1] = number
    return label


def main(what: str, planes: int, side: int, classes: int) -> dict[str, float]:
    from atso_bench.benchmark.scoring import metrics
    from atso_bench.benchmark.training.labels import as_label

    torch.set_num_threads(1)
    if what == "score":
        pair = [balls(planes, side, classes, shift) for shift in (0, 2)]
        before, began = process_bytes(), time.perf_counter()
        metrics.score_case(*pair, [str(number) for number in range(classes)], (1.5, 0.7, 0.7), ignore=255)
        stated = 4 * pair[0].size + (1 << 28)
    else:
        with tempfile.TemporaryDirectory() as folder:
            task = opened(Path(folder), side, classes)
        image = volume(task, planes, side, resampled=what == "resample")
        before, began = process_bytes(), time.perf_counter()
        slabs = task.slabs(Multiples(classes), image, torch.device("cpu"), mirror=False)
        if what in ("label", "soft"):
            as_label(slabs, (planes, side, side), classes, what == "soft")
        else:
            task.restore(image, slabs)
        stated = task._needed(image) + (2 * classes * planes * side**2 if what == "soft" else 0)
    return {"taken": process_bytes() - before, "stated": stated, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))
