"""The figure of label efficiency: scores against labelled cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from atso_bench.benchmark.scoring.headline import Metric
from atso_bench.reports.certainty.evidence import Evidence
from atso_bench.reports.certainty.intervals import Estimate, LabelsNeeded
from atso_bench.reports.data.frame import Group, headline
from atso_bench.reports.data.means import mean
from atso_bench.reports.figures import legend
from atso_bench.reports.figures.drawing import (
    INK,
    WIDTH,
    Drawing,
    drawable,
    drawing,
    logarithmic,
    look,
    styled,
)
from atso_bench.reports.figures.legend import MOST_SEEDS, SINGLE
from atso_bench.reports.figures.lines import lines
from atso_bench.reports.words import ALIKE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

TOGETHER = 6
"""So many lines can be told apart in the same axes; more methods have a panel each."""
ACROSS = 3


@dataclass(frozen=True)
class _Curves:
    """What is drawn of a comparison.

    Attributes:
        group: the comparison.
        baseline: the label that the others are held against.
        means: a row per label fraction and method that has a score: ``x``, ``y``, ``low``, ``high``, ``upper``.
        needed: per method, how many labelled cases 95 % of full supervision take.
        target: the score of those 95 %; NaN where there is none.
    """

    group: Group
    baseline: str
    means: pd.DataFrame
    needed: dict[str, LabelsNeeded]
    target: float

    @cached_property
    def across(self) -> tuple[float, float]:
        """Few and many labelled cases: the ends of the horizontal axis."""
        labelled = self.group.runs["labelled"]
        margin = max(1.2, (labelled.max() / labelled.min()) ** 0.1)
        return float(labelled.min() / margin), float(labelled.max() * margin)

    @cached_property
    def view(self) -> tuple[float, float]:
        """The ends of the vertical axis: two seeds that differ have an interval beside which no curve could be seen."""
        shown = [*self.means["y"], *self.group.runs["score"].dropna(), *([self.target] * (self.target > 0))]
        span = max(max(shown) - min(shown), 0.02)
        low = max(np.nanmin([*self.means["low"], min(shown)]), min(shown) - span)
        high = min(np.nanmax([*self.means["high"], max(shown)]), max(shown) + span)
        return float(max(0.0, low - 0.05 * span)), float(high + 0.05 * span)

    @cached_property
    def single(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Labelled cases and score of the single runs of each method, where there are several and not too many."""
        runs = self.group.runs[["fraction", "label", "labelled", "score"]].dropna(subset=["score"])
        seeds = runs.groupby(["fraction", "label"])["score"].transform("size")
        return {
            str(label): (own["labelled"].to_numpy(dtype=float), own["score"].to_numpy(dtype=float))
            for label, own in runs[seeds.between(2, MOST_SEEDS)].groupby("label")
        }

    @cached_property
    def step(self) -> float:
        """The factor between neighbours at one fraction; they keep away from the next fraction."""
        few, many = self.across
        at = np.sort(self.group.runs.groupby("fraction")["labelled"].mean().to_numpy())
        gaps = np.diff(np.log(at))
        gap = float(min(gaps[gaps > 0], default=math.inf))
        return math.exp(min(0.012 * math.log(many / few), 0.7 * gap / len(self.group.labels)))


def label_efficiency(group: Group, known: Evidence) -> Drawing | None:
    """Score against labelled cases: a line per method through the means, 95 % intervals as bars, seeds as rings."""
    means = _means(group, known)
    if means.empty:
        return None
    target = next((found.target for found in known.needed.values()), math.nan)
    needed = {} if math.isnan(target) else known.needed
    curves = _Curves(group, known.baseline, means, needed, target)
    with styled():
        figure = _together(curves) if len(group.labels) <= TOGETHER else _apart(curves)
        bars = " with its 95 % interval" if means["low"].notna().any() else ""
        alt = (
            f"Mean {headline(group)}{bars} by labelled {group.case}s, one line per method; "
            "the numbers are in the table of scores."
        )
        return drawing("label-efficiency", alt, figure)


