"""Which classes are scored, and a segmentation's labels in their order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.reading.label_names import LabelValues, has_regions, label_values
from atso_bench.benchmark.reading.masks import Mask, read_mask
from atso_bench.benchmark.reading.user_files import read_object


@dataclass(frozen=True)
class Classes:
    """Values of the foreground classes by name, and the value to ignore.

    Attributes:
        values: name -> its values; those of regions may overlap.
        ignore: the value to leave out where the reference has it.
        source: where they are from.
        ignore_origin: whether ``dataset.json`` says that origin and direction of a pair need not be the same.
    """

    values: LabelValues
    ignore: int | None
    source: str
    ignore_origin: bool = False

    @property
    def known(self) -> set[int]:
        return {0, *(value for values in self.values.values() for value in values)}

    @property
    def layers(self) -> list[list[str]]:
        """The names, in groups of which no two share a value: each group fits into one array of labels."""
        layers: list[tuple[list[str], set[int]]] = []
        for name, values in self.values.items():
            names, taken = next((layer for layer in layers if layer[1].isdisjoint(values)), ([], set()))
            if not names:
                layers.append((names, taken))
            names.append(name)
            taken.update(values)
        return [names for names, _ in layers]

    @property
    def kind(self) -> type[np.integer]:
        """What labels are kept in: a byte if they fit."""
        return np.uint8 if len(self.values) < np.iinfo(np.uint8).max else np.int32

    @property
    def left_out(self) -> int:
        """The label of voxels that are ignored, which no class has."""
        return int(np.iinfo(self.kind).max)

    def labels(self, mask: Mask, names: list[str], *, ignore: bool) -> NDArray:
        """Labels 0, 1 .. K in the order of ``names``, and ``left_out`` where the value says so.

        Raises:
            ValueError: if the file holds what is no label.
        """
        new = dict.fromkeys(self.known, 0)
        new |= {value: index for index, name in enumerate(names, 1) for value in self.values[name]}
        if ignore and self.ignore is not None:
            new[self.ignore] = self.left_out
        result = np.zeros(mask.array.shape, self.kind)
        unknown: set[int] = set()
        for block, labels in mask.labels():
            found, places = _distinct(labels)
            unknown |= set(found) - set(new)
            result[block] = np.array([new.get(value, 0) for value in found], self.kind)[places]
        if unknown:
            known = {name: values[0] if len(values) == 1 else list(values) for name, values in self.values.items()}
            raise ValueError(f"{mask.path} holds {sorted(unknown)[:5]}, which are no labels of {self.source}: {known}")
        return result


def named_classes(predictions: Path, references: Path) -> Classes | None:
    """The classes that a ``dataset.json`` names; None without one."""
    for folder in (references, references.resolve().parent, predictions):
        path = folder / "dataset.json"
        if not path.exists():
            continue
        content = read_object(path)
        values = label_values(content.get("labels", {}), path)
        ignore = values.pop("ignore", (None,))[0]
        foreground = {name: own for name, own in values.items() if own != (0,)}
        several = [value for own in foreground.values() for value in own]
        shared = len(set(several)) < len(several) and not has_regions(foreground)
        if shared or {0, ignore} & set(several) or ignore == 0:
            raise ValueError(f"{path} must give every class its own value, but its labels are {content['labels']}")
        if foreground:
            return Classes(foreground, ignore, str(path), bool(content.get("ignore_origin")))
    return None


def found_classes(predictions: Iterable[Path], references: Iterable[Path]) -> tuple[Classes, list[str]]:
    """Every value but 0 that occurs in a file is a class; and a note where the two sides share none."""
    mine, its = (sorted(set().union(*map(_values, paths)) - {0}) for paths in (predictions, references))
    values = sorted({*mine, *its})
    if not values:
        raise ValueError("no file holds a label other than 0, and no dataset.json names the classes")
    notes = []
    if mine and its and not set(mine) & set(its):
        notes.append(
            f"predictions hold {_listed(mine)}, references {_listed(its)}: no label in common, so nothing can agree; "
            "give both the same numbers"
        )
    return Classes({f"class {value}": (value,) for value in values}, None, "the files"), notes


def _values(path: Path) -> set[int]:
    return {value for _, labels in read_mask(path).labels() for value in _distinct(labels)[0]}


def _distinct(labels: NDArray[np.int64]) -> tuple[list[int], NDArray]:
    """The values that occur, and for each element the place of its value among them."""
    low, high = int(labels.min()), int(labels.max())
    if high - low >= 1 << 16:
        found, inverse = np.unique(labels, return_inverse=True)
        return found.tolist(), inverse.reshape(labels.shape)
    shifted = labels - low  # counted, not sorted
    occurs = np.bincount(shifted.ravel()) > 0
    return (np.flatnonzero(occurs) + low).tolist(), (np.cumsum(occurs) - 1)[shifted]


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values[:5])) + (" ..." if len(values) > 5 else "")
