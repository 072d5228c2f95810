"""Single cases: the scores of each, and those that are hardest."""

from __future__ import annotations

import pandas as pd

from atso_bench.reports.data.frame import Group, case_scores
from atso_bench.reports.data.means import SAME
from atso_bench.reports.pages.page import Cell, Table
from atso_bench.reports.words import decimals

HARDEST = 5
"""Cases of a label fraction that are named."""


def hardest(group: Group) -> Table:
    """The cases with the worst mean over methods at each label fraction, by name."""
    rows = []
    scores = case_scores(group)
    for fraction, head in group.fractions.items():
        if fraction not in scores.columns.get_level_values("fraction"):
            continue
        at = pd.DataFrame(scores[fraction]).dropna(how="all").reindex(columns=group.labels)
        worst = group.metric.gain(at.mean(axis=1)).round(SAME).sort_values(kind="stable").index[:HARDEST]
        for case, values in at.loc[worst].iterrows():
            rows.append([Cell(head), Cell(str(case)), *(Cell(decimals(value)) for value in values)])
    least = "lowest" if group.metric.higher else "highest"
    caption = f"The {HARDEST} {group.case}s with the {least} scores, by mean over methods"
    return Table(caption, ["label fraction", group.case, *group.labels], rows, words=2)
