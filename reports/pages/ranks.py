"""Average ranks over datasets, as a section of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from atso_bench.reports.certainty.rank_fields import FEWEST_DATASETS, FEWEST_METHODS, Field, blocks_of, fields_of
from atso_bench.reports.certainty.ranks import Ranks, ranks
from atso_bench.reports.certainty.significance import ALPHA, holm
from atso_bench.reports.data.frame import Group
from atso_bench.reports.data.means import SAME
from atso_bench.reports.figures.drawing import Drawing
from atso_bench.reports.figures.rank_diagram import critical_difference
from atso_bench.reports.pages.page import Cell, Picture, Section, Table
from atso_bench.reports.words import NONE, decimals


@dataclass(frozen=True)
class Ranking:
    """The methods at one label fraction: what the numbers say, the numbers, and the diagram."""

    title: str
    words: list[str]
    table: Table
    drawing: Drawing


@dataclass(frozen=True)
class OverDatasets:
    """Ranks at every label fraction that enough datasets share; ``words`` also say where there are too few."""

    words: list[str]
    rankings: list[Ranking]

    def section(self, pictures: Sequence[Picture]) -> Section:
        """The part of the page; a picture for each drawing, in order."""
        below = [
            Section(found.title, words=found.words, parts=[picture, found.table])
            for found, picture in zip(self.rankings, pictures, strict=True)
        ]
        return Section("Ranks over datasets", "ranks", self.words, sections=below)


def ranks_by_fraction(groups: Sequence[Group]) -> OverDatasets | None:
    """Ranks over datasets by the mean test scores; None with fewer than two datasets."""
    tested = [group for group in groups if group.facts["scored"] == "test"]
    blocks = blocks_of(tested)
    if len(blocks) < 2:
        return None
    fields = list(fields_of(tested, blocks))
    enough = [field for field in fields if field.enough]
    found = [ranks(field.scores, ALPHA / len(enough), field.lower) for field in enough]
    adjusted = holm([each.p for each in found])
    words = _method(enough) if enough else []
    words += [
        f"{dataset} and {block} share test cases and reference labels, and count as one dataset."
        for dataset, block in blocks.items()
        if dataset != block
    ]
    few = [f"{field.size} at {field.title}" for field in fields if not field.enough]
    if few or not enough:
        there = f"there are {'; '.join(few) or 'no two datasets with the same label fraction and budget'}"
        there = there if len(set(blocks.values())) > 1 else "there is one"
        words.append(f"Ranks need {FEWEST_METHODS} methods, each with a score on {FEWEST_DATASETS} datasets; {there}.")
    rankings = [
        _ranking(field, replace(each, adjusted=float(p)), len(enough))
        for field, each, p in zip(enough, found, adjusted, strict=True)
    ]
    return OverDatasets(words, rankings)


def _method(fields: Sequence[Field]) -> list[str]:
    several = len(fields) > 1
    words = [
        "A rank is a method's place within one dataset by mean score over seeds: 1 is best, equal scores share a "
        "place. p is that of Friedman's test (do all methods rank alike?), by permuting the ranks within each dataset"
        f"{f' and adjusted by Holm over all {len(fields)} rankings' if several else ''}. Two methods differ if p is "
        f"below {ALPHA:g} and their mean ranks are at least Nemenyi's critical difference apart"
        f"{f', at a level of {ALPHA:g} for all rankings together' if several else ''}.",
        "Ranks give an order, not the size of a lead, and depend on the set of methods. Few datasets can only show "
        "very consistent differences: methods without a significant difference need not be equal.",
    ]
    if any(field.chosen for field in fields):
        words.append(
            "If a dataset has several comparisons, the one with the most methods at the label fraction is ranked, then "
            "the one with the most runs, then the first on this page. The head of the table names it."
        )
    return words


def _ranking(field: Field, found: Ranks, rankings: int) -> Ranking:
    means = found.means
    best = [str(label) for label in means.index[means.round(SAME) == round(means.iloc[0], SAME)]]
    p = "p < 0.001" if found.adjusted < 0.001 else f"p = {decimals(found.adjusted)}"
    p += " (Holm)" * (rankings > 1)
    names = " and ".join(filter(None, [", ".join(best[:-1]), best[-1]]))
    lead = f"{names} {'has' if len(best) == 1 else 'share'} the best mean rank"
    worse = [_from(means.index[last + 1 :]) for last in found.last_alike]
    apart = f"Mean ranks {decimals(found.critical, 2)} or more apart differ{'' if any(worse) else '; no two are'}."
    shown = (
        f"The methods do not all rank alike, {p}. {apart}" if found.differ else f"No difference is significant, {p}."
    )
    rows = [
        [Cell(str(label)), Cell(text or NONE), Cell(decimals(mean, 2)), *_places(found, place)]
        for place, ((label, mean), text) in enumerate(zip(means.items(), worse, strict=True))
    ]
    heads = ["method", "ranks better than", "mean rank", *map(str, found.scores.columns)]
    caption = f"Ranks at {field.title}, mean scores in small print"
    drawn = critical_difference(field.slug, means, found.critical, found.last_alike, found.scores.shape[1])
    words = [f"{lead}, {decimals(means.iloc[0], 2)}, of {field.size}. {shown}", *field.left_out]
    return Ranking(f"At {field.title}", words, Table(caption, heads, rows, words=2), drawn)


def _from(worse: pd.Index) -> str:
    return "" if worse.empty else f"{worse[0]}{' and all below it' if len(worse) > 1 else ''}"


def _places(found: Ranks, method: int) -> list[Cell]:
    places = zip(found.ranks.iloc[method], found.scores.iloc[method], strict=True)
    return [Cell(f"{rank:g}", decimals(score)) for rank, score in places]
