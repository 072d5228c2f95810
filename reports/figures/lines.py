"""Lines through means, with a bar for the interval of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection

from atso_bench.reports.figures.drawing import PAPER, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def lines(axes: Axes, means: pd.DataFrame, places: Mapping[str, int], dash: str = "", **looks: Any) -> None:
    """A line per method through ``x`` and ``y``, and a bar from ``low`` to ``high`` where there is one.

    The bars are given: seaborn would estimate intervals of its own, and of equal seeds it may fail to draw any.

    Args:
        axes: where to draw.
        means: a row per point: ``label``, ``x``, ``y``, ``low``, ``high``.
        places: ``Group.places``.
        dash: of all lines; each method's own if empty.
        looks: of the lines, as matplotlib names them.
    """
    edges: dict[str, Any] = {"markeredgecolor": PAPER, "markeredgewidth": 0.5, "legend": False, "ax": axes}
    style = styles(places, dash)
    if means["y"].notna().any():  # of nothing seaborn would warn
        sns.lineplot(means, x="x", y="y", hue="label", style="label", **style, estimator=None, **{**edges, **looks})
    axes.set(xlabel="", ylabel="")
    ends = means.dropna(subset=["low", "high"])
    bars = ends[["x", "low", "x", "high"]].to_numpy(dtype=float).reshape(-1, 2, 2)
    colours = [style["palette"][label] for label in ends["label"]]
    axes.add_collection(LineCollection([*bars], colors=colours, linewidths=1.2))
