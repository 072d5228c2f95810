"""The parts of a page, and how they become HTML and Markdown in which no name can be markup."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from atso_bench.reports.words import NONE

TEMPLATES = Path(__file__).parents[1] / "templates"
FOLDED = 30
"""A table with more rows is folded away behind its caption."""
VAST = 200
"""A table with more rows is not printed."""
LARGE = 256
"""Pixels; a wider picture needs more room in a strip."""
ACROSS = {"narrow": (4, 2), "middle": (6, 3), "broad": (8, 4), "printed": (8, 4)}
"""So many small and large pictures of a strip stand side by side at most."""
CARDS = 8
"""A table of at most so many rows is a card for each row where there is no room for its columns."""
MARKDOWN = 60_000
"""Characters; a comment on GitHub may have 65,536."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        note: small print beside it.
        strong: set in bold.
        link: a file below the results folder, relative to the report, or ``#anchor`` of another cell.
        items: a list below the text.
        anchor: a name that ``#name`` in a link leads to.
    """

    text: str
    note: str = ""
    strong: bool = False
    link: str = ""
    items: Sequence[str] = ()
    anchor: str = ""

    @property
    def wordy(self) -> bool:
        """Whether it should take several lines before it makes its column any wider."""
        return max(len(self.text), len(self.note)) > 28


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows, in a few words.
        columns: heads.
        rows: cells, as many as ``columns``.
        words: so many columns on the left hold words, the others numbers.
        long: cells may be long and wrap.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: int = 1
    long: bool = False

    @property
    def folded(self) -> bool:
        return len(self.rows) > FOLDED

    @property
    def vast(self) -> bool:
        """Whether only the part that is seen is laid out, and nothing is printed."""
        return len(self.rows) > VAST

    @property
    def cards(self) -> bool:
        """Whether a phone shows a list of ``head: value`` for each row; three columns have room there."""
        return len(self.rows) <= CARDS and len(self.columns) > 3

    @property
    def looks(self) -> str:
        """Classes of the page's style sheet; a column without a head gives nothing to press for sorting."""
        sortable = len(self.rows) > 2 and all(self.columns)
        wide = len(self.columns) > 9
        widest = len(self.columns) > 14
        looks = {"long": self.long, "wide": wide and not widest, "widest": widest, "sortable": sortable}
        looks["cards"] = self.cards
        return " ".join(name for name, has in looks.items() if has)


@dataclass(frozen=True)
class Picture:
    """A figure: ``file`` lies beside the report, ``uri`` holds the same picture for the page itself."""

    file: str
    uri: str
    alt: str

    @property
    def size(self) -> tuple[float, float] | None:
        """Width and height as the picture itself says them: in pixels, of an SVG in points; None where it does not.

        With them the page keeps a picture's place while it loads.
        """
        from PIL import Image, UnidentifiedImageError

        kind, _, data = self.uri.partition(";base64,")
        start = base64.b64decode(data[:8192])  # both say it at their beginning
        if kind == "data:image/svg+xml":
            found = re.search(rb'<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"', start)
            return (float(found[1]), float(found[2])) if found else None
        try:
            with Image.open(io.BytesIO(start)) as picture:
                return picture.size
        except UnidentifiedImageError:
            return None


@dataclass(frozen=True)
class Strip:
    """Small pictures side by side, which belong together: a case as image, reference and every method's prediction.

    Attributes:
        caption: what they are of.
        tiles: words below a picture, and the picture.
    """

    caption: str
    tiles: Sequence[tuple[str, Picture]]

    @property
    def columns(self) -> dict[str, int]:
        """How many tiles stand side by side in windows of three widths and on paper; of large pictures fewer."""
        size = self.tiles[0][1].size if self.tiles else None
        large = size is not None and size[0] > LARGE
        return {name: _even(len(self.tiles), most[large]) for name, most in ACROSS.items()}


def _even(tiles: int, most: int) -> int:
    """The number of columns, up to ``most`` and not far below, that leaves the fewest places of the last row empty."""
    return min(range(most, most // 2, -1), key=lambda columns: -tiles % columns)


@dataclass(frozen=True)
class Section:
    """A heading, sentences, tables and pictures, and the sections below it."""

    title: str
    anchor: str = ""
    words: Sequence[str] = ()
    parts: Sequence[Table | Picture | Strip] = ()
    sections: Sequence[Section] = field(default_factory=list)


def to_html(title: str, sections: Sequence[Section]) -> str:
    """The page. ``autoescape`` is said outright: by file name jinja2 would not know ``.j2`` for HTML.

    No script but the page's own may run: the browser is told its hash.
    """
    environment = _environment()
    script = environment.get_template("page.js.j2").render()
    told = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("index.html.j2")
    return page.render(title=title, sections=_anchored(sections), script=Markup(script), script_hash=told) + "\n"


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """The same as Markdown; every value is escaped on its way out, by ``finalize``.

    Where the text would be too long for a comment on GitHub, long tables are left to ``index.html``, the longest first.
    """
    environment = _environment(finalize=lambda value: value if isinstance(value, Markup) else markdown_text(str(value)))
    template = environment.get_template("report.md.j2")
    text = ""
    tables = [part for section in _every(sections) for part in section.parts if isinstance(part, Table)]
    for most in (1000, 300, 100, FOLDED):
        shown = [len(table.rows) * len(table.columns) for table in tables if len(table.rows) <= most]
        if most > FOLDED and 3 * sum(shown) > MARKDOWN:
            continue  # too long even with nothing in the cells
        text = template.render(title=title, sections=sections, most=most)
        text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
        if len(text) <= MARKDOWN:
            break
    return text


def _every(sections: Sequence[Section]) -> Iterator[Section]:
    for section in sections:
        yield section
        yield from _every(section.sections)


def _anchored(sections: Sequence[Section], above: str = "", taken: set[str] | None = None) -> list[Section]:
    """The sections, each with an anchor: its own, or the one of the section above it and the words of its title."""
    taken = set() if taken is None else taken
    found: list[Section] = []
    for section in sections:
        words = re.findall("[a-z0-9]+", section.title.lower())
        wanted = section.anchor or "-".join(filter(None, [above, *words])) or "section"
        again = (f"{wanted}-{number}" for number in itertools.count(2))
        anchor = next(each for each in itertools.chain([wanted], again) if each not in taken)
        taken.add(anchor)
        found.append(replace(section, anchor=anchor, sections=_anchored(section.sections, anchor, taken)))
    return found


def _environment(**options: Any) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        autoescape=True,
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.tests["picture"] = lambda part: isinstance(part, Picture)
    environment.tests["strip"] = lambda part: isinstance(part, Strip)
    return environment


def markdown_text(text: str) -> Markup:
    """Text that Markdown shows as it is: one line, without HTML, table cells or emphasis of its own."""
    line = html.escape(" ".join(text.split()), quote=False)
    line = re.sub(r"([\\`*\[\]|~#$])", r"\\\1", line)
    return Markup(re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line))


# Numbers to words


def facts_table(caption: str, heads: Sequence[str], facts: Sequence[Mapping[str, Cell]]) -> Table:
    """One row per fact, one column per thing that it is a fact of; a dash where it is a fact of others alone."""
    names = dict.fromkeys(name for each in facts for name in each)
    body = [[Cell(name), *(each.get(name, Cell(NONE)) for each in facts)] for name in names]
    return Table(caption, ["", *heads], body, words=1 + len(heads), long=True)
