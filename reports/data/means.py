"""The one way to take a mean that is compared with another: two ways may differ in the last digit."""

from __future__ import annotations

import math
from collections.abc import Iterable

SAME = 12
"""Decimals to which sums of the same numbers in another order agree."""


def mean(values: Iterable[float]) -> float:
    """Of what is defined, rounded to ``SAME`` decimals, so that equal means are equal; NaN where nothing is."""
    defined = [value for value in map(float, values) if not math.isnan(value)]
    return round(math.fsum(defined) / len(defined), SAME) if defined else math.nan
