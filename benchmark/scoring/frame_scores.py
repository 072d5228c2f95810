"""How a segmentation of frames is scored: one confusion matrix over all frames, mean IoU, as Cityscapes does it.

Counts first, ratios last, and undefined is NaN, as in ``metrics.py``. There is no background: all classes are scored.
A pixel counts if the reference gives it a class. A prediction of ``ignore`` means "no evaluated class" and is wrong
wherever a pixel counts: the true class misses it, and no class has found it (docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.scoring import metrics
from atso_bench.benchmark.scoring.metrics import IGNORE, Counts, Scores, Truth


def frame_confusion(prediction: NDArray, reference: NDArray, classes: int, ignore: int = IGNORE) -> Counts:
    """Count the joint labels of a frame: entry [r, p] is how many pixels of class r were predicted as class p.

    Args:
        prediction: integer labels ``(H, W)``, 0 .. K - 1, or ``ignore`` for no evaluated class.
        reference: integer labels ``(H, W)``, 0 .. K - 1, or ``ignore`` for pixels that do not count.
        classes: K.
        ignore: from K to 255.

    Returns:
        ``(K + 1, K + 1)``: the last column counts the predictions of no evaluated class, the last row is 0. The
        matrices of several frames add up.
    """
    if not classes <= ignore < 256:
        raise ValueError(f"ignore must be from {classes} to 255, but is {ignore}")
    table = metrics.confusion(prediction, reference, 256, ignore)
    predicted, true = (np.flatnonzero(table.any(axis=axis)) for axis in (0, 1))
    metrics.check_labels("prediction", predicted[predicted != ignore], classes)
    metrics.check_labels("reference", true, classes)
    labels = [*range(classes), ignore]
    return table[np.ix_(labels, labels)]


def score_frame(
    prediction: NDArray, reference: NDArray, classes: Sequence[str], *, ignore: int = IGNORE
) -> dict[str, Scores]:
    """Score every class of one frame.

    Args:
        prediction: integer labels ``(H, W)``; ``ignore`` for no evaluated class.
        reference: integer labels ``(H, W)``; ``ignore`` for pixels that do not count.
        classes: names by label, all of them scored.
        ignore: from K to 255.

    Returns:
        By class name: tp, fp, fn (pixels); dice, iou, precision, recall (0 to 1); empty: "", "both", "prediction" or
        "reference".
    """
    return _scores(frame_confusion(prediction, reference, len(classes), ignore), classes)


def summarise_frames(cases: Mapping[str, Mapping[str, Scores]], confusion: Counts, classes: Sequence[str]) -> dict:
    """Score many frames together.

    The benchmark's headline is ``summary["metrics"]["miou"]["mean"]``: the mean IoU over the classes that occur in the
    reference, each from its counts over all frames. A class that the reference never shows is named in ``absent`` and
    left out: its IoU is 0 as soon as one pixel is predicted as it, and undefined otherwise, which says nothing of it.

    Args:
        cases: by frame, what `score_frame` returned.
        confusion: the sum of the frames' `frame_confusion`, ``(K + 1, K + 1)``.
        classes: names by label.

    Returns:
        ``version``; ``cases``: how many; ``metrics``: ``miou`` (``mean``; ``n``: classes in it; ``classes``: by class,
        ``mean``: IoU over all frames, ``n``: frames whose reference has it), ``pixel_accuracy``, ``frame_miou`` (mean
        over frames of each frame's mean IoU over the classes in its reference; ``n``: frames that have a pixel that
        counts); ``absent``; ``official_miou``: over every class whose IoU is defined, as cityscapesscripts has it;
        ``confusion``: ``K`` rows of ``K``, [reference][prediction]; ``unevaluated``: by class, how many of its pixels
        were predicted as no evaluated class.
    """
    if not cases:
        raise ValueError("cases must hold at least one scored frame, but is empty")
    k = len(classes)
    iou, occurs = metrics.iou(confusion)[:k], confusion.sum(axis=1)[:k] > 0
    in_reference = np.array(
        [[scores[name]["empty"] in ("", "prediction") for name in classes] for scores in cases.values()], bool
    )
    by_frame = np.array([[float(scores[name]["iou"]) for name in classes] for scores in cases.values()], float)
    frames = np.array([metrics.mean(values[here]) for values, here in zip(by_frame, in_reference, strict=True)], float)
    accuracy = metrics.pixel_accuracy(confusion)
    by_class = {
        name: {"mean": value, "n": n}
        for name, value, n in zip(classes, iou.tolist(), in_reference.sum(axis=0).tolist(), strict=True)
    }
    return {
        "version": metrics.VERSION,
        "cases": len(cases),
        "metrics": {
            "miou": {"mean": metrics.mean(iou[occurs]), "n": int(occurs.sum()), "classes": by_class},
            "pixel_accuracy": {"mean": accuracy, "n": int(occurs.any()), "classes": {}},
            "frame_miou": {"mean": metrics.mean(frames), "n": int(in_reference.any(axis=1).sum()), "classes": {}},
        },
        "absent": [name for name, found in zip(classes, occurs, strict=True) if not found],
        "official_miou": metrics.mean(iou),
        "confusion": confusion[:k, :k].tolist(),
        "unevaluated": confusion[:k, k].tolist(),
    }


class FrameScores:
    """The scores of many frames, one after the other.

    Attributes:
        cases: by frame, what `score_frame` returned.
        confusion: the sum of the frames' `frame_confusion`, ``(K + 1, K + 1)`` int64.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        """``classes``: names by label, all of them scored."""
        self.classes = tuple(classes)
        self.cases: dict[str, dict[str, Scores]] = {}
        self.confusion: Counts = np.zeros((len(self.classes) + 1,) * 2, np.int64)

    def add(self, case_id: str, prediction: NDArray, reference: Truth) -> None:
        """Score one more frame; ``prediction``: integer labels ``(H, W)`` of the reference's size."""
        self.count(case_id, prediction, reference.label)

    def count(self, case_id: str, prediction: NDArray, label: NDArray) -> None:
        """The same with the true labels alone, ``(H, W)``."""
        if case_id in self.cases:
            raise ValueError(f"frame {case_id!r} is scored already; a frame counts once")
        matrix = frame_confusion(prediction, label, len(self.classes))
        self.cases[case_id] = _scores(matrix, self.classes)
        self.confusion += matrix

    def summary(self) -> dict:
        return summarise_frames(self.cases, self.confusion, self.classes)


def _scores(matrix: Counts, classes: Sequence[str]) -> dict[str, Scores]:
    """One frame's counts and ratios by class."""
    ratios = metrics.overlaps(matrix)
    scores: dict[str, Scores] = {}
    for label, name in enumerate(classes):
        tp, fp, fn = (int(count[label]) for count in metrics.counts(matrix))
        scores[name] = {
            "tp": tp,
            "fp": fp,
            "fn": fn,
            **{metric: float(values[label]) for metric, values in ratios.items()},
            "empty": metrics.EMPTY[tp + fp == 0, tp + fn == 0],
        }
    return scores
