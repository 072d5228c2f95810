"""The test set of data that comes without one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

PERCENT = 20
SEED = 20200317


def drawn_test(cases: Iterable[str], group: Callable[[str], str]) -> tuple[str, ...]:
    """A fifth of the groups, at least one, the same for all seeds; none where there are fewer than two groups."""
    by_group: dict[str, list[str]] = {}
    for name in sorted(cases):
        by_group.setdefault(group(name), []).append(name)
    if len(by_group) < 2:
        return ()
    order = np.random.default_rng(SEED).permutation(sorted(by_group))
    taken = order[: max(1, round(len(order) * PERCENT / 100))]
    return tuple(sorted(name for each in taken for name in by_group[str(each)]))
