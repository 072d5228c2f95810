"""Figures: the same drawing as SVG and PNG beside the report, and inside the page in the page's own colours."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import matplotlib
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from atso_bench.reports.frame import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours for all kinds of colour vision, without black and yellow: readable on white and on near-black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, PAPER, GRID = "#1b1f24", "#fffffe", "#c9ced6"  # no other part of a figure has these colours

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a method called "$x$" is not a formula
    "svg.hashsalt": "atso-bench",  # the same figure, the same bytes
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], INK),
}


def label_efficiency(group: Group, score: str) -> dict[str, bytes]:
    """Score against labelled cases: a line per method through the means, its seeds as rings, a bar of one sd each way.

    Returns:
        The figure as ``svg`` and ``png``.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        outside = 0 if len(group.labels) < 5 else 1 if max(map(len, group.labels)) > 24 else 2  # columns of the legend
        figure = Figure(
            figsize=(5.36, 3.6 + (0.2 * len(group.labels) / outside if outside else 0)), layout="constrained"
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
            mean, name = upper.loc[upper.label == label, "score"].mean(), f"{_drawable(label)}, all labels"
            axes.axhline(mean, color=INK, linestyle="--", linewidth=1, label=name, zorder=1)
        _label_axis(axes, group)
        axes.set_ylabel(score)
        axes.grid(axis="x", visible=False)
        if outside:
            figure.legend(loc="outside upper left", ncols=outside)
        else:
            axes.legend(loc="best")
        return {"svg": _svg(figure), "png": _png(figure)}


def _line(axes: Axes, runs: pd.DataFrame, label: str, order: int, aside: float, hair: float) -> None:
    colour, marker = COLOURS[order % len(COLOURS)], MARKERS[order % len(MARKERS)]
    dash = ("-", "--", ":")[order // len(COLOURS) % 3]
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
        label=_drawable(label),
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


def in_page(svg: bytes) -> str:
    """A data URI of the figure whose ink and paper follow the reader's light or dark scheme.

    As an image it can neither run a script nor clash with the page's own names.
    """
    dark = "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--grid:#414853}}"
    text = svg.decode().replace(INK, "var(--ink)").replace(GRID, "var(--grid)").replace(PAPER, "none")
    head, mark, rest = text.partition("<defs>")
    styled = f"{head}<style>:root{{--ink:{INK};--grid:{GRID}}}{dark}</style>{mark}{rest}"
    return "data:image/svg+xml;base64," + base64.b64encode(styled.encode()).decode()


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(["Date", "Creator"]))
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _drawable(text: str, most: int = 40) -> str:
    """A name that any font can draw and XML can hold; a leading underscore would hide it from the legend."""
    shown = "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return f"\u200a{shown}" if shown.startswith("_") else shown
