"""How figures look, and what becomes of one: SVG, PNG, and an image in the page that follows its colour scheme."""

from __future__ import annotations

import base64
import gc
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    *("#0173b2", "#d55e00", "#029e73", "#cc78bc", "#de8f05", "#56b4e9", "#7b39fd", "#0dd26f"),
    *("#b04933", "#efa0bd", "#377276", "#7498fe", "#7450d4", "#ee854a", "#b1400d", "#82c596"),
)
"""Six of seaborn's ``colorblind``, then those of its other palettes that stay farthest from all before them.

Each is readable on white and on near-black, and no two look alike to a reader who confuses red and green.
"""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = {"-": "", "--": (4, 1.5), ":": (1, 1)}
"""matplotlib's name of a dash, and what seaborn takes for it."""
INK, PAPER, GRID = "#1b1f24", "#fffffe", "#c9ced6"  # no other part of a figure has these colours

WIDTH = 5.36
"""Inches; the page shows a figure of this width at full size."""
DPI = 160
FEW_DECADES = 100
"""So much larger than the smallest value the largest may be for ticks at 2 and 5 too."""

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a method called "$x$" is not a formula
    "svg.hashsalt": "atso-bench",  # the same figure, the same bytes
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titley": 1.0,  # else every drawing looks for what might lie in the title's way
    "axes.formatter.useoffset": False,  # words above the axes that would lie there
    # 0.042, and what the tick marks take, which `_ask_little` leaves out
    **dict.fromkeys(["figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"], 0.058),
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], INK),
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: what it shows, as the stem of a file's name: ``label-efficiency``.
        alt: the same in a sentence, for who cannot see it; it says where the numbers stand.
        svg: the figure.
        png: the figure.
    """

    name: str
    alt: str
    svg: bytes
    png: bytes


@contextmanager
def styled() -> Iterator[None]:
    """The suite's style, whatever the user's own settings of matplotlib are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def drawing(name: str, alt: str, figure: Figure) -> Drawing:
    """Must be called inside `styled`."""
    _lay_out(figure)
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata=dict.fromkeys(["Date", "Creator"]))
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    if not gc.isenabled():
        gc.collect()  # a process that draws nothing but figures, see `workers`, leaves it to this line
    return Drawing(name, alt, svg.getvalue(), png.getvalue())


def _lay_out(figure: Figure) -> None:
    """Once for both files: with an engine, each takes a layout of its own, and one more drawing for that."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    for axes in figure.axes:
        _ask_little(axes)
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure)
    engine.execute(figure)
    figure.set_layout_engine(None)


def _ask_little(axes: Axes) -> None:
    """What takes no room in the layout is not measured: matplotlib works all ticks out anew for each question."""
    for spine in axes.spines.values():
        spine.set_in_layout(False)
    for axis, side in ((axes.xaxis, "labelbottom"), (axes.yaxis, "labelleft")):
        if not axis.get_label_text():
            axis.set_label_coords(0.5, 0.5)  # words that are not there need no place that follows the ticks
            axis.set_in_layout(bool(axis.get_tick_params().get(side, True)))


def look(place: int) -> tuple[str, str, str]:
    """Colour, marker and dash of the method at this place of ``Group.places``; the same in every figure of a report."""
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], [*DASHES][place // 6 % len(DASHES)]


def palette(places: Mapping[str, int]) -> dict[str, str]:
    """By method its colour, as seaborn takes it."""
    return {label: look(place)[0] for label, place in places.items()}


def styles(places: Mapping[str, int], dash: str = "") -> dict[str, Any]:
    """Colours, markers and dashes by method, as seaborn takes them; all lines have ``dash`` where one is given."""
    looks = {label: look(place) for label, place in places.items()}
    return {
        "palette": palette(places),
        "markers": {label: marker for label, (_, marker, _) in looks.items()},
        "dashes": {label: DASHES[dash or own] for label, (_, _, own) in looks.items()},
    }


def logarithmic(axes: Axes, low: float, high: float) -> None:
    """A logarithmic horizontal axis for these values, with plain numbers at its ticks.

    matplotlib writes such ticks as formulas, which `styled` shows as they are: a method called "$x$" is no formula.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    between = (1.0, 2.0, 5.0) if high <= FEW_DECADES * low else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=between))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def in_page(svg: bytes) -> str:
    """A data URI of the figure whose ink and paper follow the reader's light or dark scheme.

    As an image it can neither run a script nor clash with the page's own names.
    """
    dark = "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--grid:#414853}}"
    text = svg.decode().replace(INK, "var(--ink)").replace(GRID, "var(--grid)").replace(PAPER, "none")
    head, mark, rest = text.partition("<defs>")
    styled = f"{head}<style>:root{{--ink:{INK};--grid:{GRID}}}{dark}</style>{mark}{rest}"
    return "data:image/svg+xml;base64," + base64.b64encode(styled.encode()).decode()


def drawable(text: str, most: int = 40) -> str:
    """A name that any font can draw and XML can hold; a leading underscore would hide it from the legend."""
    shown = "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return f"\u200a{shown}" if shown.startswith("_") else shown
