"""Published numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atso_bench.reports.data.literature import NAMES, OTHER, UNSTATED, Entry, Literature, literature
from atso_bench.reports.pages.page import Cell, Table
from atso_bench.reports.words import NONE, count


def table(dataset: str, ours: Mapping[str, Sequence[str]] | None = None) -> Table | None:
    """Published numbers as a table of their own: a row per method and source, a column per label amount.

    Args:
        dataset: file name in ``datasets/``, spelled with hyphens.
        ours: the protocols that our runs follow -> in what the runs differ from it.

    Returns:
        None where there are no published numbers.
    """
    found = literature(dataset)
    if found is None:
        return None
    rows = []
    for entry in found.entries:
        source = Cell(found.sources[entry.source]) if entry.source else Cell(NONE, "source not available")
        protocol = Cell(entry.protocol or NONE, status(entry, ours or {})) if entry.source else Cell(NONE)
        row = [Cell(entry.method, entry.note), Cell(entry.network or NONE), source, protocol]
        rows.append([*row, *(_values(entry, amount, found) for amount in found.amounts)])
    metric, unit = next(iter(found.units.items()))
    caption = f"Published {NAMES.get(metric, metric)} ({unit}), not measured here"
    heads = ["method", "network", "source", "protocol", *found.amounts.values()]
    return Table(caption, heads, rows, words=4, long=True)


def words(dataset: str, ours: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The sentences that stand above the table: how to read it, the protocols, what else to know."""
    found = literature(dataset)
    if found is None:
        return []
    mine = [name for name in found.protocols if name in (ours or {})]
    same = f"Our runs follow {' or '.join(mine)}." if mine else "Our runs follow none of these protocols."
    said = [
        "Each row is the result of one source for one method, under that source's protocol. Where sources disagree, "
        f"all are shown. A dash: the source was not available. {same}",
    ]
    said += [f"Protocol {name}: {text}" for name, text in found.protocols.items()]
    return said + found.remarks


def status(entry: Entry, ours: Mapping[str, Sequence[str]]) -> str:
    """Whether an entry may be held against our runs."""
    if entry.protocol is None:
        return UNSTATED
    if entry.protocol not in ours:
        return OTHER
    differs = ours[entry.protocol]
    if differs:
        return f"published, the protocol of our runs, except for {count(len(differs), 'difference')}"
    return "published, the same protocol as ours"


def _values(entry: Entry, amount: str, found: Literature) -> Cell:
    """The table's metric, and the others in small print."""
    first, *others = found.units
    value = entry.values.get(first, {}).get(amount)
    rest = [
        f"{NAMES.get(metric, metric)} {entry.values[metric][amount]:g} ({found.units[metric]})"
        for metric in others
        if amount in entry.values.get(metric, {})
    ]
    return Cell(NONE if value is None else f"{value:g}", ", ".join(rest))
