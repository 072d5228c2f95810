"""How a segmentation is scored: overlaps from confusion counts, surface distances in millimetres, the empty policy.

Counts first, ratios last. Two rules decide every undefined value (the table is in docs/metrics.md):

1. A ratio is NaN where its denominator is 0. So Dice, IoU and surface Dice of an organ that is missed, or found
   where there is none, are 0, and only where prediction and reference are both empty are they NaN.
2. A distance is NaN where either surface is empty.

Nothing is added to a denominator and no NaN is replaced; `summarise` counts what was defined and what was empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.reading.voxels import blocks, class_boxes

VERSION = 2  # of the definitions: raise it, and say so in CHANGELOG, whenever a change here can change a number
METRICS = ("dice", "iou", "precision", "recall", "hd95_mm", "assd_mm", "nsd")
# what is empty, by whether the prediction and the reference have no voxel of a class
EMPTY = {(False, False): "", (True, True): "both", (True, False): "prediction", (False, True): "reference"}
IGNORE = 255  # task.IGNORE; that file needs torch, this one does not
TOLERANCE_MM = 1.0
ROUNDING_MM = 1e-6  # a distance that equals the tolerance is within it, whatever the last bits of 3 * 0.7 say

Scores = dict[str, float | int | str]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]


def confusion(prediction: NDArray, reference: NDArray, classes: int, ignore: int | None = None) -> Counts:
    """Count the joint labels: entry [r, p] is how many voxels of class r were predicted as class p.

    Args:
        prediction: integer labels, ``(*spatial)``.
        reference: integer labels, ``(*spatial)``.
        classes: K, background included.
        ignore: voxels where the reference has this label are left out.

    Returns:
        ``(K, K)``; the matrices of several images add up.
    """
    _check_pair(prediction, reference)
    pairs = ((prediction[block], reference[block]) for block in blocks(prediction.shape))
    if prediction.dtype == reference.dtype == np.uint8 and classes <= 256:
        # Both labels in 16 bits, and every pair has its bin, so that no voxel is looked at twice: a third of the time.
        bins = np.zeros(1 << 16, np.int64)
        for mine, its in pairs:
            bins += np.bincount(((its.astype(np.uint16) << 8) | mine).ravel(order="K"), minlength=1 << 16)
        table = bins.reshape(256, 256)
        if ignore is not None and 0 <= ignore < 256:
            table[ignore] = 0
        check_labels("prediction", np.flatnonzero(table.any(axis=0)), classes)
        check_labels("reference", np.flatnonzero(table.any(axis=1)), classes)
        return table[:classes, :classes].copy()
    bins = np.zeros(classes**2, np.int64)
    for mine, its in pairs:
        if ignore is not None:
            keep = its != ignore
            mine, its = mine[keep], its[keep]
        check_labels("prediction", mine, classes)
        check_labels("reference", its, classes)
        bins += np.bincount((its.astype(np.int64) * classes + mine).ravel(), minlength=classes**2)
    return bins.reshape(classes, classes)


def check_labels(name: str, labels: NDArray, classes: int) -> None:
    """Raise ValueError if a label is not one of 0 .. ``classes`` - 1."""
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        hint = "; is it a label to `ignore`?" if name == "reference" else ""
        raise ValueError(f"{name} must hold labels from 0 to {classes - 1}, but has {wrong}{hint}")


def counts(matrix: Counts) -> tuple[Counts, Counts, Counts]:
    """Return the true positives, false positives and false negatives of each class, ``(K,)`` each."""
    tp = np.diagonal(matrix)
    return tp, matrix.sum(axis=0) - tp, matrix.sum(axis=1) - tp


def overlaps(matrix: Counts) -> dict[str, Floats]:
    """Return dice, iou, precision and recall of each class, ``(K,)`` each, NaN where the denominator is 0."""
    tp, fp, fn = counts(matrix)
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),
        "iou": _ratio(tp, tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
    }


def iou(matrix: Counts) -> Floats:
    """Return the intersection over union of each class, ``(K,)``, NaN where a class is in neither."""
    return overlaps(matrix)["iou"]


def mean_iou(matrix: Counts) -> float:
    """Return the mean of `iou` over the classes that occur in the prediction or the reference."""
    return mean(iou(matrix))


def pixel_accuracy(matrix: Counts) -> float:
    """Return the share of voxels whose class is right, background included."""
    return float(_ratio(int(np.trace(matrix)), int(matrix.sum())))


def surface(mask: Mask) -> Mask:
    """Return the voxels of a mask that have a face neighbour outside it; beyond the array is outside.

    Across an axis of one voxel there are no neighbours: one slice has the surface that it has as a flat image.
    """
    return _edge(mask, _long_axes(mask.shape))


def _long_axes(shape: Sequence[int]) -> list[int]:
    return [axis for axis, size in enumerate(shape) if size > 1]


def _edge(mask: Mask, axes: Sequence[int]) -> Mask:
    core = mask.copy() if axes else np.zeros_like(mask)
    for axis in axes:
        inner, outer = np.moveaxis(core, axis, 0), np.moveaxis(mask, axis, 0)  # views, so core itself is eroded
        inner[1:] &= outer[:-1]
        inner[:-1] &= outer[1:]
        inner[:1] = inner[-1:] = False
    return mask & ~core


def surface_distances(
    prediction: Mask, reference: Mask, spacing: Sequence[float], axes: Sequence[int] | None = None
) -> tuple[Floats, Floats]:
    """Measure from every surface voxel of each mask to the nearest surface voxel of the other, centre to centre.

    K-d trees, whose work grows with the surface: a liver takes 0.2 s, distance transforms of its box 2.5 s. Their cells
    are split in the middle (not at the median) and not shrunk, which keeps masks far apart four times faster.

    Args:
        prediction: ``(*spatial)``, bool; 2 or 3 axes.
        reference: ``(*spatial)``, bool.
        spacing: millimetres per voxel along each axis, in the order of the array's axes.
        axes: those across which voxels have neighbours; by default all that have more than one voxel.

    Returns:
        Distances in mm from the prediction's surface, ``(P,)``, and from the reference's, ``(R,)``; infinite where the
        other mask is empty.
    """
    from scipy.spatial import cKDTree  # half a second to import

    _check_pair(prediction, reference)
    if len(spacing) != prediction.ndim or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise ValueError(f"spacing must be {prediction.ndim} positive lengths in mm, one an axis, but got {spacing}")
    axes = _long_axes(prediction.shape) if axes is None else axes
    box = bounding_box(prediction | reference)
    points = [np.argwhere(_edge(mask[box], axes)) * np.asarray(spacing, float) for mask in (prediction, reference)]
    if not all(map(len, points)):
        return np.full(len(points[0]), np.inf), np.full(len(points[1]), np.inf)
    trees = [cKDTree(cloud, leafsize=24, balanced_tree=False, compact_nodes=False) for cloud in points]
    return trees[1].query(points[0])[0], trees[0].query(points[1])[0]


def hd95(distances: tuple[Floats, Floats]) -> float:
    """Return the larger of the two directed 95th percentiles (linear interpolation), in mm."""
    if not all(map(len, distances)):
        return math.nan
    return float(max(np.percentile(directed, 95) for directed in distances))


def assd(distances: tuple[Floats, Floats]) -> float:
    """Return the average symmetric surface distance in mm: the mean over the voxels of both surfaces, pooled."""
    if not all(map(len, distances)):
        return math.nan
    return float(np.concatenate(distances).mean())


def nsd(distances: tuple[Floats, Floats], tolerance_mm: float = TOLERANCE_MM) -> float:
    """Return the normalised surface Dice: the share of both surfaces' voxels within the tolerance of the other."""
    if not tolerance_mm >= 0:
        raise ValueError(f"tolerance_mm must be 0 mm or more, but got {tolerance_mm}")
    pooled = np.concatenate(distances)
    return float(_ratio(int(np.count_nonzero(pooled <= tolerance_mm + ROUNDING_MM)), pooled.size))


