"""How much time a method takes beside another, by a clock that other work on the machine does not move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from atso_bench.reports.data.frame import Group
from atso_bench.reports.data.means import mean
from atso_bench.reports.data.rows import LEARNING
from atso_bench.reports.words import seconds

APART = 1.5
"""Runs of a method do the same steps: times that are this factor apart or more were made by something else."""
BUSY = 1.25
"""So much more by the clock than by the processor is worth a word."""

Place = tuple[str, str]


@dataclass(frozen=True)
class Multiple:
    """Time of training and pseudo-labelling, mean over runs, as a multiple of another method's.

    Attributes:
        value: NaN where it cannot be said.
        kind: ``processor``, ``device`` (between two events on a GPU's stream), or ``clock`` where no other is known.
        clock: the same of the wall clock.
        reason: why it is withheld, where the machine's load explains the times; empty otherwise.
    """

    value: float
    kind: str = ""
    clock: float = math.nan
    reason: str = ""

    @property
    def text(self) -> str:
        """``2.2 ×``; empty where there is none."""
        return "" if math.isnan(self.value) else f"{self.value:.1f} ×"

    @property
    def slowed(self) -> bool:
        """Whether the wall clock says something else, for the processor was not always there."""
        return self.kind == "processor" and not self.clock / BUSY < self.value < self.clock * BUSY


def time_multiple(group: Group, fraction: str, method: str, baseline: str) -> Multiple:
    """The method's time over the baseline's at a label fraction; none for runs of different machines."""
    places = [place for place in ((fraction, method), (fraction, baseline)) if place in group.cells]
    if len(places) < 2 or len({machine for place in places for machine in group.cells[place]["machine"]}) > 1:
        return Multiple(math.nan)
    walls = [_of(group.learning_seconds, group, place) for place in places]
    busy = [_of(group.learning_cpu_seconds, group, place) for place in places]
    kind = "device" if _on_gpu(group, places) else "processor" if all(each.notna().all() for each in busy) else "clock"
    spent = busy if kind == "processor" else walls
    clock = _ratio(*walls)
    if math.isnan(value := _ratio(*spent)):
        return Multiple(math.nan)
    for each in spent:
        if each.max() >= APART * each.min():
            told = f"{seconds(float(each.min()))} to {seconds(float(each.max()))} s"
            return Multiple(math.nan, kind, clock, f"not given: the machine was busy, equal steps took {told}")
    return Multiple(value, kind, clock)


def _of(spent: pd.Series, group: Group, place: Place) -> pd.Series:
    """Of the runs of a place; 0 for one without a phase."""
    return spent.reindex(group.cells[place]["key"], fill_value=0.0)


def _ratio(own: pd.Series, other: pd.Series) -> float:
    if own.isna().any() or other.isna().any() or not (own.min() > 0 and other.min() > 0):
        return math.nan
    return mean(own) / mean(other)


def _on_gpu(group: Group, places: list[Place]) -> bool:
    keys = {key for place in places for key in group.cells[place]["key"]}
    phases = group.phases[group.phases["kind"].isin(LEARNING) & group.phases["key"].isin(keys)]
    return bool(len(phases) and phases["device_bytes"].notna().all())