def _means(group: Group, known: Evidence) -> pd.DataFrame:
    scored = group.runs.dropna(subset=["score"])
    means = scored.groupby(["fraction", "label"]).agg(x=("labelled", "mean"), y=("score", mean), upper=("upper", "all"))
    means = means.reset_index()
    places = zip(means["fraction"], means["label"], means["y"], strict=True)
    ends = [_ends(known.estimates.get((fraction, label)), value, group.metric) for fraction, label, value in places]
    return means.assign(low=[low for low, _ in ends], high=[high for _, high in ends]).sort_values("x")


def _ends(known: Estimate | None, value: float, metric: Metric) -> tuple[float, float]:
    """As the table of scores shows them; with undefined cases there is none."""
    if known is None or known.reason or abs(known.mean - value) >= ALIKE:
        return math.nan, math.nan
    return metric.held(known.low), metric.held(known.high)


def _together(curves: _Curves) -> Figure:
    """All methods in the same axes; below them, how many labels each needs."""
    group = curves.group
    handles = [*legend.methods(group.places, curves.means["label"]), *_full_handles(curves)]
    strip = 0.16 * len(curves.needed) + 0.1
    parts = [3.0, strip] if curves.needed else [3.0]
    size = (WIDTH, sum(parts) + 0.35 * len(parts) + 0.35 + legend.height(handles))
    figure = Figure(figsize=size, layout="constrained")
    main, *below = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=parts)[:, 0]
    _axes(main, curves)
    middle = (len(group.labels) - 1) / 2
    aside = {label: curves.step ** (order - middle) for order, label in enumerate(group.labels)}
    _lines(main, curves, aside, math.sqrt(curves.step))
    main.set_ylabel(headline(group))
    for axes in below:
        _needed(axes, curves)
    main.set_xticks(*_ticks(group, room=8, shares=True))
    (below or [main])[-1].set_xlabel(f"labelled {group.case}s, log scale (share of the training pool)")
    legend.above(figure, handles)
    return figure


def _apart(curves: _Curves) -> Figure:
    """A panel for each method, all with the same axes, and the baseline in all of them."""
    group = curves.group
    shown = [label for label in group.labels if label in set(curves.means["label"])]
    rows = -(-len(shown) // ACROSS)
    handles = [legend.ink(f"{drawable(curves.baseline, 28)}, in every panel", "-", 0.8)]
    handles += _full_handles(curves)
    if curves.needed:
        handles.append(legend.ink("labels needed for 95 %", "-", 1.2, "|"))
    size = (WIDTH, 1.45 * rows + 0.4 + legend.height(handles))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, ACROSS, squeeze=False).ravel()
    baseline = curves.means[curves.means["label"] == curves.baseline]
    few, many = curves.across
    ticks = _ticks(group, room=4)
    for place, (axes, label) in enumerate(zip(panels, shown, strict=False)):
        _axes(axes, curves)
        axes.plot(baseline["x"], baseline["y"], color=INK, linewidth=0.8, zorder=1.5)
        _lines(axes, curves, {label: 1.0}, (many / few) ** 0.035)
        if label in curves.needed:
            _crossing(axes, curves, label, curves.target, (INK, "|"))
        axes.set_title(drawable(label, 21), fontsize=9)
        axes.set_xticks(*ticks)
        axes.tick_params(labelbottom=place >= len(shown) - ACROSS, labelleft=place % ACROSS == 0)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel(f"labelled {group.case}s, log scale", fontsize=9)
    figure.supylabel(headline(group), fontsize=9)
    legend.above(figure, handles)
    return figure


def _axes(axes: Axes, curves: _Curves) -> None:
    """The axes with the upper bound, its interval, and the score that 95 % of it are."""
    logarithmic(axes, *curves.across)
    axes.set_xlim(*curves.across)
    axes.set_ylim(*curves.view)
    axes.minorticks_off()
    axes.grid(axis="x", visible=False)
    for _, bound in curves.means[curves.means["upper"]].iterrows():
        axes.axhline(bound["y"], color=INK, linestyle="--", linewidth=1, zorder=1)
        if not math.isnan(bound["low"]):
            axes.axhspan(bound["low"], bound["high"], color=INK, alpha=0.09, linewidth=0, zorder=0)
    if not math.isnan(curves.target):
        axes.axhline(curves.target, color=INK, linestyle=":", linewidth=1, zorder=1)


