"""Tables for a paper: booktabs, numbers to the right, and no name that could be a command."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from atso_bench.reports.page import Cell, Table

WIDTH = 84
"""Characters that ``\\small`` sets in one line of an article; a wider table is divided by columns."""
HEIGHT = 44
"""Lines of one page; a longer table is divided by rows, for a float does not break."""
HEADING = 4
"""Lines of a table's head with its rules and the space around them."""
WORDS = 32
"""Characters after which a column of words wraps."""
LONG = 24
"""Characters of a note that still stands below its number; a longer one stands below the table."""

Part = tuple[Sequence[int], Sequence[Sequence[Cell]]]
"""Columns and rows that stand together."""

# What pdfLaTeX and LuaLaTeX both set without another package.
_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # at a row's beginning the line break before it would take them
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    **{
        sign: f"${command}$"
        for sign, command in {
            "\N{MINUS SIGN}": "-",
            "±": r"\pm",
            "×": r"\times",
            "·": r"\cdot",
            "≤": r"\le",
            "≥": r"\ge",
            "→": r"\to",
            "∞": r"\infty",
            "√": r"\surd",
            "°": r"^\circ",
            "²": "^2",
            "³": "^3",
            "\N{MICRO SIGN}": r"\mu",
        }.items()
    },
}
_LIGATURES = ("-\N{EN DASH}\N{EM DASH}", "`", "'", "?!`")
"""Signs of which two side by side become another sign."""
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING CEDILLA}": "c",
}


def to_latex(table: Table, label: str) -> str:
    """A ``table`` that compiles with booktabs alone; several, where it is too wide or too long for a page.

    Bold is kept. A short note, as an interval, is small print below its number, a long one a footnote of the table,
    and the number of seeds is said in the caption where it is the same everywhere.
    """
    table = _with_shared_n_in_caption(table)
    floats = _floats(table)
    lines = ["% The preamble needs \\usepackage{booktabs}; then \\input this file where the table belongs."]
    for place, parts in enumerate(floats, start=1):
        number = f" (part {place} of {len(floats)})" if len(floats) > 1 else ""
        name = re.sub(r"[^A-Za-z0-9:.]+", "-", label) + (f"-{place}" if place > 1 else "")
        footnotes: dict[str, str] = {}
        lines += [
            r"\begin{table}[htbp]",
            r"\centering\small\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{escape(table.caption + number)}}}\label{{{name}}}",
            *(line for columns, rows in parts for line in _tabular(table, columns, rows, footnotes)),
            *(rf"\par\footnotesize $^{{{mark}}}$ {escape(note)}" for note, mark in footnotes.items()),
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=4096)
def escape(text: str) -> str:
    """Text that LaTeX sets as it is, in one line; a sign of which it may have no glyph, by its number in Unicode."""
    line = " ".join(text.split())
    return "".join(
        _sign(sign) + "{}" * any(sign in pair and after in pair for pair in _LIGATURES)
        for sign, after in pairwise(f"{line} ")
    )


