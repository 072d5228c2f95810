"""The critical-difference diagram (Demšar 2006), a method to a row so that many and long names stay legible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from atso_bench.reports.figures.drawing import INK, WIDTH, Drawing, drawable, drawing, styled
from atso_bench.reports.words import count

NAME = 34
"""Characters of a method's name that leave room for the ranks beside it."""


def critical_difference(
    name: str, means: pd.Series, critical: float, last_alike: Sequence[int], datasets: int
) -> Drawing:
    """Methods by mean rank, and bars that join those that are not told apart.

    Args:
        name: the drawing's.
        means: mean rank of each method, ascending.
        critical: the critical difference, drawn as a ruler.
        last_alike: for each method the place of the last one that is not shown to rank worse.
        datasets: on how many the ranks stand.
    """
    methods = len(means)
    bars = [
        (place, last)
        for place, last in enumerate(last_alike)
        if last > place and (place == 0 or last > last_alike[place - 1])
    ]
    with styled():
        figure = Figure(figsize=(WIDTH, 1.3 + 0.22 * methods), layout="constrained")
        dots, joined = figure.subplots(1, 2, sharey=True, width_ratios=(20, 1 + 1.4 * len(bars)))
        rows = np.arange(methods)
        dots.hlines(rows, 1, means, color=INK, linewidth=0.7)
        dots.scatter(means, rows, s=26, color=INK, zorder=3)
        dots.errorbar(1 + critical / 2, -0.9, xerr=critical / 2, color=INK, linewidth=1, capsize=3)
        dots.annotate(f"critical difference {critical:.2f}", (1, -0.9), (0, 4), textcoords="offset points")
        dots.set_xlim(1 - 0.02 * methods, max(1.02 * methods, 1 + 1.02 * critical))
        dots.set_ylim(methods - 0.4, -2)
        dots.set_xticks(range(1, methods + 1, 1 + (methods - 1) // 9))
        dots.set_yticks(rows, [drawable(str(label), NAME) for label in means.index])
        legend = "\nbars on the right join methods without a significant difference" if bars else ""
        dots.set_xlabel(f"mean rank over {count(datasets, 'dataset')}, 1 is best{legend}")
        for column, (first, last) in enumerate(bars):
            joined.plot([column] * 2, [first - 0.25, last + 0.25], color=INK, linewidth=4, solid_capstyle="butt")
        joined.set_xlim(-0.8, max(len(bars), 1) - 0.2)
        joined.set_axis_off()
        alt = (
            f"Mean ranks of {methods} methods over {count(datasets, 'dataset')}, bars joining those without a "
            "significant difference; the numbers are in the table of ranks."
        )
        return drawing(name, alt, figure)
