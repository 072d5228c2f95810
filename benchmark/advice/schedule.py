"""Successive halving: how many methods, seeds and steps each round of a race has, so that it ends within its hours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHORTEST = 1 / 8
"""Share of the budget's steps below which a run says nothing of a whole one."""
MOST_SEEDS = 10
"""More show no smaller difference that would matter."""


@dataclass(frozen=True)
class Round:
    """What one round asks for.

    Attributes:
        methods: that are still in the race.
        steps: of each run; fewer than the budget where the hours do not allow whole runs.
        seeds: those that are new in this round.
    """

    methods: tuple[str, ...]
    steps: int
    seeds: tuple[int, ...]

    def seconds(self, costs: Mapping[str, float], steps: int) -> float:
        """What it takes, given the seconds of a run of ``steps`` steps of each method."""
        return len(self.seeds) * self.steps / steps * sum(costs[name] for name in self.methods)


def rounds(methods: int) -> int:
    """How many rounds it takes until two are left."""
    return max(1, math.ceil(math.log2(methods)))


def kept(methods: int) -> int:
    """How many of a round go on to the next: the better half."""
    return math.ceil(methods / 2)


def next_round(
    methods: Sequence[str], costs: Mapping[str, float], steps: int, seconds: float, seeds: int
) -> Round | None:
    """The round of these methods, of which an even share of the time is spent; None where that is too little.

    Args:
        methods: still in the race.
        costs: seconds of a whole run of each.
        steps: of a whole run.
        seconds: that are left for this round and all after it.
        seeds: how many whole runs each method has had.
    """
    share = seconds / rounds(len(methods))
    times = share / sum(costs[name] for name in methods)
    if times >= 1:
        new = min(int(times), MOST_SEEDS - seeds)
        return Round(tuple(methods), steps, tuple(range(seeds, seeds + new))) if new > 0 else None
    if seeds or times < SHORTEST:  # a short run says less than the whole ones that there are
        return None
    return Round(tuple(methods), max(1, int(steps * times)), (0,))


def foreseen(methods: Sequence[str], costs: Mapping[str, float], steps: int, seconds: float) -> list[Round]:
    """All rounds, as if the methods went on in the order in which they are named."""
    found: list[Round] = []
    left, seeds, names = seconds, 0, list(methods)
    while len(names) > 1 and (each := next_round(names, costs, steps, left, seeds)):
        found.append(each)
        left -= each.seconds(costs, steps)
        seeds += len(each.seeds) if each.steps == steps else 0
        names = names[: kept(len(names))]
    return found


def least(methods: Sequence[str], costs: Mapping[str, float]) -> float:
    """Seconds below which the first round cannot be made."""
    return SHORTEST * rounds(len(methods)) * sum(costs[name] for name in methods)
