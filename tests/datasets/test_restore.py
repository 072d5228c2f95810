"""Logits become the classes that nnU-Net makes of them, to the voxel, however few planes are in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

from atso_bench.benchmark.task import Image
from atso_bench.datasets._volumes import restore as _restore
from atso_bench.datasets._volumes.restore import restorer

LINEAR = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
GEOMETRIES = {
    "the same": ((7, 9, 8), (7, 9, 8), (1, 1, 1), (1, 1, 1)),
    "finer": ((7, 9, 8), (15, 20, 11), (2, 2, 2), (0.9, 0.9, 1.4)),
    "coarser": ((31, 24, 20), (7, 9, 8), (1, 1, 1), (4.4, 2.7, 2.5)),
    "more planes": ((5, 9, 8), (23, 9, 8), (3, 1, 1), (0.7, 1, 1)),
    "fewer planes": ((40, 9, 8), (3, 9, 8), (0.2, 0.3, 0.3), (0.3, 0.3, 0.3)),
    "thick slices": ((5, 16, 18), (9, 11, 30), (6, 1, 1), (3.3, 1.5, 0.6)),
    "thick slices, as many": ((5, 16, 18), (5, 11, 30), (6, 1, 1), (6, 1.5, 0.6)),
    "thick slices, fewer": ((21, 16, 18), (4, 11, 30), (2, 2, 2), (9, 1.5, 0.6)),
    "thick along the second axis": ((16, 5, 18), (11, 9, 30), (1, 6, 1), (1.5, 3.3, 0.6)),
    "thick along the third axis": ((16, 18, 5), (11, 30, 9), (1, 1, 6), (1.5, 0.6, 3.3)),
    "one plane": ((1, 16, 18), (4, 11, 30), (1, 1, 1), (0.3, 1.5, 0.6)),
}


def case(before: Any, after: Any, current: Any, new: Any, function: Any, options: dict[str, Any]) -> Any:
    """What ``restorer`` makes of these shapes and spacings, and nnU-Net's resampling of them."""
    resample = lambda logits, *rest: function(logits, *rest, **options)  # noqa: E731
    plan = {"resampling_fn_probabilities": function.__name__, "resampling_fn_probabilities_kwargs": options}
    configuration = SimpleNamespace(spacing=current, configuration=plan, resampling_fn_probabilities=resample)
    properties = {"shape_after_cropping_and_before_resampling": after, "spacing": new}
    image = Image(np.broadcast_to(np.float32(0), (1, *before)), properties)
    return restorer(configuration, image, (0, 1, 2)), lambda logits: resample(logits, after, current, new)


def in_slabs(logits: torch.Tensor, sizes: tuple[int, ...]) -> list[torch.Tensor]:
    cuts = [*np.cumsum(sizes)[np.cumsum(sizes) < logits.shape[1]].tolist()]
    return list(logits.tensor_split(cuts, dim=1))


@pytest.mark.parametrize("piece", [1, 40_000, 1 << 26])
@pytest.mark.parametrize("sizes", [(100,), (1,) * 50, (3, 1, 4, 7, 2)])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_classes_are_nnunets(
    geometry: str, sizes: tuple[int, ...], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_restore, "PIECE", piece)
    before, after, current, new = GEOMETRIES[geometry]
    for seed in range(3):
        torch.manual_seed(seed)
        logits = (2 * torch.randn(5, *before)).half()  # half precision has many ties
        restore, resample = case(before, after, current, new, resample_data_or_seg_to_shape, LINEAR)
        expected = np.asarray(resample(logits)).argmax(0)
        ours = np.full(after, 77, np.uint8)
        restore(in_slabs(logits, sizes), ours)
        assert (ours == expected).all()
        assert len(np.unique(ours)) == 5


@pytest.mark.parametrize("order", [0, 3])
def test_a_plan_with_another_resampling_is_followed_class_by_class(order: int) -> None:
    before, after, current, new = GEOMETRIES["thick slices"]
    torch.manual_seed(0)
    logits = torch.randn(4, *before).half()
    seen: list[int] = []

    def resample_data_or_seg_to_shape(logits: torch.Tensor, *rest: Any, **options: Any) -> Any:
        from nnunetv2.preprocessing.resampling import default_resampling

        seen.append(len(logits))
        return default_resampling.resample_data_or_seg_to_shape(logits, *rest, **options)

    restore, resample = case(before, after, current, new, resample_data_or_seg_to_shape, {**LINEAR, "order": order})
    expected = np.asarray(resample(logits)).argmax(0)
    ours = np.full(after, 77, np.uint8)
    restore(in_slabs(logits, (2, 1, 2)), ours)
    assert (ours == expected).all()
    assert seen == [4, 1, 1, 1, 1]
