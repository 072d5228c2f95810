"""The figure of the scores of single cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns

from atso_bench.reports.data.frame import Group, case_scores
from atso_bench.reports.figures.drawing import INK, Drawing, drawing, palette, styled
from atso_bench.reports.figures.rows import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from seaborn.categorical import BoxPlotContainer

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
        colours = palette(group.places)
        for (axes, heights), (fraction, labels) in zip(panels, parts.items(), strict=True):
            _boxes(axes, _long(pd.DataFrame(scores[fraction])[labels], heights), colours, every)
            axes.set_xlim(low - margin, high + margin)
        noun = group.metric.of_case
        figure.supxlabel(f"{noun} of a {group.case}, mean over seeds", fontsize=9)
        alt = (
            f"The {group.case}s' scores, {noun}: a box per label fraction and method; "
            "the means are in the table of scores."
        )
        return drawing("by-case", alt, figure)


def _long(scores: pd.DataFrame, heights: Mapping[str, int]) -> pd.DataFrame:
    """A row per method and defined case: ``method``, its row's ``height``, ``score``, and where the case's dot stands.

    A case keeps its height from method to method; steps of the golden ratio keep neighbours apart.
    """
    aside = pd.Series((np.arange(len(scores)) * 0.618034 % 1 - 0.5) * 0.5, index=scores.index)
    long = scores.melt(var_name="method", value_name="score", ignore_index=False).dropna(subset="score")
    height = long["method"].map(heights)
    return long.assign(height=height, dot=height + aside[long.index].to_numpy()).reset_index(drop=True)


def _boxes(axes: Axes, scores: pd.DataFrame, colours: Mapping[str, str], every: bool) -> None:
    """A box per method; ``every`` case is a dot, or only those beyond the whiskers."""
    if every:
        looks: dict[str, Any] = {"palette": colours, "legend": False, "ax": axes}
        sns.scatterplot(scores, x="score", y="dot", hue="method", s=6, alpha=0.8, linewidth=0, zorder=1, **looks)
    sns.boxplot(
        scores,
        x="score",
        y="height",
        orient="y",
        native_scale=True,
        width=0.62,
        fill=False,
        color=INK,
        linewidth=1.3,
        medianprops={"linewidth": 2.5},
        showcaps=False,
        showfliers=not every,
        fliersize=2,
        vert=None,  # seaborn's own word, which matplotlib is about to drop
        orientation="horizontal",
        ax=axes,
    )
    axes.set(xlabel="", ylabel="")
    own = scores.drop_duplicates("height").sort_values("height")["method"]
    _colour(axes.containers[-1], [colours[method] for method in own])


def _colour(boxes: BoxPlotContainer, colours: Sequence[str]) -> None:
    """From below; to draw each box by itself in its colour, as ``hue`` does, takes three times as long."""
    lines = [*zip(boxes.boxes, colours, strict=True), *zip(boxes.medians, colours, strict=True)]
    lines += zip(boxes.whiskers, np.repeat(colours, 2), strict=True)
    for line, colour in lines:
        line.set_color(colour)
    for line, colour in zip(boxes.fliers, colours, strict=False):  # none where every case is a dot
        line.set_markeredgecolor(colour)