def _sign(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    if sign.isascii():
        return sign if sign.isprintable() else ""
    base, *accents = list(unicodedata.normalize("NFD", sign))
    if len(accents) == 1 and accents[0] in _ACCENTS and base.isascii() and base.isalpha():
        return rf"\{_ACCENTS[accents[0]]}{{{base}}}"
    return f"{{[}}U+{ord(sign):04X}{{]}}"


# Cells


def _with_shared_n_in_caption(table: Table) -> Table:
    """``n = 3`` behind the caption where every note begins with it, and no longer in the notes."""
    notes = [cell.note.split(", ") for row in table.rows for cell in row if cell.note]
    firsts = {note[0] for note in notes}
    if len(firsts) != 1 or not re.fullmatch(r"n = \d+", shared := firsts.pop()):
        return table
    rows = [[replace(cell, note=", ".join(cell.note.split(", ")[1:])) for cell in row] for row in table.rows]
    return replace(table, caption=f"{table.caption}; {shared}", rows=rows)


def _tabular(
    table: Table, columns: Sequence[int], rows: Sequence[Sequence[Cell]], footnotes: dict[str, str]
) -> Iterator[str]:
    yield rf"\par\medskip\begin{{tabular}}{{@{{}}{''.join(_kind(table, column) for column in columns)}@{{}}}}"
    yield r"\toprule"
    yield " & ".join(_head(table, column) for column in columns) + r" \tabularnewline"
    yield r"\midrule"
    wide = [_wraps(table, column) for column in columns]
    for place, row in enumerate(rows):
        if place and _lines(rows[place - 1]) > 1:
            yield r"\addlinespace"
        yield from _row([row[column] for column in columns], wide, footnotes)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _row(row: Sequence[Cell], wide: Sequence[bool], footnotes: dict[str, str]) -> Iterator[str]:
    """The row, and a second one where short notes stand below their numbers; long ones join ``footnotes``."""
    texts, notes = [], []
    for cell, wraps in zip(row, wide, strict=True):
        text = escape(_text(cell))
        text = rf"\textbf{{{text}}}" if cell.strong else text
        if len(cell.note) > LONG:
            text += f"$^{{{footnotes.setdefault(cell.note, _letters(len(footnotes)))}}}$"
        texts.append(rf"\raggedright {text}" if wraps else text)
        notes.append(rf"{{\scriptsize {escape(cell.note)}}}" if 0 < len(cell.note) <= LONG else "")
    yield " & ".join(texts) + r" \tabularnewline"
    if any(notes):
        yield " & ".join(notes) + r" \tabularnewline"


def _text(cell: Cell) -> str:
    return "; ".join([cell.text, *cell.items])


def _letters(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (_letters(place // 26 - 1) if place >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[place % 26]


# Columns and pages, in characters and lines


def _longest(table: Table, column: int) -> int:
    return max((len(_text(row[column])) for row in table.rows), default=0)


def _wraps(table: Table, column: int) -> bool:
    return column < table.words and _longest(table, column) > WORDS


def _kind(table: Table, column: int) -> str:
    return "p{5cm}" if _wraps(table, column) else "l" if column < table.words else "r"


def _body_width(table: Table, column: int) -> int:
    """Characters of the widest cell; small print is narrower."""
    notes = (4 * len(row[column].note) // 5 for row in table.rows if len(row[column].note) <= LONG)
    texts = WORDS if _wraps(table, column) else _longest(table, column)
    return max([texts, *notes]) if table.rows else 0


def _head_lines(table: Table, column: int) -> list[str]:
    """A head about as wide as what stands below it."""
    return textwrap.wrap(" ".join(table.columns[column].split()), max(_body_width(table, column) + 2, 12)) or [""]


def _head(table: Table, column: int) -> str:
    lines = [escape(line) for line in _head_lines(table, column)]
    side = "l" if column < table.words else "r"
    return lines[0] if len(lines) == 1 else (
        rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}" + r" \\ ".join(lines) + r"\end{tabular}"
    )  # fmt: skip


def _floats(table: Table) -> list[list[Part]]:
    """The table divided so that each part fits across a page, and the parts of each float fit on one."""
    floats: list[list[Part]] = [[]]
    filled = 0
    for rows in _pages(table):
        for columns in _blocks(table):
            lines = HEADING + sum(map(_lines, rows))
            if floats[-1] and filled + lines > HEIGHT:
                floats.append([])
                filled = 0
            floats[-1].append((columns, rows))
            filled += lines
    return floats


def _blocks(table: Table) -> list[list[int]]:
    """Columns that fit side by side; the words on the left stand in every block."""
    widths = [
        max(_body_width(table, column), *map(len, _head_lines(table, column))) + 1.5  # and the gap to the next
        for column in range(len(table.columns))
    ]
    words = list(range(table.words))
    blocks = [list(words)]
    for column in range(table.words, len(table.columns)):
        if len(blocks[-1]) > len(words) and sum(widths[each] for each in [*blocks[-1], column]) > WIDTH:
            blocks.append(list(words))
        blocks[-1].append(column)
    return blocks


def _pages(table: Table) -> list[list[Sequence[Cell]]]:
    """Rows that fit on a page."""
    pages: list[list[Sequence[Cell]]] = [[]]
    filled = HEADING
    for row in table.rows:
        if filled + _lines(row) > HEIGHT:
            pages.append([])
            filled = HEADING
        pages[-1].append(row)
        filled += _lines(row)
    return pages


def _lines(row: Sequence[Cell]) -> int:
    return 2 if any(0 < len(cell.note) <= LONG for cell in row) else 1
