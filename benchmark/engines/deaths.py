"""Processes that die: a task is tried again, but not for ever."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from atso_bench.benchmark.engines.graph import Task
from atso_bench.benchmark.store.record import write_failure

if TYPE_CHECKING:
    from atso_bench.benchmark.engines.order import Order

LIMIT = 3
"""Processes that may die of one task."""


class KilledError(RuntimeError):
    """Every process that tried the task was killed."""


class Deaths:
    """Counts them."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._of: Counter[str] = Counter()

    def counts(self, task: Task, say: Callable[[str], object], node: str = "") -> bool:
        """Whether this was the last one; then it is a failure, and a run's is kept beside the records."""
        self._of[task.name] += 1
        if self._of[task.name] < LIMIT:
            say(f"{task.title}: its process has died; it goes on from its last checkpoint in another one")
            return False
        give_up(task, self.order, say, node)
        return True


def give_up(task: Task, order: Order, say: Callable[[str], object], node: str = "") -> None:
    """Say that a task was killed as often as it may be, and keep that."""
    error = KilledError(
        f"its process died {LIMIT} times, last on {node or platform.node()}; most often that is the system, when "
        "memory is short: see what `atso-bench plan` says of it"
    )
    say(f"{task.title}: failed: {error}")
    if not task.first:
        write_failure(order.results, task.spec, "killed", error, order.generation)
