"""Single cases: the scores of each, and those that are hardest."""

from __future__ import annotations

import pandas as pd

from atso_bench.reports.frame import Group
from atso_bench.reports.page import Cell, Table, decimals
from atso_bench.reports.rows import COUNTS

HARDEST = 5
"""Cases of a label fraction that are named."""


def run_scores(group: Group) -> pd.DataFrame:
    """A row per run (``key``), a column per case: mean Dice over classes, or mIoU over the classes in its reference."""
    rows = group.scores[group.scores["class"].isin(group.facts["classes"])]
    if group.natural:
        counts = rows[list(COUNTS)].astype(float)
        values = (counts["tp"] / counts.sum(axis=1)).where(counts["tp"] + counts["fn"] > 0)
    else:
        values = rows["dice"]
    return values.groupby([rows["key"], rows["case"]]).mean().unstack("case")


def case_scores(group: Group) -> pd.DataFrame:
    """A row per case, a column per (label fraction, method): mean over seeds; NaN is undefined."""
    places = group.runs.set_index("key")[["fraction", "label"]]
    scores = run_scores(group).join(places)
    return scores.groupby(["fraction", "label"]).mean().T


def hardest(group: Group) -> Table:
    """The cases with the lowest mean over methods at each label fraction, by name."""
    rows = []
    scores = case_scores(group)
    for fraction, head in group.fractions.items():
        if fraction not in scores.columns.get_level_values("fraction"):
            continue
        at = pd.DataFrame(scores[fraction]).dropna(how="all").reindex(columns=group.labels)
        lowest = at.mean(axis=1).sort_values(kind="stable").index[:HARDEST]
        for case, values in at.loc[lowest].iterrows():
            rows.append([Cell(head), Cell(str(case)), *(Cell(decimals(value)) for value in values)])
    caption = f"The {HARDEST} {group.case}s with the lowest scores, by mean over methods"
    return Table(caption, ["label fraction", group.case, *group.labels], rows, words=2)
