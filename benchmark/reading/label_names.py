"""What the labels of a ``dataset.json`` mean: nnU-Net's form with regions, or the decathlon's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atso_bench.benchmark.reading.user_files import is_printable

LabelValues = dict[str, tuple[int, ...]]
"""Name -> the values in a file that it stands for: one of a class, perhaps several of a region."""


def label_values(labels: Any, path: Path) -> LabelValues:
    """Name -> values, of ``{"organ": 1}``, of regions ``{"whole": [1, 2], "core": [2]}``, or of ``{"1": "organ"}``.

    Args:
        labels: what stands under ``labels``.
        path: the file, for messages.

    Raises:
        ValueError: if it is none of these, or gives two values one name.
    """
    if not isinstance(labels, Mapping):
        raise ValueError(f'{path}: labels must look like {{"background": 0, "organ": 1}}, got {labels!r}')
    if labels and all(key.isdecimal() for key in labels):
        labels = _turned(labels, path)
    try:
        values = {name: _values(value) for name, value in labels.items()}
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{path}: labels must give each name a number, or a region the numbers of its labels, got {labels}"
        ) from error
    if odd := [name for name in values if not is_printable(name)]:
        raise ValueError(f"{path}: the label's name {odd[0]!a} cannot be displayed; use letters")
    return values


def has_regions(values: LabelValues) -> bool:
    """Whether a name stands for several labels: then classes may overlap."""
    return any(len(one) > 1 for one in values.values())


def _turned(labels: Mapping[str, Any], path: Path) -> dict[str, int]:
    """The decathlon's ``{"1": "organ"}`` as ``{"organ": 1}``."""
    if not all(isinstance(name, str) for name in labels.values()):
        raise ValueError(f'{path}: labels must look like {{"background": 0, "organ": 1}}, got {labels}')
    if len(set(labels.values())) < len(labels):
        raise ValueError(f"{path}: two labels have the same name: {labels}; give each its own")
    return {name: int(number) for number, name in labels.items()}


def _values(value: Any) -> tuple[int, ...]:
    several = tuple(map(_whole, value if isinstance(value, list) else [value]))
    if not several or len(set(several)) < len(several):
        raise ValueError
    return several


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or number != float(value):
        raise ValueError
    return number
