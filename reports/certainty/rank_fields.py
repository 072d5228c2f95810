"""Which scores are ranked over datasets: methods and datasets without a gap, at each label fraction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from atso_bench.benchmark.spec import LabelFraction
from atso_bench.reports.data.frame import Group
from atso_bench.reports.data.means import mean
from atso_bench.reports.words import count, plain, shared

FEWEST_METHODS, FEWEST_DATASETS = 3, 5


@dataclass(frozen=True, eq=False)
class Field:
    """What may be ranked at one label fraction with one kind of budget.

    Attributes:
        title: the label fraction, and the budget where there are several.
        slug: the same as the stem of a file's name.
        scores: mean over seeds, a row per method, a column per dataset; no gap.
        lower: the datasets whose metric is the better the lower it is.
        left_out: sentences on methods and datasets that are not in it.
        chosen: whether some dataset had several comparisons to choose from.
    """

    title: str
    slug: str
    scores: pd.DataFrame
    left_out: list[str]
    chosen: bool
    lower: frozenset[str] = frozenset()

    @property
    def enough(self) -> bool:
        """Whether there are datasets and methods enough."""
        return _enough(self.scores)

    @property
    def size(self) -> str:
        methods, datasets = self.scores.shape
        return f"{count(methods, 'method')} on {count(datasets, 'dataset')}"


def _enough(scores: pd.DataFrame) -> bool:
    return bool(scores.shape[0] >= FEWEST_METHODS and scores.shape[1] >= FEWEST_DATASETS)


def fields_of(groups: Sequence[Group], blocks: dict[str, str]) -> Iterator[Field]:
    """A field for each kind of budget and of test set, and each label fraction that two datasets share."""
    kinds = list(dict.fromkeys(map(_kind, groups)))
    for kind in kinds:
        parity, budget, folds = kind
        same = [group for group in groups if _kind(group) == kind]
        for fraction in sorted({text for group in same for text in group.fractions}, key=_amount):
            title, slug = _head(fraction), f"critical-difference-{fraction}"
            if len(kinds) > 1:
                title += f", budget {budget} {shared(parity)}" + f", {folds} folds" * bool(folds)
                slug += f"-{budget}-{parity}" + f"-{folds}-folds" * bool(folds)
            found = _field(same, fraction, blocks, title, re.sub(r"[^A-Za-z0-9.]+", "-", slug))
            if found is not None:
                yield found


def _kind(group: Group) -> tuple[str, str, int]:
    return group.facts["parity"], group.facts["budget"], group.facts["folds"]


def _field(groups: Sequence[Group], fraction: str, blocks: dict[str, str], title: str, slug: str) -> Field | None:
    columns: dict[str, list[tuple[pd.Series, int, Group]]] = {}
    unequal: dict[str, None] = {}
    for group in groups:
        runs = group.runs[(group.runs.fraction == fraction) & ~group.runs.upper]
        means = runs.groupby("label")["score"].agg(mean).dropna()
        if (runs.groupby("seed")["split"].nunique() > 1).any():
            unequal[group.facts["dataset"]] = None
        elif len(means):
            columns.setdefault(blocks[group.facts["dataset"]], []).append((means, len(runs), group))
    if len(columns) < 2:
        return None
    taken, lower = {}, set()
    for choices in columns.values():
        means, _, group = max(choices, key=lambda choice: (len(choice[0]), choice[1]))
        facts = group.facts
        exact = f", {plain(facts['configuration'])}, {facts['steps']:,} steps" if len(choices) > 1 else ""
        name = f"{facts['dataset']}{exact}"
        taken[name] = means
        lower |= set() if group.metric.higher else {name}
    labels = list(dict.fromkeys(label for group in groups for label in group.labels))
    table = pd.DataFrame(taken).reindex(labels).dropna(how="all")
    whole = _without_gaps(table)
    reasons = {
        "no score on every dataset ranked": [name for name in table.index if name not in whole.index],
        "no score of every method ranked": [name for name in table.columns if name not in whole.columns],
        "methods with different splits": list(unequal),
    }
    left_out = [f"Left out ({why}): {', '.join(names)}." for why, names in reasons.items() if names]
    return Field(title, slug, whole, left_out, any(len(choices) > 1 for choices in columns.values()), frozenset(lower))


def _without_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """The methods that were run on most datasets, so many of them that the most scores are left without a gap."""
    order = table.notna().sum(axis="columns").sort_values(ascending=False, kind="stable").index
    choices = [table.loc[order[:methods]].dropna(axis="columns") for methods in range(1, len(order) + 1)]
    return max(choices, key=lambda choice: (_enough(choice), choice.size))


def blocks_of(groups: Sequence[Group]) -> dict[str, str]:
    """The block of each dataset: its own, or an earlier one's with the same test set, for such two are not independent.

    It is the same if it has the same cases, by name, and the same true labels: as many elements of each class in each
    case. Names alone may be as good as none: ``case_001`` is in many datasets.
    """
    blocks: dict[str, str] = {}
    owners: dict[str, str] = {}
    for group in groups:
        dataset, references = group.facts["dataset"], _references(group)
        test = repr([*(group.facts[name] for name in ("test", "metric", "classes")), references or dataset])
        block = blocks.setdefault(dataset, owners.get(test, dataset))
        owners.setdefault(test, block)
    return blocks


def _references(group: Group) -> list[tuple[str, str, float]]:
    """Size of each class in each test case, voxels or pixels; empty where a record does not say them."""
    one = group.bare[group.bare["key"] == group.runs["key"].iloc[0]]  # they are the same for all runs
    sizes = one["tp"] + one["fn"]
    if sizes.isna().any():
        return []
    return sorted(zip(map(str, one["case"]), map(str, one["class"]), sizes.tolist(), strict=True))


def _amount(fraction: str) -> tuple[bool, float, str]:
    parsed = LabelFraction(fraction)
    return parsed.cases is not None, float(parsed.cases or parsed.percent or 0), fraction


def _head(fraction: str) -> str:
    parsed = LabelFraction(fraction)
    amount = f"{parsed.bare} % of the labels" if parsed.cases is None else count(parsed.cases, "labelled case")
    return amount + (", published list" if parsed.listed else "")
