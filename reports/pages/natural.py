"""What a comparison on street scenes shows beside its headline: every class's pooled IoU, and the other means."""

from __future__ import annotations

import pandas as pd

from atso_bench.reports.data.frame import Group
from atso_bench.reports.data.rows import COUNTS
from atso_bench.reports.pages.page import Cell, Table
from atso_bench.reports.pages.tables import part, spread
from atso_bench.reports.words import decimals, ranges

DIFFERENT = 1e-6  # two sums of the same counts agree better than that


def classes(group: Group) -> Table:
    """IoU pooled over the frames of a run, mean over seeds: a row per class and fraction, a column per method."""
    pooled = _pooled(group)
    runs = {(fraction, label): part["key"] for (fraction, label), part in group.cells.items()}
    rows = []
    missing = _absent(group, pooled)
    for name in [name for name in group.facts["classes"] if name not in missing]:
        for fraction, head in group.fractions.items():
            everyone = group.runs.loc[group.runs.fraction == fraction, "key"]
            frames = pooled["frames"].reindex([(key, name) for key in everyone], fill_value=0)
            row = [Cell(name), Cell(head), Cell(ranges(frames.tolist()))]
            for label in group.labels:
                keys = runs.get((fraction, label), ())
                row.append(_class_score(pooled["iou"].reindex([(key, name) for key in keys])))
            rows.append(row)
    caption = "IoU by class, from counts summed over all frames of a run, mean over seeds"
    return Table(caption, ["class", "label fraction", "frames with it", *group.labels], rows, words=2)


def absent(group: Group) -> list[str]:
    """The classes that no reference of any run has."""
    return _absent(group, _pooled(group))


def _absent(group: Group, pooled: pd.DataFrame) -> list[str]:
    frames = pooled["frames"].groupby("class").sum()
    return [name for name in group.facts["classes"] if not frames.get(name, 0)]


def others(group: Group) -> Table:
    """Pixel accuracy and the mean over frames of a frame's mIoU; the official mIoU too where a run's differs."""
    names = {"pixel_accuracy": "pixel accuracy", "frame_miou": "per-frame mIoU"}
    if _official_differs(group):
        names["official_miou"] = "official mIoU"
    rows = [
        [Cell(group.fractions[fraction]), Cell(label), *(spread(runs[name]) for name in names)]
        for (fraction, label), runs in group.cells.items()
    ]
    caption = "Other scores, mean ± standard deviation over seeds"
    return Table(caption, ["label fraction", "method", *names.values()], rows, words=2)


def words(group: Group) -> list[str]:
    """How the numbers came about, and what has none."""
    where = part(group)
    said = [
        "A class's IoU is computed from counts summed over all frames of a run, then averaged over seeds. mIoU is the "
        f"mean over the classes that occur in {where}. Per-frame mIoU is the mIoU of each frame, over the classes in "
        "its reference, averaged over frames."
    ]
    if missing := absent(group):
        said.append(f"Classes that do not occur in {where} have no IoU and are not in mIoU: {', '.join(missing)}.")
    official = group.runs["official_miou"]
    if _official_differs(group):
        said.append(
            "The official mIoU is the value of cityscapesscripts: the mean over all classes with a defined IoU. A "
            f"class counts as 0 if it is predicted somewhere but does not occur in {where}."
        )
    elif official.notna().all():
        said.append("The official mIoU, by the rule of cityscapesscripts, equals mIoU in every run.")
    if "evaluation" in group.facts["recipe"]:
        said.append(f"Inference: {group.facts['recipe']['evaluation']}.")
    return said


def _pooled(group: Group) -> pd.DataFrame:
    """By run (``key``) and class: ``iou`` (NaN where no reference has the class) and ``frames`` that have it."""
    scores = group.scores
    counts = scores.groupby(["key", "class"])[list(COUNTS)].sum().astype(float)  # a record may hold no count at all
    occurs = counts["tp"] + counts["fn"] > 0
    frames = (scores["tp"] + scores["fn"] > 0).groupby([scores["key"], scores["class"]]).sum()
    return pd.DataFrame({"iou": (counts["tp"] / counts.sum(axis=1)).where(occurs), "frames": frames})


def _class_score(values: pd.Series) -> Cell:
    missing = int(values.isna().sum())
    return Cell(decimals(values.mean()), f"{missing} undefined" if 0 < missing < len(values) else "")


def _official_differs(group: Group) -> bool:
    return bool(((group.runs["official_miou"] - group.runs["score"]).abs() > DIFFERENT).any())
