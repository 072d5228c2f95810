"""Arrays kept in memory up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class ByteCache:
    """The arrays used last, up to ``budget`` bytes; an array larger than that is not kept.

    >>> cache = ByteCache(budget=16)
    >>> cache.get("a", lambda: np.zeros(2)) is cache.get("a", lambda: np.ones(2))
    True
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of ``key``, made anew if it is not here."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = make()
        if array.nbytes <= self.budget:
            self._arrays[key] = array
            self.bytes += array.nbytes
            while self.bytes > self.budget:
                self.bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array
