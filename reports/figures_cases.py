"""The figure of the scores of single cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atso_bench.reports.cases import case_scores
from atso_bench.reports.drawing import Drawing, drawing, look, styled
from atso_bench.reports.figures_rows import rows
from atso_bench.reports.frame import Group
from atso_bench.reports.tables import headline

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
        for (axes, heights), (fraction, labels) in zip(panels, parts.items(), strict=True):
            for label in labels:
                colour = look(group.labels.index(label))[0]
                _box(axes, scores[fraction, label], heights[label], colour, every)
        noun = f"mean {headline(group)} over classes" if not group.natural else "mIoU over the classes in its reference"
        figure.supxlabel(f"a {group.case}'s {noun}, mean over seeds", fontsize=9)
        alt = (
            f"The {group.case}s' scores, {noun}: a box per label fraction and method; "
            "the means are in the table of scores."
        )
        return drawing("by-case", alt, figure)


def _box(axes: Axes, scores: pd.Series, at: float, colour: str, every: bool) -> None:
    """The box holds the middle half; whiskers reach the furthest case within 1.5 times the box's length."""
    defined = scores.dropna()
    line = {"color": colour, "linewidth": 1}
    drawn = axes.boxplot(
        defined,
        positions=[at],
        orientation="horizontal",
        widths=0.62,
        showfliers=False,
        showcaps=False,
        manage_ticks=False,
        boxprops=line,
        whiskerprops=line,
        medianprops={**line, "linewidth": 2.2},
    )
    low, high = (float(whisker.get_xdata()[1]) for whisker in drawn["whiskers"])
    # a case keeps its height from method to method; steps of the golden ratio keep neighbours apart
    aside = pd.Series((np.arange(len(scores)) * 0.618034 % 1 - 0.5) * 0.5, index=scores.index)
    dots = defined if every else defined[(defined < low) | (defined > high)]
    axes.scatter(dots, aside[dots.index] + at, s=5, color=colour, alpha=0.5, linewidths=0, zorder=1)
