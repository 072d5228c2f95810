"""Names in a message: the first few of many."""

from __future__ import annotations

from collections.abc import Sequence


def few(names: Sequence[str], most: int = 5, *, counted: bool = False) -> str:
    """``a, b, c ...``; with how many there are of all, if that is asked for."""
    rest = f" ... ({len(names)} in all)" if counted else " ..."
    return ", ".join(names[:most]) + (rest if len(names) > most else "")


def refuse(where: object, problems: Sequence[str], most: int = 50) -> None:
    """Raise a ``ValueError`` that lists the problems of a folder or file, if there are any; the first of very many."""
    if problems:
        shown = [*problems[:most], *([f"... and {len(problems) - most} more"] if len(problems) > most else [])]
        raise ValueError("\n  ".join([f"{where} has {len(problems)} problem(s):", *shown]))
