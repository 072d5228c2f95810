"""Surface distances of organs in a volume of 300 x 300 x 200, and the confusion matrix of a street scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from racing import sized, within
from scipy import ndimage

from atso_bench.benchmark.scoring import metrics

SHAPE, SPACING = sized((300, 300, 200), (60, 60, 40)), (0.8, 0.8, 1.5)
CENTRE = tuple(size // 2 for size in SHAPE)
RADII = sized({"liver": (80, 70, 60), "pancreas": (30, 20, 15)}, {"liver": (20, 18, 12), "pancreas": (9, 6, 5)})
GOALS = {"liver": within(0.2), "pancreas": within(0.03)}


def organ(seed: int, centre: tuple[int, ...], radii: tuple[int, ...]) -> np.ndarray:
    """An ellipsoid with an uneven surface."""
    grid = np.ogrid[tuple(slice(size) for size in SHAPE)]
    distance = sum(((axis - at) / radius) ** 2 for axis, at, radius in zip(grid, centre, radii, strict=True))
    coarse = np.random.default_rng(seed).standard_normal([size // 12 + 1 for size in SHAPE])
    noise = ndimage.zoom(coarse, 12, order=1)[tuple(slice(size) for size in SHAPE)]
    found: np.ndarray = distance + 0.25 * noise < 1
    return found


def pair(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A prediction that is shifted, a little smaller and uneven elsewhere; and its reference."""
    reference = organ(0, CENTRE, RADII[name])
    moved = tuple(at + by for at, by in zip(CENTRE, (2, 2, -1), strict=True))
    return organ(1, moved, tuple(radius - 1 for radius in RADII[name])), reference


def ours(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    distances = metrics.surface_distances(prediction, reference, SPACING)
    return metrics.hd95(distances), metrics.assd(distances)


def directed(one: np.ndarray, other: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distances of one surface to the other in medpy's way: a distance transform of the whole volume."""
    cross = ndimage.generate_binary_structure(one.ndim, 1)
    edges = [mask ^ ndimage.binary_erosion(mask, cross) for mask in (one, other)]
    distance: np.ndarray = ndimage.distance_transform_edt(~edges[1], sampling=spacing)
    return distance[edges[0]]


def full_volume(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """HD95 and ASSD, with distances of their own for each direction and each metric."""
    pairs = (prediction, reference), (reference, prediction)
    hd95 = max(np.percentile(directed(*pair, SPACING), 95) for pair in pairs)
    return float(hd95), float(np.concatenate([directed(*pair, SPACING) for pair in pairs]).mean())


def monai(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    hd95 = compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=SPACING)
    assd = compute_average_surface_distance(*masks, include_background=True, symmetric=True, spacing=SPACING)
    return float(hd95), float(assd)


@pytest.mark.benchmark(group="surface distances")
@pytest.mark.parametrize("opponent", ["MONAI", "full volume, as medpy"])
@pytest.mark.parametrize("name", RADII)
def test_surface_distances(race: Callable[..., Any], name: str, opponent: str) -> None:
    masks = pair(name)
    theirs = monai if opponent == "MONAI" else full_volume
    found: list[tuple[float, float]] = []
    race(
        f"HD95 and ASSD, {name}",
        lambda: ours(*masks),
        lambda: found.append(theirs(*masks)),
        opponent=opponent,
        goal=GOALS[name],
        rounds=5 if opponent == "MONAI" else 3,  # 9 s each
    )
    assert ours(*masks) == pytest.approx(found[0], abs=1e-4)  # MONAI computes in float32


@pytest.mark.benchmark(group="surface distances")
def test_a_whole_case(race: Callable[..., Any]) -> None:
    prediction, reference = (mask.astype(np.uint8) for mask in pair("liver"))
    race("all scores of a liver", lambda: metrics.score_case(prediction, reference, ["background", "liver"], SPACING))


def by_histograms(prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    rows = [np.histogram(prediction[reference == label], bins=19, range=(0, 19))[0] for label in range(19)]
    return np.stack(rows)


@pytest.mark.benchmark(group="confusion")
def test_confusion(race: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 19, sized((32, 64), (4, 8))), np.ones((32, 32))).astype(np.uint8)
    reference = np.where(blocks == 18, metrics.IGNORE, blocks).astype(np.uint8)
    prediction = np.where(rng.random(blocks.shape) < 0.9, blocks, rng.integers(0, 19, blocks.shape)).astype(np.uint8)

    def joint() -> np.ndarray:
        return metrics.confusion(prediction, reference, 19, ignore=metrics.IGNORE)

    assert np.array_equal(joint(), by_histograms(prediction, reference))
    race(
        "confusion, 2048 x 1024, 19 classes",
        joint,
        lambda: by_histograms(prediction, reference),
        opponent="a histogram per class",
        goal=within(0.01),
    )
