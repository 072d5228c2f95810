"""How a table of a paper is set: how large its letters are, and where it is divided, by columns and by rows."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from atso_bench.reports.pages.page import Cell, Table

HEADING = 4
"""Lines of a table's head with its rules and the space around them."""
WORDS = 32
"""Characters after which a column of words wraps."""
LONG = 24
"""Characters of a note that still stands below its number; a longer one stands below the table."""

Part = tuple[Sequence[int], Sequence[Sequence[Cell]]]
"""Columns and rows that stand together."""


@dataclass(frozen=True)
class Layout:
    """How a table is set.

    Attributes:
        size: the command for its letters.
        width: a wider table is divided by columns; in digits of that size, so that 345 points, the text of an article,
            hold them.
        height: lines of one page; a longer table is divided by rows, for a float does not break.
        small: the command for small print.
        shrunk: the width of small print beside the same in letters of ``size``.
        grouped: the first column's words stand above the rows that have them in common, and take no column.
    """

    size: str
    width: float
    height: int
    small: str
    shrunk: float
    grouped: bool = False


SIZES = (
    Layout("small", 73, 47, "scriptsize", 0.86),
    Layout("footnotesize", 80, 52, "scriptsize", 0.94),
    Layout("scriptsize", 85, 58, "tiny", 0.86),
)
_NARROW = frozenset(" ijltfrsI.,:;!'|()[]/-")
_BROAD = frozenset("mwMW%&@+=<>±×\N{MINUS SIGN}\N{EM DASH}")


def content(cell: Cell) -> str:
    return "; ".join([cell.text, *cell.items])


def has_line_below(cell: Cell) -> bool:
    """Whether the cell's note is small print below its text."""
    return 0 < len(cell.note) <= LONG


@lru_cache(maxsize=2**14)
def _width(text: str) -> float:
    """About so many digits of Computer Modern are as wide as the text."""
    return sum(0.7 if sign in _NARROW else 1.6 if sign in _BROAD else 1.4 if sign.isupper() else 1.05 for sign in text)


def _longest(table: Table, column: int) -> int:
    return max((len(content(row[column])) for row in table.rows), default=0)


def wraps(table: Table, column: int) -> bool:
    return column < table.words and _longest(table, column) > WORDS


def _body_width(table: Table, column: int, layout: Layout) -> float:
    cells = [row[column] for row in table.rows]
    notes = (layout.shrunk * _width(cell.note) for cell in cells if has_line_below(cell))
    texts = (_width(content(cell)) * (1.15 if cell.strong else 1) + (len(cell.note) > LONG) for cell in cells)
    return max([*([WORDS + 3] if wraps(table, column) else texts), *notes], default=0)


def head_lines(table: Table, column: int, layout: Layout) -> list[str]:
    """A head about as wide as what stands below it, and no word of usual length divided."""
    head = " ".join(table.columns[column].split())
    word = max(map(len, re.split(r"(?<=-)|\s", head)))
    room = max(int(_body_width(table, column, layout)) + 2, min(word, 12), 8)
    return textwrap.wrap(head, room) or [""]


def best(table: Table) -> Layout:
    """The largest letters with which it is divided into the fewest parts."""
    names = [row[0] for row in table.rows] if table.words > 1 and not wraps(table, 0) else []
    groups = sum(name != above for above, name in pairwise([None, *names]))
    ways = (False, True) if 0 < 2 * groups <= len(names) else (False,)
    layouts = [replace(size, grouped=grouped) for size in SIZES for grouped in ways]
    return min(layouts, key=lambda layout: len(blocks(table, layout)))


def floats(table: Table, layout: Layout) -> list[list[Part]]:
    """The table divided so that each part fits across a page, and the parts of each float fit on one."""
    found: list[list[Part]] = [[]]
    filled, parts = 0.0, blocks(table, layout)
    for rows in _pages(table, layout):
        lines = HEADING + sum(
            _lines(table, layout, row, rows[place - 1] if place else None) for place, row in enumerate(rows)
        )
        for columns in parts:
            if found[-1] and filled + lines > layout.height:
                found.append([])
                filled = 0
            found[-1].append((columns, rows))
            filled += lines
    return found


def blocks(table: Table, layout: Layout) -> list[list[int]]:
    """Columns that fit side by side; the words on the left stand in every block."""
    widths = [
        max(_body_width(table, column, layout), *map(_width, head_lines(table, column, layout))) + 1.5
        for column in range(len(table.columns))  # and the gap to the next
    ]
    words = list(range(int(layout.grouped), table.words))
    found = [list(words)]
    for column in range(table.words, len(table.columns)):
        if len(found[-1]) > len(words) and sum(widths[each] for each in [*found[-1], column]) > layout.width + 1.5:
            found.append(list(words))
        found[-1].append(column)
    return found


def _pages(table: Table, layout: Layout) -> list[list[Sequence[Cell]]]:
    """Rows that fit on a page."""
    pages: list[list[Sequence[Cell]]] = [[]]
    filled: float = HEADING
    for row in table.rows:
        lines = _lines(table, layout, row, pages[-1][-1] if pages[-1] else None)
        if pages[-1] and filled + lines > layout.height:
            pages.append([])
            filled = HEADING
            lines = _lines(table, layout, row, None)
        pages[-1].append(row)
        filled += lines
    return pages


def opens(layout: Layout, row: Sequence[Cell], above: Sequence[Cell] | None) -> bool:
    """Whether the row is the first of its group."""
    return layout.grouped and (above is None or row[0] != above[0])


def several_lines(table: Table, row: Sequence[Cell]) -> bool:
    """Whether the row needs some space below it."""
    return _row_lines(table, row) > 1


def _lines(table: Table, layout: Layout, row: Sequence[Cell], above: Sequence[Cell] | None) -> float:
    """Lines of the row, of the space between it and the one above it, and of its group's name."""
    group = opens(layout, row, above)
    space = above is not None and (group or several_lines(table, above))
    return _row_lines(table, row) + group + 0.5 * space


def _row_lines(table: Table, row: Sequence[Cell]) -> int:
    words = max((len(content(cell)) for cell in row[: table.words]), default=0)
    return max(-(-words // WORDS), 1) + any(map(has_line_below, row))
