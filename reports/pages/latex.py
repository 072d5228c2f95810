"""Tables for a paper: booktabs, numbers to the right, and no name that could be a command. LaTeX lays them out."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from atso_bench.reports.pages.page import Cell, Table

ROWS = 40
"""More rows go on from page to page; fewer are a float, which also stands in a paper of two columns."""
NARROW = 8
"""A table of more columns has what all rows share in its caption, and if it still has more it lies on its side."""
WORDS, HEAD = 32, 14
"""Letters after which words and heads wrap."""
LONG = 24
"""Letters of a note that still stands below its number; a longer one stands below the table."""

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
    """The table as LaTeX, for the preamble that its first line names.

    A table of up to ``ROWS`` rows is a float, scaled down where it is too wide or too high; a longer one runs over
    several pages. Bold is kept. A short note, as an interval, is small print below its number, a long one a footnote.
    What is the same in every row stands in the caption: the number of seeds, and in a wide table any column.
    """
    table = _with_shared_n_in_caption(table)
    if table.rows and len(table.columns) > NARROW:
        table = _with_shared_columns_in_caption(table)
    footnotes: dict[str, str] = {}
    name = re.sub(r"[^A-Za-z0-9:.]+", "-", label)
    caption = rf"\caption{{{escape(table.caption)}}}\label{{{name}}}"
    made = (_long if len(table.rows) > ROWS else _float)(table, caption, footnotes)
    return "\n".join(made) + "\n"


def _float(table: Table, caption: str, footnotes: dict[str, str]) -> list[str]:
    rows = [line for row in table.rows for line in _row(table, row, footnotes)]
    kind, height = ("sidewaystable", "textwidth") if len(table.columns) > NARROW else ("table", "textheight")
    return [
        r"% The preamble needs \usepackage{booktabs,adjustbox,rotating}; \input this file where the table belongs.",
        rf"\begin{{{kind}}}",
        r"\centering\small\setlength{\tabcolsep}{3pt}",
        caption,
        rf"\par\medskip\begin{{adjustbox}}{{max width=\linewidth,max totalheight=0.8\{height}}}",
        rf"\begin{{tabular}}{{@{{}}{''.join(_kind(table, column) for column in range(len(table.columns)))}@{{}}}}",
        r"\toprule",
        _heads(table),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        *_below(footnotes),
        rf"\end{{{kind}}}",
    ]


def _long(table: Table, caption: str, footnotes: dict[str, str]) -> list[str]:
    rows = [line for row in table.rows for line in _row(table, row, footnotes)]
    head, columns, wide = _heads(table), len(table.columns), len(table.columns) > NARROW
    return [
        r"% The preamble needs \usepackage{booktabs,xltabular,pdflscape}; in a paper of two columns, \onecolumn first.",
        *([r"\begin{landscape}"] if wide else []),
        r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\begin{{xltabular}}{{\linewidth}}{{@{{}}{_shares(table)}@{{}}}}",
        rf"{caption} \tabularnewline",
        r"\toprule",
        head,
        r"\midrule",
        r"\endfirsthead",
        r"\toprule",
        head,
        r"\midrule",
        r"\endhead",
        r"\midrule",
        rf"\multicolumn{{{columns}}}{{r@{{}}}}{{continued on the next page}} \tabularnewline",
        r"\endfoot",
        r"\bottomrule",
        r"\endlastfoot",
        *rows,
        r"\end{xltabular}",
        *_below(footnotes),
        r"\endgroup",
        *([r"\end{landscape}"] if wide else []),
    ]


def _below(footnotes: dict[str, str]) -> list[str]:
    notes = r" \quad ".join(f"$^{{{mark}}}$ {escape(note)}" for note, mark in footnotes.items())
    return [rf"\par\medskip{{\raggedright\scriptsize {notes}\par}}"] if notes else []


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


def _row(table: Table, row: Sequence[Cell], footnotes: dict[str, str]) -> Iterator[str]:
    """The row, and a second one where short notes stand below their numbers; long ones join ``footnotes``."""
    texts = [_said(cell, footnotes) for cell in row]
    wide = [_wraps(table, column) for column in range(len(row))]
    texts = [rf"\raggedright {text}" if wrapped else text for text, wrapped in zip(texts, wide, strict=True)]
    notes = [rf"{{\scriptsize {escape(cell.note)}}}" if 0 < len(cell.note) <= LONG else "" for cell in row]
    together = "*" * any(notes)  # no page ends between a number and its note
    yield " & ".join(texts) + r" \tabularnewline" + together
    if any(notes):
        yield " & ".join(notes) + r" \tabularnewline"
        yield r"\addlinespace"


def _said(cell: Cell, footnotes: dict[str, str]) -> str:
    text = escape(_content(cell))
    text = rf"\textbf{{{text}}}" if cell.strong else text
    if len(cell.note) > LONG:
        text += f"$^{{{footnotes.setdefault(cell.note, _letters(len(footnotes)))}}}$"
    return text


def _content(cell: Cell) -> str:
    return "; ".join([cell.text, *cell.items])


def _wraps(table: Table, column: int) -> bool:
    return column < table.words and any(len(_content(row[column])) > WORDS for row in table.rows)


def _kind(table: Table, column: int) -> str:
    """Of a float: as wide as it needs to be."""
    return "p{5cm}" if _wraps(table, column) else "l" if column < table.words else "r"


def _shares(table: Table) -> str:
    """Of a table over pages, whose columns share the page: words get twice as much as numbers."""
    shares = [2.0 if column < table.words else 1.0 for column in range(len(table.columns))]
    return "".join(
        rf">{{\hsize={share * len(shares) / sum(shares):.4f}\hsize\{side}\arraybackslash}}X"
        for share, side in zip(shares, ["raggedright"] * table.words + ["raggedleft"] * len(shares), strict=False)
    )


def _heads(table: Table) -> str:
    return " & ".join(_head(table, column) for column in range(len(table.columns))) + r" \tabularnewline"


def _head(table: Table, column: int) -> str:
    """A head above numbers stands on several lines: it is longer than they are."""
    head = " ".join(table.columns[column].split())
    lines = [head] if column < table.words or len(table.rows) > ROWS else textwrap.wrap(head, HEAD) or [""]
    text = r" \\ ".join(escape(line) for line in lines)
    return text if len(lines) == 1 else rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{text}\end{{tabular}}"


def _letters(place: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (_letters(place // 26 - 1) if place >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[place % 26]
