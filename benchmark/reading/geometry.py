"""Whether two files cover the same place: size, spacing, origin and direction, within what headers are rounded to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

SPACING = 1e-3
"""Of the larger one: relative, since voxels are metres or micrometres large."""
DIRECTION = 1e-3
"""Of a cosine."""
ORIGIN = 0.01
"""Of the smallest voxel's side, and ``FLOAT`` of the coordinate: NIfTI keeps 32 bits of it."""
FLOAT = 1e-6

Numbers = Sequence[float]


def differs(what: str, one: Numbers, other: Numbers, spacing: Numbers) -> bool:
    """Whether these are not the same ``size``, ``spacing``, ``origin`` or ``direction``, but for rounding.

    Args:
        what: which of the four.
        one: of one file.
        other: of the other one.
        spacing: of one of them.
    """
    if len(one) != len(other):
        return True
    first, second = np.asarray(one, float), np.asarray(other, float)
    larger = np.maximum(abs(first), abs(second))
    slack = {
        "size": 0.0,
        "spacing": SPACING * larger,
        "origin": ORIGIN * min(map(abs, spacing)) + FLOAT * larger,
        "direction": DIRECTION,
    }[what]
    return not bool((abs(first - second) <= slack).all())


def differences(
    one: Mapping[str, Numbers], other: Mapping[str, Numbers], names: tuple[str, str], ignored: Sequence[str] = ()
) -> Iterator[str]:
    """In words with numbers, what is not the same; what one of the two does not say is not compared.

    Args:
        one: ``size``, ``spacing``, ``origin`` and ``direction``, or fewer of them.
        other: of the other file.
        names: of the two, as in "the prediction's" and "the reference's".
        ignored: what need not be the same.
    """
    for what, mine in one.items():
        its = other.get(what, ())
        if what in ignored or not (len(mine) and len(its)):
            continue
        if differs(what, mine, its, one["spacing"]):
            yield f"{names[0]} {what} is {_shown(mine, its)}, {names[1]} {_shown(its, mine)}"


def _shown(numbers: Numbers, others: Numbers) -> str:
    """Six digits, or all of them where six do not tell the two apart."""
    short, its = (" ".join(f"{value:.6g}" for value in each) for each in (numbers, others))
    return short if short != its else " ".join(repr(float(value)) for value in numbers)
