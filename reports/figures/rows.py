"""Panels in which every method has a row."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from atso_bench.reports.figures.drawing import WIDTH, drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STACKED = 24
"""So many rows stand one below the other on a page; more stand in columns of panels."""
ACROSS = 3
_ROW = 0.19


def rows(
    panels: Sequence[tuple[Sequence[str], Sequence[str]]], labels: Sequence[str], above: float = 0.0
) -> tuple[Figure, list[tuple[Axes, dict[str, int]]]]:
    """An empty figure with a panel for each of ``(lines of the title, methods)``.

    Args:
        panels: at least one.
        labels: all methods in the order of ``Group.labels``.
        above: inches for a legend.

    Returns:
        The figure, and of each panel its axes and the height of each method's row. All want the same ``set_xlim``.
    """
    if sum(len(shown) for _, shown in panels) > STACKED and len(panels) > 1:
        return _columns(panels, labels, above)
    ratios = [len(shown) + 0.2 for _, shown in panels]
    titles = sum(0.23 + 0.15 * len(title) for title, _ in panels)
    figure = Figure(figsize=(WIDTH, _ROW * sum(ratios) + titles + 0.4 + above), layout="constrained")
    every = figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0]
    found = []
    for axes, (title, shown) in zip(every, panels, strict=True):
        axes.set_title("\n".join(drawable(line, 60) for line in title), fontsize=9, loc="left")
        axes.tick_params(labelbottom=axes is every[-1])
        found.append((axes, _heights(axes, shown, 28)))
    return figure, found


def _columns(
    panels: Sequence[tuple[Sequence[str], Sequence[str]]], labels: Sequence[str], above: float
) -> tuple[Figure, list[tuple[Axes, dict[str, int]]]]:
    """Every panel has the rows of all methods that are shown in any."""
    shown = [label for label in labels if any(label in own for _, own in panels)]
    heads = [[part for line in title for part in textwrap.wrap(drawable(line, 45), 17)] for title, _ in panels]
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    each = _ROW * (len(shown) + 0.2) + 0.35 + 0.15 * max(map(len, heads))
    figure = Figure(figsize=(WIDTH, each * down + 0.3 + above), layout="constrained")
    every = figure.subplots(down, across, squeeze=False).ravel()
    found = []
    for place, (axes, head) in enumerate(zip(every, heads, strict=False)):
        axes.set_title("\n".join(head), fontsize=9)
        axes.tick_params(labelbottom=place >= len(panels) - across)
        found.append((axes, _heights(axes, shown, 22, named=place % across == 0)))
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    return figure, found


def _heights(axes: Axes, shown: Sequence[str], most: int, named: bool = True) -> dict[str, int]:
    heights = {label: -row for row, label in enumerate(shown)}
    names = [drawable(label, most) for label in shown] if named else []
    axes.set_yticks(list(heights.values())[: len(names)], names)
    axes.set_ylim(0.6 - len(shown), 0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    return heights
