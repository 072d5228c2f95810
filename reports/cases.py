"""Single cases: the scores of each, and those that are hardest."""

from __future__ import annotations

import pandas as pd

from atso_bench.reports.frame import Group
from atso_bench.reports.rows import COUNTS


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
