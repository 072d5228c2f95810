"""Keeps what was used last in memory, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """The values used last, up to ``budget`` bytes by ``size``; a value larger than that is not kept.

    >>> cache = ByteCache(budget=2, size=len)
    >>> cache.get("a", lambda: "aa") is cache.get("a", lambda: "bb")
    True
    """

    def __init__(self, budget: int, size: Callable[[Value], int]) -> None:
        self.budget, self.size = budget, size
        self.bytes = 0
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of ``key``, made anew if it is not here."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        if self.size(value) <= self.budget:
            self._values[key] = value
            self.bytes += self.size(value)
            while self.bytes > self.budget:
                self.bytes -= self.size(self._values.popitem(last=False)[1])
        return value
