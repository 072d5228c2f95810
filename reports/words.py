"""How numbers and lists are written, in all that a report says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

NONE = "–"
"""What stands where nothing is defined."""


def decimals(value: float, digits: int = 3) -> str:
    """``0.712``, ``1,234.5``, or a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:,.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """``+0.012``, ``−0.012``, or a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def seconds(value: float) -> str:
    return decimals(value, 0 if value >= 100 else 1)


def gibibytes(value: float) -> str:
    return decimals(value / 2**30, 2)


def count(amount: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{amount:,} {noun}{'s' * (amount != 1)}"


def ranges(numbers: Sequence[int]) -> str:
    """``0–2, 5`` for 0, 1, 2 and 5."""
    runs: list[list[int]] = []
    for value in sorted(set(numbers)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join({0: f"{low}", 1: f"{low}, {high}"}.get(high - low, f"{low}–{high}") for low, high in runs)


def plain(value: Any) -> str:
    """An option's value in a few characters."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(item)}" for name, item in sorted(value.items()))
    if isinstance(value, list | tuple):
        return " × ".join(plain(item) for item in value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def shared(parity: str) -> str:
    """What has the budget's steps, by parity."""
    return _SHARED.get(parity, f"with parity {parity}")


_SHARED = {
    "total": "in total",
    "line": "in the result's own line of training",
    "phase": "in each training",
    "time": "of supervised training, and every method has the time that they take",
}
ALIKE = 0.0005
"""What three decimals do not tell apart."""
