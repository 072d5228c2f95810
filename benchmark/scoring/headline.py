"""The metrics that a task may be judged by: what each is called, what it counts, and how cases become one number.

A task brings one of them, records hold its name, and whatever shows a score asks it here. Nothing heavy is imported:
reports read this without torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atso_bench.benchmark.scoring.frame_scores import FrameScores
    from atso_bench.benchmark.scoring.metrics import VolumeScores


@dataclass(frozen=True)
class Metric:
    """A headline metric.

    Attributes:
        name: what records call it, and its own entry among the metrics of a summary.
        title: what tables and figures call it.
        ratio: the score of a case and class that it is made of, as records name it.
        background: whether class 0 is the background, which is neither scored nor painted.
        pooled: whether counts are summed over all cases before the ratio is taken, and classes that no reference shows
            are left out; otherwise it is the mean over classes of each class's mean over cases.
        case: what a case is called.
        of_case: the score of a single case, in words.
        higher: whether a higher score is better.
        unit: what it is measured in; empty for a share.
        most: the highest score that there can be; the lowest is 0.
    """

    name: str
    title: str
    ratio: str
    background: bool
    pooled: bool
    case: str
    of_case: str
    higher: bool = True
    unit: str = ""
    most: float = 1.0

    @property
    def heading(self) -> str:
        """What tables and axes are headed with: its title, and the unit if there is one."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def gain(self, change: Any) -> Any:
        """How much better a score has become that has changed by so much, of numbers, arrays and columns."""
        return change if self.higher else -change

    def best(self, scores: Iterable[float]) -> float:
        """NaN where there is no score; undefined ones do not count."""
        defined = (score for score in scores if not math.isnan(score))
        return (max if self.higher else min)(defined, default=math.nan)

    def held(self, end: float) -> float:
        """The end of an interval, within what is possible: Student's t does not know the scale."""
        return min(self.most, max(0.0, end))

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
    """The metric that a record names; one that is not known here is shown by its name, in all else like Dice."""
    return METRICS.get(name) or replace(DICE, name=name, title=name, of_case=f"mean {name} over classes")
