"""Tables for a paper: booktabs, numbers to the right, and no name that could be a command."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from atso_bench.reports.pages.latex_layout import (
    LONG,
    SIZES,
    Layout,
    Part,
    best,
    blocks,
    content,
    floats,
    has_line_below,
    head_lines,
    opens,
    several_lines,
    wraps,
)
from atso_bench.reports.pages.page import Cell, Table

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
    and what is the same in every row is said in the caption: the number of seeds, and in a wide table any column.
    """
    table = _with_shared_n_in_caption(table)
    if table.rows and len(blocks(table, SIZES[0])) > 1:
        table = _with_shared_columns_in_caption(table)
    layout = best(table)
    divided = floats(table, layout)
    lines = ["% The preamble needs \\usepackage{booktabs}; then \\input this file where the table belongs."]
    for place, parts in enumerate(divided, start=1):
        number = f" (part {place} of {len(divided)})" if len(divided) > 1 else ""
        name = re.sub(r"[^A-Za-z0-9:.]+", "-", label) + (f"-{place}" if place > 1 else "")
        footnotes: dict[str, str] = {}
        tabulars = [line for part in parts for line in _tabular(table, part, layout, footnotes)]
        below = r" \quad ".join(f"$^{{{mark}}}$ {escape(note)}" for note, mark in footnotes.items())
        lines += [
            r"\begin{table}[htbp]",
            rf"\centering\{layout.size}\setlength{{\tabcolsep}}{{3pt}}",
            rf"\caption{{{escape(table.caption + number)}}}\label{{{name}}}",
            *tabulars,
            *([rf"\par\medskip\raggedright\scriptsize {below}"] if below else []),
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


def _with_shared_columns_in_caption(table: Table) -> Table:
    """``; seeds: 3`` behind the caption for a column of numbers that are all the same; one column stays."""
    first, *others = table.rows
    numbers = range(table.words, len(table.columns))
    bare = [each for each in numbers if replace(first[each], text="") == Cell("")]
    same = [each for each in bare if others and all(row[each] == first[each] for row in others)]
    kept = [each for each in range(len(table.columns)) if each not in same]
    if len(kept) == table.words:
        return table
    said = "".join(f"; {table.columns[each]}: {first[each].text}" for each in same)
    rows = [[row[each] for each in kept] for row in table.rows]
    return replace(table, caption=table.caption + said, columns=[table.columns[each] for each in kept], rows=rows)


def _tabular(table: Table, part: Part, layout: Layout, footnotes: dict[str, str]) -> Iterator[str]:
    columns, rows = part
    yield rf"\par\medskip\begin{{tabular}}{{@{{}}{''.join(_kind(table, column) for column in columns)}@{{}}}}"
    yield r"\toprule"
    yield " & ".join(_head(table, column, layout) for column in columns) + r" \tabularnewline"
    yield r"\midrule"
    wide = [wraps(table, column) for column in columns]
    for place, row in enumerate(rows):
        above = rows[place - 1] if place else None
        group = opens(layout, row, above)
        if above and (group or several_lines(table, above)):
            yield r"\addlinespace"
        if group:
            yield rf"\multicolumn{{{len(columns)}}}{{@{{}}l@{{}}}}{{{_said(row[0], footnotes)}}} \tabularnewline"
        yield from _row([row[column] for column in columns], wide, layout, footnotes)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _row(row: Sequence[Cell], wide: Sequence[bool], layout: Layout, footnotes: dict[str, str]) -> Iterator[str]:
    """The row, and a second one where short notes stand below their numbers; long ones join ``footnotes``."""
    texts = [_said(cell, footnotes) for cell in row]
    texts = [rf"\raggedright {text}" if wrapped else text for text, wrapped in zip(texts, wide, strict=True)]
    yield " & ".join(texts) + r" \tabularnewline"
    notes = [rf"{{\{layout.small} {escape(cell.note)}}}" if has_line_below(cell) else "" for cell in row]
    if any(notes):
        yield " & ".join(notes) + r" \tabularnewline"


def _said(cell: Cell, footnotes: dict[str, str]) -> str:
    text = escape(content(cell))
    text = rf"\textbf{{{text}}}" if cell.strong else text
    if len(cell.note) > LONG:
        text += f"$^{{{footnotes.setdefault(cell.note, _letters(len(footnotes)))}}}$"
    return text


def _kind(table: Table, column: int) -> str:
    return "p{5cm}" if wraps(table, column) else "l" if column < table.words else "r"


def _head(table: Table, column: int, layout: Layout) -> str:
    lines = [escape(line) for line in head_lines(table, column, layout)]
    side = "l" if column < table.words else "r"
    return lines[0] if len(lines) == 1 else (
        rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}" + r" \\ ".join(lines) + r"\end{tabular}"
    )  # fmt: skip


def _letters(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (_letters(place // 26 - 1) if place >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[place % 26]
