"""The classes of a dataset of frames: their names, their numbers in its files, and their colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cityscapesscripts.helpers.labels import name2label

from atso_bench.benchmark.scoring.label_tables import CLASSES, COLOURS


@dataclass(frozen=True)
class FrameClasses:
    """What every pixel is asked for. All classes are scored, a background too.

    Attributes:
        names: in the order of the network's outputs.
        ids: the value of each in the dataset's label files, the first where several stand for it.
        palette: red, green and blue of each from 0 to 255; empty to let the report choose.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    palette: tuple[tuple[int, int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"names": [*self.names], "ids": [*self.ids], "palette": [[*colour] for colour in self.palette]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> FrameClasses:
        return cls(tuple(raw["names"]), tuple(raw["ids"]), tuple((r, g, b) for r, g, b in raw["palette"]))


CITYSCAPES = FrameClasses(CLASSES, tuple(name2label[name].id for name in CLASSES), COLOURS)
