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
    """Ranks over datasets by the mean scores on T; None with fewer than two datasets."""
    tested = [group for group in groups if group.facts["scored"] == "test"]
    blocks = blocks_of(tested)
    if len(blocks) < 2:
        return None
    fields = list(fields_of(tested, blocks))
    enough = [field for field in fields if field.enough]
    found = [ranks(field.scores, ALPHA / len(enough)) for field in enough]
    adjusted = holm([each.p for each in found])
    words = _method(enough) if enough else []
    words += [
        f"{dataset} and {block} share test cases and their true labels, and count as one dataset."
        for dataset, block in blocks.items()
        if dataset != block
    ]
    few = [f"{field.size} at {field.title}" for field in fields if not field.enough]
    if few or not enough:
        there = f"there are {'; '.join(few) or 'no two datasets that share a label fraction and a budget'}"
        there = there if len(set(blocks.values())) > 1 else "there is one"
        words.append(
            f"Ranks take {FEWEST_METHODS} methods with a score on each of {FEWEST_DATASETS} datasets; {there}."
        )
    rankings = [
        _ranking(field, replace(each, adjusted=float(p)), len(enough))
        for field, each, p in zip(enough, found, adjusted, strict=True)
    ]
    return OverDatasets(words, rankings)


def _method(fields: Sequence[Field]) -> list[str]:
    several = len(fields) > 1
    words = [
        "A rank is a method's place within one dataset by its mean score over seeds: 1 is best, equal scores share a "
        "place. p is of Friedman's test that all methods rank alike, by reshuffling the ranks within each dataset"
        f"{f', adjusted by Holm over all {len(fields)} rankings' if several else ''}. Two methods differ where p is "
        f"below {ALPHA:g} and their mean ranks are Nemenyi's critical difference apart"
        f"{f', which is for {ALPHA:g} over all rankings together' if several else ''}.",
        "Ranks say who is ahead and not by how much, and change with the methods that take part. With few datasets "
        "only what is nearly the same on all of them can show: methods that are not told apart need not be equal.",
    ]
    if any(field.chosen for field in fields):
        words.append(
            "Of several comparisons on a dataset, the one with most methods at the label fraction is ranked, then the "
            "one with most runs, then the first on this page; the table's head says which."
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
    apart = f"Mean ranks {decimals(found.critical, 2)} or more apart differ{'' if any(worse) else ', and no two are'}."
    shown = f"They do not all rank alike, {p}. {apart}" if found.differ else f"That they differ is not shown, {p}."
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
