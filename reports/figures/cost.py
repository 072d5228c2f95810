"""The figures of what the runs of one comparison cost: scores against seconds, and where the seconds went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import seaborn as sns
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from atso_bench.reports.data.frame import Group, headline
from atso_bench.reports.data.means import mean
from atso_bench.reports.figures import legend
from atso_bench.reports.figures.drawing import (
    INK,
    PAPER,
    WIDTH,
    Drawing,
    drawable,
    drawing,
    logarithmic,
    styled,
    styles,
)
from atso_bench.reports.figures.legend import MOST_SEEDS, SINGLE
from atso_bench.reports.figures.rows import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {
    "first training": "#4477aa",
    "later trainings": "#66ccee",
    "pseudo labels": "#ccbb44",
    "evaluation": "#999999",
}
"""Paul Tol's colours for all kinds of colour vision; none of them is a method's."""
LOG_FROM = 8
"""Seconds that differ by this factor or more stand on a logarithmic axis."""
REUSED = "////"


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of ``(seconds, score)`` no other beats: none is as fast and as high, and better in one of the two."""
    defined = [place for place, point in enumerate(points) if not any(map(math.isnan, point))]
    return [place for place in defined if not any(_beats(points[other], points[place]) for other in defined)]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


# Score against seconds


def cost(group: Group) -> Drawing | None:
    """Score against seconds of training and pseudo-labelling: a panel per label fraction and machine, with its front.

    Scores at other label fractions have other prices (labels), and seconds on other machines are other seconds: only
    within a panel does a method dominate another. Panels with one method have nothing to say and are left out.
    """
    runs = _priced(group)
    panels = [
        (fraction, str(machine), part)
        for fraction in group.fractions
        for machine, part in runs[runs["fraction"] == fraction].groupby("machine", sort=True)
        if part["label"].nunique() > 1
    ]
    if not panels:
        return None
    scale, unit = _unit(float(runs["seconds"].max()))
    shown = {label for _, _, part in panels for label in part["label"]}
    machines = len({machine for _, machine, _ in panels}) > 1
    with styled():
        handles = legend.methods(group.places, shown, dashes=False)
        handles.append(legend.ink("Pareto front", "-", 0.8, "o"))
        across = min(2, len(panels))
        down = -(-len(panels) // across)
        size = (WIDTH, (2.3 if across > 1 else 2.9) * down + 0.35 + legend.height(handles))
        figure = Figure(figsize=size, layout="constrained")
        every = figure.subplots(down, across, squeeze=False).ravel()
        fronts = []
        for axes, (fraction, machine, part) in zip(every, panels, strict=False):
            front = _front(axes, group, part.assign(seconds=part["seconds"] / scale))
            head = group.fractions[fraction]
            axes.set_title("\n".join([drawable(head, 34), *([drawable(machine, 34)] if machines else [])]), fontsize=9)
            fronts.append(f"at {head}{f' on {machine}' if machines else ''}: {', '.join(front)}")
        for axes in every[len(panels) :]:
            axes.set_visible(False)
        figure.supxlabel(f"training and pseudo-labelling of a run ({unit})", fontsize=9)
        figure.supylabel(headline(group), fontsize=9)
        legend.above(figure, handles)
        alt = (
            f"{headline(group)} against the time of training and pseudo-labelling, one point per method. "
            f"Pareto front {'; '.join(fronts)}."
        )
        return drawing("cost", alt, figure)


def _priced(group: Group) -> pd.DataFrame:
    """Runs with a score whose ``seconds`` are known."""
    runs = group.runs.assign(seconds=group.runs["key"].map(group.learning_seconds).astype(float))
    return runs[(runs["seconds"] > 0) & runs["score"].notna()]


def _front(axes: Axes, group: Group, runs: pd.DataFrame) -> list[str]:
    """Draw a panel; the methods that no other beats, cheapest first."""
    looks = styles(group.places)
    single = runs[runs.groupby("label")["key"].transform("size").between(2, MOST_SEEDS)]
    colours = [looks["palette"][label] for label in single["label"]]
    axes.scatter(single["seconds"], single["score"], edgecolors=colours, alpha=0.7, zorder=2, **SINGLE)
    means = runs.groupby("label")[["seconds", "score"]].agg(mean)
    gains = group.metric.gain(means["score"])
    front = means.iloc[pareto(list(zip(means["seconds"], gains, strict=True)))].sort_values("seconds")
    ahead = means.index.isin(front.index)
    sns.scatterplot(
        means.reset_index(),
        x="seconds",
        y="score",
        hue="label",
        style="label",
        palette=looks["palette"],
        markers=looks["markers"],
        s=42,
        edgecolors=[INK if each else PAPER for each in ahead],
        linewidths=[1.0 if each else 0.5 for each in ahead],
        zorder=3,
        legend=False,
        ax=axes,
    )
    axes.set(xlabel="", ylabel="")
    if runs["seconds"].max() >= LOG_FROM * runs["seconds"].min():
        logarithmic(axes, float(runs["seconds"].min()), float(runs["seconds"].max()))
    else:
        axes.set_xlim(0, float(runs["seconds"].max()) * 1.08)
    axes.step(front["seconds"], front["score"], where="post", color=INK, linewidth=0.8, zorder=1)
    return [str(label) for label in front.index]


def _unit(longest: float) -> tuple[float, str]:
    """Seconds in a unit in which the longest is no five-digit number."""
    return (1.0, "seconds") if longest < 1000 else (60.0, "minutes") if longest < 36000 else (3600.0, "hours")


# Where the seconds went


def phases(group: Group) -> Drawing | None:
    """Stacked bars of the seconds of a run, mean over seeds; what was computed once for several is hatched."""
    spent = _spent(group)
    if spent.empty or not spent["seconds"].sum() > 0:
        return None
    machines = spent["machine"].nunique() > 1
    panels = [
        (fraction, str(machine), part)
        for fraction in group.fractions
        for machine, part in spent[spent["fraction"] == fraction].groupby("machine", sort=True)
    ]
    longest = spent.groupby(["fraction", "machine", "label"])["seconds"].sum().max()
    scale, unit = _unit(float(longest))
    with styled():
        handles = [Patch(facecolor=PARTS[part], label=part) for part in PARTS if part in set(spent["part"])]
        if spent["reused"].any():
            shared = Patch(facecolor="none", edgecolor=INK, hatch=REUSED, linewidth=0, label="computed once, shared")
            handles.append(shared)
        heads = [
            ([group.fractions[fraction], *([machine] if machines else [])], _labels(group, part))
            for fraction, machine, part in panels
        ]
        figure, every = rows(heads, group.labels, legend.height(handles))
        for (axes, heights), (_, _, part) in zip(every, panels, strict=True):
            _bars(axes, part.assign(seconds=part["seconds"] / scale), heights)
            axes.set_xlim(0, 1.05 * float(longest) / scale)
        figure.supxlabel(f"{unit} of a run, mean over seeds", fontsize=9)
        legend.above(figure, handles)
        alt = (
            "Time of a run by kind of phase, one bar per label fraction and method; "
            "the numbers are in the table of time and memory."
        )
        return drawing("phases", alt, figure)


def _spent(group: Group) -> pd.DataFrame:
    """Mean seconds of a run by fraction, machine, method, part and whether it was reused."""
    named = {"train": "later trainings", "predict": "pseudo labels", "evaluate": "evaluation"}
    spent = group.phases[group.phases["kind"].isin(named)]
    fold = [place if cut else "" for _, cut, place in (str(name).rpartition(", fold ") for name in spent["name"])]
    trained = spent["kind"] == "train"
    # a record's phases stand in the order in which they were run; each fold has its first
    again = spent.assign(fold=fold).loc[trained, ["key", "fold"]].duplicated()
    first = trained & ~again.reindex(spent.index, fill_value=True)
    part = spent["kind"].map(named).mask(first, "first training")
    machine = spent["key"].map(group.runs.set_index("key")["machine"])
    spent = spent.assign(part=part, machine=machine)
    by = ["fraction", "machine", "label"]
    seconds = spent.groupby([*by, "part", "reused"])["seconds"].sum().reset_index()
    runs = spent.groupby(by)["key"].nunique().rename("runs").reset_index()
    found = seconds.merge(runs, on=by)
    return found.assign(seconds=found["seconds"] / found["runs"])


def _labels(group: Group, part: pd.DataFrame) -> list[str]:
    return [label for label in group.labels if label in set(part["label"])]


def _bars(axes: Axes, spent: pd.DataFrame, heights: dict[str, int]) -> None:
    """What was computed here and what was not are hatched apart within each part."""
    left = dict.fromkeys(heights, 0.0)
    for part, colour in PARTS.items():
        for reused, hatch in ((True, REUSED), (False, None)):
            own = spent[(spent["part"] == part) & (spent["reused"] == reused) & (spent["seconds"] > 0)]
            bars = []
            for label, width in zip(own["label"], own["seconds"], strict=True):
                low, high = heights[label] - 0.34, heights[label] + 0.34
                start, end = left[label], left[label] + width
                bars.append([(start, low), (end, low), (end, high), (start, high)])
                left[label] = end
            if bars:
                looks: dict[str, Any] = {"facecolors": colour, "edgecolors": INK, "linewidths": 0, "hatch": hatch}
                axes.add_collection(PolyCollection(bars, **looks), autolim=False)