def score_case(
    prediction: NDArray,
    reference: NDArray,
    classes: Sequence[str],
    spacing: Sequence[float],
    *,
    ignore: int | None = None,
    tolerance_mm: float = TOLERANCE_MM,
) -> dict[str, Scores]:
    """Score every foreground class of one case.

    Args:
        prediction: integer labels in the original geometry, ``(*spatial)``, 2 or 3 axes: a flat image has 2, not a
            third of one voxel with a size that nobody measured.
        reference: integer labels, ``(*spatial)``.
        classes: names by label; the first is the background, which is not scored.
        spacing: millimetres per voxel along each axis, in the order of the array's axes.
        ignore: voxels where the reference has this label belong to no class, whatever was predicted there.
        tolerance_mm: of the normalised surface Dice.

    Returns:
        By class name: tp, fp, fn (voxels); dice, iou, precision, recall, nsd (0 to 1); hd95_mm, assd_mm;
        volume_prediction_ml, volume_reference_ml (NaN for 2 axes); empty: "", "both", "prediction" or "reference".
    """
    _check_pair(prediction, reference)
    if prediction.ndim not in (2, 3):
        raise ValueError(f"a case has 2 or 3 axes, but got {prediction.ndim}; score each frame by itself")
    axes = _long_axes(prediction.shape)  # of the whole image: a structure may be one voxel thick
    if ignore is not None and (left_out := reference == ignore).any():
        prediction, reference = (np.where(left_out, 0, labels) for labels in (prediction, reference))
    box = bounding_box((prediction != 0) | (reference != 0))
    prediction, reference = prediction[box], reference[box]
    matrix = confusion(prediction, reference, len(classes))  # of the box: outside it, all is [0, 0], which is not used
    ratios = overlaps(matrix)
    voxel_ml = math.prod(spacing) / 1000 if prediction.ndim == 3 else math.nan
    scores: dict[str, Scores] = {}
    whole = [(slice(None),) * prediction.ndim]  # the box of a single class
    boxes = class_boxes(prediction, reference, len(classes)) if len(classes) > 2 else whole
    for label, name in list(enumerate(classes))[1:]:
        tp, fp, fn = (int(count[label]) for count in counts(matrix))
        mine, its = (labels[boxes[label - 1]] == label for labels in (prediction, reference))
        distances = surface_distances(mine, its, spacing, axes)
        scores[name] = {
            "tp": tp,
            "fp": fp,
            "fn": fn,
            **{metric: float(values[label]) for metric, values in ratios.items()},
            "hd95_mm": hd95(distances),
            "assd_mm": assd(distances),
            "nsd": nsd(distances, tolerance_mm),
            "volume_prediction_ml": (tp + fp) * voxel_ml,
            "volume_reference_ml": (tp + fn) * voxel_ml,
            "empty": EMPTY[tp + fp == 0, tp + fn == 0],
        }
    return scores


