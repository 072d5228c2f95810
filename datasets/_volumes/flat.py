"""Which images have two axes: nnU-Net's readers give them a third of one voxel, 999 pixels thick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_flat(properties: Mapping[str, Any], reader: str) -> bool:
    """Whether an image has two axes in its file.

    Args:
        properties: what the reader told of it.
        reader: the reader's name.
    """
    placed = properties.get("sitk_stuff")
    return reader == "NaturalImage2DIO" or (placed is not None and len(placed["spacing"]) == 2)
