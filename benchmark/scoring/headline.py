"""The metrics that a task may be judged by: what each is called, what it counts, and how cases become one number.

A task brings one of them, records hold its name, and whatever shows a score asks it here. Nothing heavy is imported:
reports read this without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atso_bench.benchmark.scoring.frame_scores import FrameScores
    from atso_bench.benchmark.scoring.metrics import VolumeScores


@dataclass(frozen=True)
class Metric:
    """A headline metric, from 0 to 1; higher is better.

    Attributes:
        name: what records call it, and its own entry among the metrics of a summary.
        title: what tables and figures call it.
        ratio: the score of a case and class that it is made of, as records name it.
        background: whether class 0 is the background, which is neither scored nor painted.
        pooled: whether counts are summed over all cases before the ratio is taken, and classes that no reference shows
            are left out; otherwise it is the mean over classes of each class's mean over cases.
        case: what a case is called.
        of_case: the score of a single case, in words.
    """

    name: str
    title: str
    ratio: str
    background: bool
    pooled: bool
    case: str
    of_case: str

    @property
    def cases(self) -> str:
        """What several cases are called."""
        return f"{self.case}s"

    def scored(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The classes that count, of all that a task has."""
        return tuple(classes[1:] if self.background else classes)

    def scorer(self, classes: Sequence[str]) -> VolumeScores | FrameScores:
        """What collects the scores of cases, of a task with these classes."""
        if self.pooled:
            from atso_bench.benchmark.scoring.frame_scores import FrameScores

            return FrameScores(classes)
        from atso_bench.benchmark.scoring.metrics import VolumeScores

        return VolumeScores(classes)


DICE = Metric("dice", "Dice", "dice", True, False, "case", "mean Dice over classes")
MIOU = Metric("miou", "mIoU", "iou", False, True, "frame", "mIoU over the classes in its reference")
METRICS = {metric.name: metric for metric in (DICE, MIOU)}


def named(name: str) -> Metric:
    """The metric that a record names; one that is not known here is shown by its name, as a mean over cases."""
    return METRICS.get(name) or replace(DICE, name=name, title=name, of_case=f"mean {name} over classes")
