"""Cityscapes' label files: their names, the evaluated classes, and the train id of every value, by its own table."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from cityscapesscripts.helpers.labels import labels as TABLE

from atso_bench.benchmark.scoring.metrics import IGNORE

IMAGE = "_leftImg8bit.png"
LABEL_IDS, TRAIN_IDS = "labelIds.png", "labelTrainIds.png"
KINDS = (f"_gtFine_{LABEL_IDS}", f"_gtFine_{TRAIN_IDS}")
"""Endings of label files; where a frame has both, the first is read."""
FRAME = re.compile(r"(?!\.)[^_\s]+_[^_\s]+_[^_.\s]+")
"""A frame's id: ``<city>_<sequence>_<frame>``."""
VOID = IGNORE
UNKNOWN = -1

_EVALUATED = sorted((label for label in TABLE if not label.ignoreInEval), key=lambda label: label.trainId)
CLASSES = tuple(label.name for label in _EVALUATED)
"""The 19 evaluated classes in the order of their train ids."""
COLOURS = tuple(label.color for label in _EVALUATED)
"""Their colours on Cityscapes' own pictures: red, green, blue from 0 to 255."""


@cache
def train_ids(name: str) -> np.ndarray:
    """Value of a label file (0 to 255) -> train id, ``VOID`` for what is not evaluated, ``UNKNOWN`` for any other.

    Args:
        name: the file's, which says whether it holds train ids; any other holds label ids.
    """
    values = np.full(256, UNKNOWN, np.int16)
    by_train_id = name.endswith(TRAIN_IDS)
    for label in TABLE:
        if by_train_id and label in _EVALUATED:
            values[label.trainId] = label.trainId
        elif not by_train_id and label.id >= 0:  # cityscapesscripts draws no licence plate (-1) into these files
            values[label.id] = label.trainId if label in _EVALUATED else VOID
    if by_train_id:
        values[VOID] = VOID
    return values


def expected(name: str) -> str:
    """What the values of a label file may be, and what else it may be that holds others."""
    if name.endswith(TRAIN_IDS):
        return f"train ids are 0 to {len(CLASSES) - 1}, and {VOID} for no class"
    return f"label ids are 0 to {max(label.id for label in TABLE)}, 0 for no class; train ids are named *{TRAIN_IDS}"