def _full_handles(curves: _Curves) -> list[Line2D]:
    upper = sorted(set(curves.means.loc[curves.means["upper"], "label"]))
    handles = [legend.ink(f"{drawable(label, 28)}, all labels", "--") for label in upper]
    return handles + ([] if math.isnan(curves.target) else [legend.ink("95 % of full supervision", ":")])


def _lines(axes: Axes, curves: _Curves, aside: Mapping[str, float], beside: float) -> None:
    """The lines of the methods in ``aside``, which is by what factor each is moved from where it belongs.

    Args:
        axes: where to draw.
        curves: what is drawn.
        aside: a factor per method.
        beside: by what factor the single runs are moved from their mean.
    """
    means = curves.means[curves.means["label"].isin(aside)]
    means = means.assign(x=means["x"] * means["label"].map(aside))
    lines(axes, means, curves.group.places, markersize=5, linewidth=1.4)
    for label, factor in aside.items():
        colour, *_ = look(curves.group.places[label])
        _unseen(axes, curves, means[means["label"] == label], colour)
        if label in curves.single:
            labelled, score = curves.single[label]
            axes.scatter(labelled * factor * beside, score, edgecolors=colour, zorder=3, **SINGLE)


def _unseen(axes: Axes, curves: _Curves, means: pd.DataFrame, colour: str) -> None:
    """An arrow ends a bar that goes on beyond the axes."""
    low, high = curves.view
    for end, arrow, beyond in ((low, "v", means["low"] < low), (high, "^", means["high"] > high)):
        if beyond.any():
            ends = [end] * int(beyond.sum())
            axes.scatter(means.loc[beyond, "x"], ends, s=22, color=colour, marker=arrow, clip_on=False, zorder=4)


def _needed(axes: Axes, curves: _Curves) -> None:
    """A row per method: where its line first reaches the target, with the interval."""
    for row, label in enumerate(curves.needed):
        _crossing(axes, curves, label, -row, look(curves.group.places[label])[:2])
    axes.set_ylim(0.6 - len(curves.needed), 0.6)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"labelled {curves.group.case}s needed for 95 % of full supervision", fontsize=9, loc="left")


def _crossing(axes: Axes, curves: _Curves, label: str, y: float, looks: tuple[str, str]) -> None:
    """The crossing and its interval; an arrow to the left says "or fewer", to the right "more than were tried"."""
    (colour, marker), found, (few, many) = looks, curves.needed[label], curves.across
    tried = float(curves.means.loc[curves.means["label"] == label, "x"].min())
    if math.isnan(tried):
        return
    missed = math.isnan(found.cases)
    fewer, more = found.low <= tried or found.cases <= tried, math.isinf(found.high) or missed
    ends = [end for end in (found.low, found.cases, found.high) if math.isfinite(end)]
    ends += [few] * fewer + [many] * more
    axes.plot([min(ends), max(ends)], [y, y], color=colour, linewidth=1.2)
    if not missed:
        axes.plot([found.cases], [y], color=colour, marker=marker, markersize=8 if marker == "|" else 6)
    for end, arrow, beyond in ((few, "<", fewer), (many, ">", more)):
        if beyond:
            axes.plot([end], [y], color=colour, marker=arrow, markersize=5, clip_on=False)


def _ticks(group: Group, room: int, shares: bool = False) -> tuple[list[float], list[str]]:
    """Ticks where there are results, and only so many that their words do not touch."""
    ticks: dict[float, str] = {}
    labelled = group.runs["labelled"]
    apart = (labelled.max() / labelled.min()) ** (1 / room)
    means = group.runs.groupby("fraction")[["labelled", "percent"]].mean()
    for at, percent in means.loc[list(group.fractions)].itertuples(index=False):
        if not ticks or at / max(ticks) >= apart:
            ticks[at] = f"{at:.3g}" + (f"\n({percent:.3g} %)" if shares else "")
    return [*ticks], [*ticks.values()]
