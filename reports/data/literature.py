"""Published numbers, with unit, source and protocol: shown beside measured ones, and never among them.

``published/<dataset>.yaml`` holds what somebody has read, nothing from memory. One entry is one row of the table: what
one source says of one method. Where sources disagree, the method has several entries. What nobody could read has
``source: null`` and no values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from atso_bench.benchmark.spec import LabelFraction

FOLDER = Path(__file__).parents[1] / "published"
NAMES = {"dice": "Dice", "jaccard": "Jaccard", "miou": "mIoU", "hd95": "HD95", "asd": "ASD", "time": "time"}
OTHER = "published, another protocol: not comparable with ours"
UNSTATED = "published, protocol not stated: not comparable with ours"


class Entry(BaseModel):
    """What one source says of one method.

    Attributes:
        method: as the source calls it; ``supervised`` and ``mean teacher`` as this project does.
        network: of the segmentation, or its encoder; empty where the source does not say.
        source: where the values were read, a key of ``Literature.sources``; None where nobody could read them.
        protocol: a key of ``Literature.protocols``; None where the source does not state it.
        note: what sets the entry apart from others of the same method and source.
        values: metric -> label amount -> value in ``Literature.units``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: str = Field(min_length=1)
    network: str = ""
    source: str | None
    protocol: str | None
    note: str = ""
    values: dict[str, dict[str, float]] = {}

    @model_validator(mode="after")
    def _has_values_from_a_source(self) -> Entry:
        if (self.source is None) == bool(self.values):
            raise ValueError(f"{self.method} needs a source with values, or neither")
        if not all(self.values.values()):
            raise ValueError(f"{self.method} names a metric without values")
        return self


class Literature(BaseModel):
    """The published numbers of one dataset.

    Attributes:
        dataset: file name in ``datasets/``, spelled with hyphens.
        units: metric -> unit; the first metric is the one that a table shows.
        amounts: label amount (``LabelFraction``, of the protocol's own pool) -> the words for a column's head.
        protocols: name -> a sentence; the names of protocols that runs of this project follow are theirs.
        sources: key -> where to look it up.
        remarks: what a reader has to know before comparing anything.
        entries: the rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str
    units: dict[str, str] = Field(min_length=1)
    amounts: dict[str, str] = Field(min_length=1)
    protocols: dict[str, str]
    sources: dict[str, str]
    remarks: list[str] = []
    entries: list[Entry]

    @model_validator(mode="after")
    def _names_only_what_it_explains(self) -> Literature:
        for amount in self.amounts:
            if LabelFraction(amount) != amount:
                raise ValueError(f"{amount!r} is no label amount; write 8cases or a percentage like 12.5")
        for entry in self.entries:
            _check_known(f"source of {entry.method}", [entry.source] if entry.source else [], self.sources)
            _check_known(f"protocol of {entry.method}", [entry.protocol] if entry.protocol else [], self.protocols)
            _check_known(f"metric of {entry.method}", entry.values, self.units)
            for metric, values in entry.values.items():
                _check_known(f"label amount of {entry.method}", values, self.amounts)
                for value in values.values():
                    _check_value(f"{metric} of {entry.method}", value, self.units[metric])
        rows = [(each.method, each.network, each.source, each.protocol, each.note) for each in self.entries]
        if twice := {row for row in rows if rows.count(row) > 1}:
            raise ValueError(f"more than one entry for {sorted(twice, key=str)[0]}; tell them apart in `note`")
        return self


def names() -> list[str]:
    """The datasets that there are published numbers for."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@functools.cache
def literature(dataset: str) -> Literature | None:
    """The published numbers of a dataset; None where there are none.

    Raises:
        ValueError: if the file breaks the rules above.
    """
    return load(FOLDER / f"{dataset}.yaml") if dataset in names() else None


def load(path: Path) -> Literature:
    """Read and check one file.

    Raises:
        ValueError: if it is no YAML or breaks the rules above.
    """
    try:
        found = Literature.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        if found.dataset != path.stem:
            raise ValueError(f"it is about {found.dataset!r}, its name says {path.stem!r}")
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return found


def read(dataset: str) -> list[Entry]:
    """The entries of a dataset; none where nothing was published that somebody has read."""
    found = literature(dataset)
    return list(found.entries) if found else []


def _check_known(what: str, given: Sequence[str] | Mapping[str, object], known: Mapping[str, object]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"unknown {what}: {unknown[0]!r}; there are: {', '.join(known)}")


def _check_value(what: str, value: float, unit: str) -> None:
    if not math.isfinite(value) or value < 0 or (unit == "percent" and not 1 < value <= 100):
        raise ValueError(f"{what} is {value:g}, which is no value in {unit}")
