"""What relabelling did: does a student mimic its teacher, and do the labels get better?

Computed after a run by the evaluator, which alone may open the hidden labels. "Lazy mimicking" (Huo et al., CVPR 2021)
shows as a high agreement of student and teacher on the cases that the student was trained on, and a low update rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from atso_bench.benchmark.engine import Observation
from atso_bench.benchmark.metrics import confusion
from atso_bench.benchmark.stages import hard
from atso_bench.benchmark.task import IGNORE

Hidden = Callable[[str], np.ndarray]


def diagnose(
    observations: Sequence[Observation], classes: Sequence[str], hidden: Hidden, judged: Iterable[str]
) -> list[dict[str, Any]]:
    """One entry for M0's labels and one for each relabelling.

    Args:
        observations: in the order in which they were made.
        classes: names, the background first.
        hidden: true labels ``(*spatial)`` of a case in the training geometry.
        judged: cases that have a true label.

    Returns:
        Entries with the numbers of ``_compare``, for the relabelled cases, and ``agreement_inside`` and
        ``agreement_outside``: mean Dice of student and teacher on cases that the student was, or was not, trained on.
    """
    judged = set(judged)
    entries = []
    for number, seen in enumerate(observations):
        if number == 0:
            first = _compare(seen.before, seen.before, sorted(seen.before), classes, hidden, judged)
            quality = {name: first[name] for name in ("cases", "pseudo_dice", "pseudo_dice_by_class")}
            entries.append({"phase": "M0", "generation": 0, "subset": 0, **quality})
        inside = [i for i in seen.after if i in set(seen.inside)]
        outside = [i for i in seen.after if i not in set(seen.inside)]
        parts = {
            name: _compare(seen.before, seen.after, ids, classes, hidden, judged) if ids else None
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
    classes: Sequence[str],
    hidden: Hidden,
    judged: set[str],
) -> dict[str, Any]:
    """Counts over all voxels of the cases, then ratios.

    - ``update_rate``: share of the voxels that are foreground before or after and that changed.
    - ``agreement``: mean over foreground classes of the Dice of before and after.
    - ``pseudo_dice``: mean over foreground classes of the Dice of after and the true labels.
    - ``correction_rate``: share of the wrong voxels that became right.
    - ``corruption_rate``: share of the right foreground voxels (in any of the three) that became wrong.
    """
    k = len(classes)
    mutual, truth = np.zeros((k, k), np.int64), np.zeros((k, k), np.int64)
    changed = touched = wrong = corrected = right = corrupted = 0
    for case_id in ids:
        old, new = hard(before[case_id]), hard(after[case_id])
        mutual += confusion(new, old, k)
        foreground = (old > 0) | (new > 0)
        touched += int(foreground.sum())
        changed += int((old != new).sum())
        if case_id in judged:
            true = hidden(case_id)
            truth += confusion(new, true, k, ignore=IGNORE)
            known = (true != IGNORE) & (foreground | (true > 0))
            was_right, is_right = (old == true) & known, (new == true) & known
            wrong += int((known & ~was_right).sum())
            corrected += int((known & ~was_right & is_right).sum())
            right += int(was_right.sum())
            corrupted += int((was_right & ~is_right).sum())
    agreement, quality = _dice(mutual), _dice(truth)
    return {
        "cases": len(ids),
        "update_rate": _ratio(changed, touched),
        "agreement": _mean(agreement[1:]),
        "agreement_by_class": dict(zip(classes[1:], agreement[1:].tolist(), strict=True)),
        "pseudo_dice": _mean(quality[1:]),
        "pseudo_dice_by_class": dict(zip(classes[1:], quality[1:].tolist(), strict=True)),
        "correction_rate": _ratio(corrected, wrong),
        "corruption_rate": _ratio(corrupted, right),
    }


def _dice(matrix: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return 2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
