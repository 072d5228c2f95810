"""Methods ranked over datasets at each label fraction: Friedman's test, Nemenyi's critical difference (Demšar 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from atso_bench.reports.drawing import Drawing
from atso_bench.reports.frame import Group
from atso_bench.reports.intervals import Floats
from atso_bench.reports.means import SAME
from atso_bench.reports.page import NONE, Cell, Picture, Section, Table, decimals
from atso_bench.reports.rank_diagram import critical_difference
from atso_bench.reports.rank_fields import FEWEST_DATASETS, FEWEST_METHODS, Field, blocks_of, fields_of
from atso_bench.reports.significance import ALPHA, holm

RESHUFFLED = 9999


@dataclass(frozen=True, eq=False)
class Ranks:
    """Methods ranked within each dataset.

    Attributes:
        scores: a row per method, best mean rank first, a column per dataset.
        ranks: the same of ranks, 1 is best.
        p: of Friedman's test that all methods rank alike.
        critical: Nemenyi's critical difference of mean ranks.
        adjusted: ``p`` by Holm over all rankings of a report.
    """

    scores: pd.DataFrame
    ranks: pd.DataFrame
    p: float
    critical: float
    adjusted: float

    @property
    def means(self) -> pd.Series:
        """Mean rank of each method, ascending."""
        return self.ranks.mean(axis="columns")

    @property
    def differ(self) -> bool:
        """Whether the methods do not all rank alike; without that no two of them are told apart."""
        return self.adjusted < ALPHA

    @property
    def last_alike(self) -> list[int]:
        """For each method the place of the last one that is not shown to rank worse."""
        means = self.means.to_numpy()
        reach = self.critical if self.differ else math.inf
        return [int(np.flatnonzero((means - mean).round(SAME) < round(reach, SAME))[-1]) for mean in means]


def ranks(scores: pd.DataFrame, level: float = ALPHA) -> Ranks:
    """Mean ranks, Friedman's p and the critical difference at ``level``.

    Friedman's p is found by reshuffling within datasets. The textbook's chi-squared is an approximation for many
    datasets, and Iman and Davenport's F raises false alarms with few: docs/statistics.md.

    Args:
        scores: a row per method, a column per dataset, without NaN; a higher score is better.
        level: of the critical difference.
    """
    from scipy import stats

    each = scores.round(SAME).rank(axis="index", ascending=False)
    order = each.mean(axis="columns").sort_values(kind="stable").index
    each = each.loc[order]
    methods, datasets = each.shape
    p = float(
        stats.permutation_test(
            tuple(each.to_numpy()),
            _squares,
            permutation_type="samples",
            alternative="greater",
            vectorized=True,
            n_resamples=RESHUFFLED,
            rng=np.random.default_rng(0),
        ).pvalue
    )
    quantile = stats.studentized_range.ppf(1 - level, methods, np.inf) / math.sqrt(2)
    critical = float(quantile * math.sqrt(methods * (methods + 1) / (6 * datasets)))
    return Ranks(scores.loc[order], each, p, critical, adjusted=p)


def _squares(*methods: Floats, axis: int) -> Floats:
    """Sum of the squared rank sums; all else in Friedman's chi-squared stays the same when ranks are reshuffled."""
    return np.asarray(sum(np.square(method.sum(axis=axis)) for method in methods))


# On the page


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
