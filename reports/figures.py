"""The figures of one comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from atso_bench.reports.drawing import INK, WIDTH, Drawing, drawable, drawing, look, styled
from atso_bench.reports.frame import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def label_efficiency(group: Group, score: str) -> Drawing:
    """Score against labelled cases: a line per method through the means, seeds as rings, a bar of one sd each way."""
    with styled():
        outside = 0 if len(group.labels) < 5 else 1 if max(map(len, group.labels)) > 24 else 2  # columns of the legend
        figure = Figure(
            figsize=(WIDTH, 3.6 + (0.2 * len(group.labels) / outside if outside else 0)), layout="constrained"
        )
        axes = figure.add_subplot()
        axes.set_xscale("log")
        few, many = group.runs["labelled"].min(), group.runs["labelled"].max()
        margin = max(1.2, (many / few) ** 0.1)
        axes.set_xlim(few / margin, many * margin)
        hair = (many / few * margin**2) ** 0.006  # a factor that is 0.6 % of the axis everywhere
        for order, label in enumerate(group.labels):
            aside = hair ** (2 * order - len(group.labels) + 1)
            _line(axes, group.runs[group.runs.label == label], label, order, aside, hair)
        upper = group.runs[group.runs.upper]
        for label in sorted(set(upper["label"])):
            mean, name = upper.loc[upper.label == label, "score"].mean(), f"{drawable(label)}, all labels"
            axes.axhline(mean, color=INK, linestyle="--", linewidth=1, label=name, zorder=1)
        _label_axis(axes, group)
        axes.set_ylabel(score)
        axes.grid(axis="x", visible=False)
        if outside:
            figure.legend(loc="outside upper left", ncols=outside)
        else:
            axes.legend(loc="best")
        alt = f"{score} by labelled {group.case}s, one line per method; the numbers are in the table of scores."
        return drawing("label-efficiency", alt, figure)


def _line(axes: Axes, runs: pd.DataFrame, label: str, order: int, aside: float, hair: float) -> None:
    colour, marker, dash = look(order)
    by_fraction = runs.groupby("fraction").agg(x=("labelled", "mean"), y=("score", "mean"), sd=("score", "std"))
    by_fraction = by_fraction.dropna(subset=["y"]).sort_values("x")
    axes.errorbar(
        by_fraction["x"] * aside,
        by_fraction["y"],
        yerr=by_fraction["sd"].fillna(0.0),
        color=colour,
        marker=marker,
        markersize=5,
        linestyle=dash,
        linewidth=1.4,
        capsize=2,
        label=drawable(label),
        zorder=2,
    )
    x, y = runs["labelled"] * aside * hair, runs["score"]
    axes.scatter(x, y, s=12, facecolors="none", edgecolors=colour, linewidths=0.7, zorder=3)


def _label_axis(axes: Axes, group: Group) -> None:
    """Ticks where there are results, and only so many that their words do not touch."""
    ticks: list[tuple[float, str]] = []
    span = group.runs["labelled"].max() / group.runs["labelled"].min()
    for fraction in group.fractions:
        runs = group.runs[group.runs.fraction == fraction]
        at = float(runs["labelled"].mean())
        if not ticks or at / ticks[-1][0] >= span ** (1 / 8):
            ticks.append((at, f"{at:.3g}\n({runs['percent'].mean():.3g} %)"))
    axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(f"labelled {group.case}s, logarithmic (share of the pool)")
