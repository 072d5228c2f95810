"""The legend of methods, and what else every figure of a comparison says in the same words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from atso_bench.reports.figures.drawing import INK, WIDTH, drawable, look

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

SINGLE: dict[str, Any] = {"marker": "o", "s": 11, "facecolors": "none", "linewidths": 0.7}
"""How one run is drawn beside the mean."""
MOST_SEEDS = 10
"""More rings at one place are a blot, and a page of them takes megabytes."""
_LETTER, _HANDLE = 0.074, 0.65
"""Inches that a letter takes, and what stands before the words."""


def methods(places: Mapping[str, int], shown: Iterable[str], dashes: bool = True) -> list[Artist]:
    """A handle for each of the shown methods: colour, marker and dash by its place."""
    drawn = set(shown)
    return [_handle(place, label, dashes) for label, place in places.items() if label in drawn]


def _handle(place: int, label: str, dashes: bool) -> Line2D:
    colour, marker, dash = look(place)
    style: Any = dash if dashes else "none"
    return Line2D([], [], color=colour, marker=marker, markersize=5, linestyle=style, label=drawable(label))


def ink(label: str, dash: str, width: float = 1.0, marker: str = "") -> Line2D:
    """A handle of a line that belongs to no single method."""
    style: dict[str, Any] = {
        "linestyle": dash,
        "linewidth": width,
        "marker": marker,
        "markersize": 6,
        "markerfacecolor": "none",
    }
    return Line2D([], [], color=INK, label=drawable(label, 60), **style)


def columns(handles: Sequence[Artist]) -> int:
    """As many as fit side by side."""
    lengths = [len(str(handle.get_label())) for handle in handles]
    for number in (3, 2):
        parts = np.array_split(lengths, number)  # matplotlib fills columns in the same way
        if sum(_HANDLE + _LETTER * max(part, default=0) for part in parts) <= WIDTH:
            return number
    return 1


def height(handles: Sequence[Artist]) -> float:
    """Inches that the legend takes."""
    return 0.21 * -(-len(handles) // columns(handles)) + 0.1


def above(figure: Figure, handles: Sequence[Artist]) -> None:
    """The legend above the axes, where it never lies over data."""
    figure.legend(handles=list(handles), loc="outside upper left", ncols=columns(handles), handlelength=2.6)
