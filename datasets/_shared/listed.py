"""Names in a message: the first few of many."""

from __future__ import annotations

from collections.abc import Sequence


def few(names: Sequence[str], most: int = 5) -> str:
    """``a, b, c ...``"""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")
