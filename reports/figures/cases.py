"""The figure of the scores of single cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from atso_bench.reports.data.frame import Group, case_scores
from atso_bench.reports.figures.drawing import Drawing, drawing, look, styled
from atso_bench.reports.figures.rows import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DOTS = 3000
"""More dots than these make a figure of megabytes; then only cases beyond the whiskers are drawn."""


def by_case(group: Group) -> Drawing | None:
    """How the cases' scores spread: a box per method and label fraction, cases as dots."""
    scores = case_scores(group)
    parts = {
        fraction: [
            label
            for label in group.labels
            if (fraction, label) in scores.columns and scores[fraction, label].notna().any()
        ]
        for fraction in group.fractions
    }
    parts = {fraction: labels for fraction, labels in parts.items() if labels}
    if not parts:
        return None
    every = len(scores) * sum(map(len, parts.values())) <= MOST_DOTS
    with styled():
        figure, panels = rows([([group.fractions[text]], labels) for text, labels in parts.items()], group.labels)
        shown = scores[[(fraction, label) for fraction, labels in parts.items() for label in labels]].to_numpy()
        low, high = np.nanmin(shown), np.nanmax(shown)
        margin = 0.05 * max(high - low, 0.2)
        for (axes, heights), (fraction, labels) in zip(panels, parts.items(), strict=True):
            colours = [look(group.labels.index(label))[0] for label in labels]
            columns = scores[fraction][labels].to_numpy().T
            _boxes(axes, columns, [heights[label] for label in labels], colours, every)
            axes.set_xlim(low - margin, high + margin)
        noun = group.metric.of_case
        figure.supxlabel(f"a {group.case}'s {noun}, mean over seeds", fontsize=9)
        alt = (
            f"The {group.case}s' scores, {noun}: a box per label fraction and method; "
            "the means are in the table of scores."
        )
        return drawing("by-case", alt, figure)


def _boxes(axes: Axes, scores: NDArray[np.float64], at: list[int], colours: list[str], every: bool) -> None:
    """A box holds the middle half; whiskers reach the furthest case within 1.5 times the box's length.

    One collection for each kind of line of all boxes: an artist for every line takes ten times as long.

    Args:
        axes: where to draw.
        scores: ``(boxes, cases)``; NaN is undefined.
        at: the height of each box.
        colours: of each box.
        every: whether to draw all cases as dots, and not only those beyond the whiskers.
    """
    first, middle, third = np.nanpercentile(scores, (25, 50, 75), axis=1)
    reach = 1.5 * (third - first)
    within = (scores >= (first - reach)[:, None]) & (scores <= (third + reach)[:, None])
    low = np.fmin(first, np.fmin.reduce(np.where(within, scores, np.nan), axis=1))
    high = np.fmax(third, np.fmax.reduce(np.where(within, scores, np.nan), axis=1))
    middles = np.array(at, dtype=float)
    below, above = middles - 0.31, middles + 0.31
    boxes = _paths((first, below), (third, below), (third, above), (first, above))
    fills = [to_rgba(colour, 0.25) for colour in colours]  # else the darker colours' boxes are lost on dark paper
    axes.add_collection(
        PolyCollection(boxes, facecolors=fills, edgecolors=colours, linewidths=1.3, zorder=2), autolim=False
    )
    for thick, *ends in (
        (1.3, (low, middles), (first, middles)),
        (1.3, (third, middles), (high, middles)),
        (2.5, (middle, below), (middle, above)),
    ):
        axes.add_collection(LineCollection(_paths(*ends), colors=colours, linewidths=thick, zorder=2), autolim=False)
    # a case keeps its height from method to method; steps of the golden ratio keep neighbours apart
    aside = (np.arange(scores.shape[1]) * 0.618034 % 1 - 0.5) * 0.5
    box, case = np.nonzero(np.isfinite(scores) if every else (scores < low[:, None]) | (scores > high[:, None]))
    own = [colours[each] for each in box]
    axes.scatter(scores[box, case], middles[box] + aside[case], s=6, c=own, alpha=0.8, linewidths=0, zorder=1)


def _paths(*points: tuple[NDArray[np.float64], NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Of each box ``(points, 2)``; of each point x and y are given for all boxes."""
    return [*np.stack([np.stack(point, axis=-1) for point in points], axis=1)]
