"""A case in its original geometry: the true labels that are scored, and what a picture shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from atso_bench.datasets._shared.storage import quiet
from atso_bench.datasets._volumes.flat import is_flat
from atso_bench.datasets._volumes.raw import Case

if TYPE_CHECKING:
    from atso_bench.benchmark.task import Reference


def true_labels(case: Case, reader: Any, ignore: int | None) -> Reference:
    """The case's label file, with ``IGNORE`` where it has nnU-Net's ignore label.

    Raises:
        OSError: if it cannot be read.
    """
    from atso_bench.benchmark.task import IGNORE, Reference

    with _readable(case.id):
        (label,), properties = reader.read_seg(str(case.label))
    classes = label.astype(np.uint8)
    if ignore is not None:
        classes[label == ignore] = IGNORE
    spacing = tuple(float(value) for value in properties["spacing"])
    flat = is_flat(properties, type(reader).__name__)
    return Reference(classes[0], spacing[1:]) if flat else Reference(classes, spacing)


def first_channel(case: Case, reader: Any) -> np.ndarray:
    """The first channel of the case's image: ``(planes, rows, columns)``, or two axes of a flat one.

    Raises:
        OSError: if it cannot be read.
    """
    with _readable(case.id):
        channels, properties = reader.read_images([str(path) for path in case.images])
    first: np.ndarray = channels[0]
    return first[0] if is_flat(properties, type(reader).__name__) else first


@contextlib.contextmanager
def _readable(case_id: str) -> Iterator[None]:
    """What a reader says of a raw file that was there when the data was prepared, and is not any more."""
    try:
        with quiet():
            yield
    except (RuntimeError, OSError, ValueError) as error:
        told = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise OSError(f"{case_id} cannot be read ({told[-1]}); have its raw data been moved or changed?") from error
