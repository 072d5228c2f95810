"""Names in a message: the first few of many."""

from __future__ import annotations

from collections.abc import Sequence


def few(names: Sequence[str], most: int = 5, *, counted: bool = False) -> str:
    """``a, b, c ...``; with how many there are of all, if that is asked for."""
    rest = f" ... ({len(names)} in all)" if counted else " ..."
    return ", ".join(names[:most]) + (rest if len(names) > most else "")
