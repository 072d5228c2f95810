"""The picture of lazy mimicking: what relabelling did, generation by generation."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from atso_bench.reports.data.frame import Group, headline
from atso_bench.reports.data.rows import RATES
from atso_bench.reports.figures import legend
from atso_bench.reports.figures.drawing import WIDTH, Drawing, drawable, drawing, styled
from atso_bench.reports.figures.lines import lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_FRACTIONS = 3
"""So many stand beside each other on a phone."""
ROWS: dict[tuple[str, ...], str] = {
    ("pseudo_score",): "pseudo-label\n{score}",
    ("update_rate",): "update rate",
    ("correction_rate", "corruption_rate"): "── corrected\n╌╌ corrupted",
    ("agreement_outside", "agreement_inside"): "agreement ({score})\n── outside\n╌╌ inside",
}
"""Of a row of panels what it shows, the first solid and the second dashed, and the words beside it."""


def mimicking(group: Group) -> Drawing | None:
    """By generation, at the lowest label fractions: quality, update rate, corrections, agreement inside and outside.

    Dashes tell inside from outside here, so methods differ in colour and marker alone.
    """
    rates = _by_generation(group)
    known = [text for text in group.fractions if text in set(rates["fraction"])]
    fractions = known[:MOST_FRACTIONS]
    shown = rates[rates["fraction"].isin(fractions)]
    rows = [names for names in ROWS if shown[list(names)].notna().any(axis=None)]
    if not rows:
        return None
    with styled():
        handles = legend.methods(group.places, shown["label"], dashes=False)
        size = (WIDTH, 1.5 * len(rows) + 0.45 + legend.height(handles))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(rows), len(fractions), sharex=True, sharey="row", squeeze=False)
        for row, names in enumerate(rows):
            for axes, fraction in zip(panels[row], fractions, strict=True):
                _panel(axes, group.places, shown[shown["fraction"] == fraction], names)
            panels[row][0].set_ylabel(ROWS[names].format(score=headline(group)))
            if "agreement_inside" not in names and "pseudo_score" not in names:
                panels[row][0].set_ylim(bottom=-0.04 * panels[row][0].get_ylim()[1])  # 0 is a whole marker
        for axes, fraction in zip(panels[0], fractions, strict=True):
            axes.set_title(drawable(group.fractions[fraction], 22), fontsize=9)
        panels[-1][0].xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.supxlabel("generation", fontsize=9)
        legend.above(figure, handles)
        return drawing("mimicking", _alt(group, len(fractions), len(known)), figure)


def _alt(group: Group, shown: int, known: int) -> str:
    where = f", at the {shown} lowest of {known} label fractions" if shown < known else ""
    return (
        f"Effect of relabelling by generation{where}: pseudo-label {headline(group)}, update rate, "
        "corrected and corrupted labels, agreement of student and teacher outside and inside the student's own "
        "subset; the numbers are in the table of every pseudo-labelling."
    )


def _by_generation(group: Group) -> pd.DataFrame:
    """A row per fraction, method, run and generation: mean of each rate over its subsets and teachers."""
    numbered = group.diagnostics["generation"].map(lambda generation: isinstance(generation, Real)).astype(bool)
    entries = group.diagnostics[numbered]
    by = ["fraction", "label", "key", "generation"]
    return entries.astype({"generation": float}).groupby(by)[list(RATES)].mean().reset_index()


def _panel(axes: Axes, places: Mapping[str, int], rates: pd.DataFrame, names: tuple[str, ...]) -> None:
    """Means over seeds, and a bar from the lowest seed to the highest; what is dashed has open markers."""
    labels = [label for label in places if label in set(rates["label"])]
    step = min(0.06, 0.5 / max(1, len(labels)))
    moved = {label: step * (place - (len(labels) - 1) / 2) for place, label in enumerate(labels)}
    seeds = rates.groupby(["label", "generation"])
    for name, dash, aside in zip(names, ("-", "--"), (0.0, 0.35), strict=False):
        means = seeds[name].agg(y="mean", low="min", high="max").dropna().reset_index()
        means["x"] = means["generation"] + means["label"].map(moved).astype(float) + step * aside
        before = len(axes.lines)
        lines(axes, means, places, dash, markersize=4.5, markeredgewidth=0.8, linewidth=1.2)
        for line in axes.lines[before:]:
            line.set(markeredgecolor=line.get_color(), markerfacecolor=line.get_color() if dash == "-" else "none")
    axes.grid(axis="x", visible=False)
