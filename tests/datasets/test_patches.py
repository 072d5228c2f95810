"""Places of patches against nnU-Net's own loader."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from scipy import stats

from atso_bench.benchmark.task import IGNORE, Image, Pool
from atso_bench.datasets._volumes.chances import Geometry
from atso_bench.datasets._volumes.patches import OVERSAMPLED, PatchDraw, cut

SHAPE = (20, 30, 26)
DRAWS = 600


class Places(PatchDraw):
    def read(self) -> dict[str, Any]:
        return {}


def label_manager(*, ignore: bool) -> Any:
    return SimpleNamespace(foreground_labels=[1, 2, 3], has_ignore_label=ignore, all_labels=[0, 1, 2, 3])


def pool(shape: tuple[int, ...], *, labelled: bool = True, ignore: bool = False) -> Pool:
    """One case: a small 1, a smaller 2 in a corner, no 3; perhaps most of it not annotated."""
    label = np.full(shape, IGNORE if ignore else 0, np.uint8)
    label[4:8, 10:16, 4:9] = 1
    label[-1, -2:, -1] = 2
    label[0, 0, 0:2] = 0
    return Pool(("a",), {"a": Image(np.zeros((1, *shape), np.float32), {})}, {"a": label} if labelled else None)


def theirs(draw: PatchDraw, manager: Any, size: int) -> np.ndarray:
    """Corners of many batches by nnU-Net's loader."""
    geometry, labelled = draw.geometry, draw.pool.labels is not None
    loader = nnUNetDataLoader(
        SimpleNamespace(identifiers=["a"]),
        size,
        geometry.wide,
        geometry.patch,
        manager,
        oversample_foreground_percent=OVERSAMPLED,
    )
    loader.has_ignore = manager.has_ignore_label and labelled
    voxels = {**dict.fromkeys([1, 2, 3, draw.annotated], ()), **draw.voxels("a")} if labelled else None
    shape = draw.pool.images["a"].array.shape[1:]
    return np.array(
        [
            [loader.get_bbox(shape, labelled and loader.get_do_oversample(n), voxels)[0] for n in range(size)]
            for _ in range(DRAWS)
        ]
    )


@pytest.mark.parametrize("patch", [(16, 12), (10, 16, 12), (24, 16, 12), (2, 16, 12)], ids=str)
@pytest.mark.parametrize("kind", ["labelled", "unlabelled", "partly annotated"])
def test_patches_lie_where_nnunets_do(patch: tuple[int, ...], kind: str) -> None:
    np.random.seed(0)
    manager = label_manager(ignore=kind == "partly annotated")
    cases = pool(SHAPE, labelled=kind != "unlabelled", ignore=kind == "partly annotated")
    draw = Places(cases, 5, Geometry.of(patch), manager)
    ours = np.array([[lower for _, lower in draw.places()] for _ in range(DRAWS)])
    nnunets = theirs(draw, manager, 5)
    assert ours.shape == nnunets.shape == (DRAWS, 5, 3)
    for number in (0, 2, 3, 4):  # 3 and 4 hold foreground
        for axis in range(3):
            here, there = ours[:, number, axis], nnunets[:, number, axis]
            assert here.min() == there.min()
            assert here.max() == there.max()
            assert stats.ks_2samp(here, there).pvalue > 1e-3
    if kind == "labelled":  # classes are as likely, however many voxels they have
        corner = np.array(SHAPE) - 1 - [wide // 2 for wide in draw._wide]
        small = [(np.abs(each[:, 4] - corner) <= 1).all(1).mean() for each in (ours, nnunets)]
        assert small[0] == pytest.approx(0.5, abs=0.08)
        assert small[1] == pytest.approx(0.5, abs=0.08)


def test_all_cases_are_drawn_alike() -> None:
    np.random.seed(0)
    images = {name: Image(np.zeros((1, *SHAPE), np.float32), {}) for name in "abc"}
    draw = Places(Pool(("a", "b", "c"), images), 300, Geometry.of((16, 12)), label_manager(ignore=False))
    names = [name for name, _ in draw.places()]
    assert stats.chisquare([names.count(name) for name in "abc"]).pvalue > 1e-3


def test_a_case_without_foreground_is_cut_anywhere() -> None:
    empty = Pool(("a",), pool(SHAPE).images, {"a": np.zeros(SHAPE, np.uint8)})
    draw = Places(empty, 9, Geometry.of((16, 12)), label_manager(ignore=False))
    corners = {tuple(lower) for _ in range(20) for _, lower in draw.places()}
    assert len(corners) > 100


@pytest.mark.parametrize("lower", [(0, 0, 0), (-3, 25, -20), (5, -2, 3), (-40, 0, 0)])
def test_a_cut_is_what_the_image_has_and_leaves_the_rest(lower: tuple[int, int, int]) -> None:
    array = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    room = np.pad(array, [(0, 0), (50, 50), (50, 50), (50, 50)], constant_values=7)
    for size in ((8, 10, 12), (10, 12)):
        target = np.full((2, *size), 7, np.float32)
        cut(array, lower, target)
        begin, sizes = [low + 50 for low in lower], (1,) * (3 - len(size)) + size
        window = tuple(slice(at, at + length) for at, length in zip(begin, sizes, strict=True))
        assert np.array_equal(target, room[(slice(None), *window)].reshape(target.shape))
