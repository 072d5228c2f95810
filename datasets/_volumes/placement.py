"""Where an image lies, from what nnU-Net's readers tell of it: in one form, so that image and label can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atso_bench.benchmark.reading.geometry import Numbers

_RIGHT_ANGLE = 1e-3
"""Of a cosine, as far as ITK takes axes for orthogonal."""


def placement(properties: Mapping[str, Any]) -> dict[str, Numbers]:
    """``spacing`` by x, y, z and, where the format has them, ``origin`` and ``direction``, row by row.

    They are as the reader has them: in ITK's directions, or in nibabel's.
    """
    spacing = tuple(float(size) for size in properties["spacing"])[::-1]
    if (itk := properties.get("sitk_stuff")) is not None:
        axes = min(len(itk["spacing"]), 3)  # a fourth holds the channels
        cosines = np.reshape(itk["direction"], (len(itk["spacing"]), -1))[:axes, :axes]
        placed = {"spacing": itk["spacing"][:axes], "origin": itk["origin"][:axes]}
        return {**placed, "direction": cosines.ravel().tolist()}
    if (nifti := properties.get("nibabel_stuff")) is None:
        return {"spacing": spacing}
    affine = np.asarray(nifti.get("reoriented_affine", nifti["original_affine"]), float)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / np.where(lengths > 0, lengths, 1)
    return {"spacing": spacing, "origin": affine[:3, 3].tolist(), "direction": direction.ravel().tolist()}


def orientation(direction: Sequence[float], nibabel: bool) -> str:
    """The way that the axes run, as in LPS; empty for flat images, and where nothing is known.

    Args:
        direction: cosines, row by row.
        nibabel: whether they are in nibabel's directions, which run to the right and to the front.
    """
    if len(direction) != 9:
        return ""
    matrix = np.reshape(direction, (3, 3)) * (np.array([[-1], [-1], [1]]) if nibabel else 1)
    main = abs(matrix).argmax(axis=0)
    return "".join("RAI"[row] if matrix[row, axis] < 0 else "LPS"[row] for axis, row in enumerate(main))


def is_sheared(direction: Sequence[float]) -> bool:
    """Whether axes are not at right angles."""
    side = math.isqrt(len(direction))
    matrix = np.reshape(direction, (side, side))
    return bool((abs(matrix.T @ matrix - np.eye(side)) > _RIGHT_ANGLE).any())
