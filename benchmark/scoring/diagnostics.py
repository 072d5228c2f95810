"""Diagnostics of relabelling: does a student mimic its teacher, and do the labels get better?

Computed after a run by the evaluator, which alone may open the hidden labels. "Lazy mimicking" (Huo et al., CVPR 2021)
shows as a high agreement of student and teacher on the cases that the student was trained on, and a low update rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atso_bench.benchmark.scoring.headline import Metric
from atso_bench.benchmark.scoring.metrics import confusion, overlaps
from atso_bench.benchmark.store.packs import hard
from atso_bench.benchmark.task import IGNORE
from atso_bench.benchmark.trainer import Observation

Hidden = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Judge:
    """What labels are compared with, and in which measure.

    Attributes:
        classes: names by label.
        metric: what the task is judged by.
        hidden: true labels ``(*spatial)`` of a case in the training geometry.
        cases: those that have a true label.
    """

    classes: Sequence[str]
    metric: Metric
    hidden: Hidden
    cases: frozenset[str]

    @property
    def first(self) -> int:
        """The first class that counts."""
        return int(self.metric.background)

    def ratios(self, matrix: np.ndarray) -> tuple[float, dict[str, float]]:
        """Dice or IoU over all voxels: its mean over the classes that occur in the reference, and by class."""
        values = overlaps(matrix)[self.metric.ratio]
        names = self.classes[self.first :]
        counted = np.where(matrix.sum(1) > 0, values, np.nan) if self.metric.pooled else values
        return _mean(counted[self.first :]), dict(zip(names, values[self.first :].tolist(), strict=True))


def diagnose(observations: Sequence[Observation], judge: Judge) -> list[dict[str, Any]]:
    """One entry for M0's labels and one for each relabelling, in the order in which they were made.

    Returns:
        Entries with the numbers of ``_compare``, for the relabelled cases, and ``agreement_inside`` and
        ``agreement_outside``: agreement of student and teacher on cases that the student was, or was not, trained on.
    """
    entries = []
    for number, seen in enumerate(observations):
        if number == 0:
            first = _compare(seen.before, seen.before, sorted(seen.before), judge)
            quality = {
                name: value
                for name, value in first.items()
                if name in ("cases", "coverage") or name.startswith("pseudo_")
            }
            entries.append({"phase": "M0", "generation": 0, "subset": 0, **quality})
        own = set(seen.inside)
        inside, outside = [i for i in seen.after if i in own], [i for i in seen.after if i not in own]
        parts = {
            name: _compare(seen.before, seen.after, ids, judge) if ids else None
            for name, ids in (("inside", inside), ("outside", outside))
        }
        agreement = {f"agreement_{name}": part["agreement"] if part else None for name, part in parts.items()}
        relabelled = parts["outside"] or parts["inside"] or {}
        place = {"phase": seen.phase, "generation": seen.generation, "subset": seen.subset}
        entries.append({**place, **relabelled, **agreement, **{k: v for k, v in parts.items() if v}})
    return entries


def _compare(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    ids: Sequence[str],
    judge: Judge,
) -> dict[str, Any]:
    """Counts over all voxels of the cases, then ratios. On frames every pixel counts as foreground.

    - ``update_rate``: share of the voxels that are foreground before or after and that changed.
    - ``agreement``: mean over foreground classes of the Dice (or IoU) of before and after.
    - ``pseudo_dice`` or ``pseudo_miou``: the same of after and the true labels.
    - ``correction_rate``: share of the wrong voxels that became right.
    - ``corruption_rate``: share of the right foreground voxels (in any of the three) that became wrong.
    - ``coverage``: share of the true foreground that has a label after, where some voxel has none, which counts in
      nothing else.
    """
    k = len(judge.classes)
    mutual, truth = np.zeros((k, k), np.int64), np.zeros((k, k), np.int64)
    changed = touched = wrong = corrected = right = corrupted = covered = structure = 0
    partial = False
    for case_id in ids:
        old, new = hard(before[case_id]), hard(after[case_id])
        labelled = new != IGNORE
        given = (old != IGNORE) & labelled
        partial |= not given.all()
        mutual += _confusion(new, old, given, k)
        foreground = given & ((old >= judge.first) | (new >= judge.first))
        touched += int(foreground.sum())
        changed += int((given & (old != new)).sum())
        if case_id in judge.cases:
            true = judge.hidden(case_id)
            truth += _confusion(new, true, labelled, k)
            known = (true != IGNORE) & given & (foreground | (true > 0))
            solid = (true != IGNORE) & (true >= judge.first)
            structure, covered = structure + int(solid.sum()), covered + int((solid & labelled).sum())
            was_right, is_right = (old == true) & known, (new == true) & known
            wrong += int((known & ~was_right).sum())
            corrected += int((known & ~was_right & is_right).sum())
            right += int(was_right.sum())
            corrupted += int((was_right & ~is_right).sum())
    (agreement, agreement_by_class), (quality, quality_by_class) = judge.ratios(mutual), judge.ratios(truth)
    return {
        "cases": len(ids),
        "update_rate": _ratio(changed, touched),
        "agreement": agreement,
        "agreement_by_class": agreement_by_class,
        f"pseudo_{judge.metric.name}": quality,
        f"pseudo_{judge.metric.name}_by_class": quality_by_class,
        "correction_rate": _ratio(corrected, wrong),
        "corruption_rate": _ratio(corrupted, right),
        **({"coverage": _ratio(covered, structure)} if partial else {}),
    }


def _confusion(label: np.ndarray, reference: np.ndarray, where: np.ndarray, classes: int) -> np.ndarray:
    """``confusion`` within ``where``; nothing is copied where that is everywhere, as without a filter."""
    if not where.all():
        label, reference = np.where(where, label, 0), np.where(where, reference, IGNORE)
    return confusion(label, reference, classes, ignore=IGNORE)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