def summarise(cases: Mapping[str, Mapping[str, Scores]]) -> dict:
    """Average the scores of many cases.

    The benchmark's headline is ``summary["metrics"]["dice"]["mean"]``: the mean over classes of each class's mean over
    cases. Every class weighs the same, however often it occurs, and NaN is left out at both steps; read a mean of
    distances beside its `n` and `empty`, since missed organs have no distance.

    Args:
        cases: by case, then by class, what `score_case` returned; the same classes in every case.

    Returns:
        ``version``; ``cases``: how many; ``metrics``: by metric, ``mean``, ``n`` (classes in it), and ``classes``: by
        class, ``mean`` and ``n`` (cases in it); ``empty``: by kind, by class, how many cases.
    """
    if not cases:
        raise ValueError("cases must hold at least one scored case, but is empty")
    names = list(next(iter(cases.values())))
    for case, scores in cases.items():
        if set(scores) != set(names):
            raise ValueError(f"cases must score the same classes, {sorted(names)}, but {case!r} has {sorted(scores)}")
    metrics = {}
    for metric in METRICS:
        table = np.array([[float(scores[name][metric]) for name in names] for scores in cases.values()], float)
        means = [mean(column) for column in table.T]
        defined = np.count_nonzero(~np.isnan(table), axis=0).tolist()
        metrics[metric] = {
            "mean": mean(np.array(means, float)),
            "n": sum(map(bool, defined)),
            "classes": {name: {"mean": value, "n": n} for name, value, n in zip(names, means, defined, strict=True)},
        }
    empty = {
        kind: {name: sum(scores[name]["empty"] == kind for scores in cases.values()) for name in names}
        for kind in filter(None, EMPTY.values())
    }
    return {"version": VERSION, "cases": len(cases), "metrics": metrics, "empty": empty}


class Truth(Protocol):
    """What a prediction is held against, as ``task.Reference`` has it."""

    @property
    def label(self) -> NDArray: ...

    @property
    def spacing(self) -> tuple[float, ...]: ...


class VolumeScores:
    """The scores of many volumes; ``cases``: by case, what `score_case` returned. The first class is the background."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.cases: dict[str, dict[str, Scores]] = {}

    def add(self, case_id: str, prediction: NDArray, reference: Truth) -> None:
        """Score one more case; ``prediction``: integer labels ``(*spatial)`` in the reference's geometry."""
        self.cases[case_id] = score_case(prediction, reference.label, self.classes, reference.spacing, ignore=IGNORE)

    def summary(self) -> dict:
        return summarise(self.cases)


def mean(values: Floats) -> float:
    """Return the mean of what is defined, NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Return the smallest box that holds the mask; of size 0 if the mask is empty."""
    box = []
    for axis in range(mask.ndim):
        where = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0))
    return tuple(box)


def _check_pair(prediction: NDArray, reference: NDArray) -> None:
    if prediction.shape != reference.shape:
        raise ValueError(
            f"prediction and reference must have the same shape, but got {prediction.shape} and {reference.shape}; "
            "bring the prediction back to the geometry of the reference first"
        )
    for name, labels in (("prediction", prediction), ("reference", reference)):
        if labels.dtype.kind not in "biu":
            raise ValueError(f"{name} must hold integer labels, but is {labels.dtype}")


def _ratio(numerator: NDArray | int, denominator: NDArray | int) -> Floats:
    above, below = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
