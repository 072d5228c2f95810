"""Notes on splits that are too small. They come before any training, and refuse nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from atso_bench.benchmark.spec import RunSpec

if TYPE_CHECKING:
    from atso_bench.benchmark.splits import Split

FEWEST_TEST = 6
"""Test cases below which nothing can be shown: of 5 pairs, even the clearest has a two-sided p of 0.0625."""


def of_grid(specs: Sequence[RunSpec], splits: Sequence[Split], pool: Sequence[str]) -> list[str]:
    """What ought to be known of the splits of one dataset's runs, each thing once.

    Args:
        specs: the runs.
        splits: of each of them.
        pool: the dataset's cases that may be labelled, with the test set or without.
    """
    said = [note for spec, split in zip(specs, splits, strict=True) for note in of_fraction(spec, split, pool)]
    if any(spec.scored == "test" for spec in specs):
        said += of_test(
            min(len(pool) if spec.folds else len(split.test) for spec, split in zip(specs, splits, strict=True))
        )
    return list(dict.fromkeys([*said, *_same_labels(specs, splits)]))


def of_test(cases: int) -> list[str]:
    """That a test set of so many cases is too small for a significant difference."""
    if cases >= FEWEST_TEST:
        return []
    return [
        f"the test set has {_cases(cases)}, and no difference can be significant with fewer than {FEWEST_TEST}; "
        "give --folds 5 to test on every labelled case once, add labelled test cases, or name a larger test set with "
        "--split-list test=FILE"
    ]


def of_fraction(spec: RunSpec, split: Split, pool: Sequence[str]) -> list[str]:
    """That a percentage is less than half a case, and labels more than it says."""
    percent = spec.fraction.percent
    available = len({*split.labelled, *split.unlabelled} & {*pool, *split.labelled})
    if percent is None or "labelled" in spec.lists or percent * available >= 50:
        return []
    smallest = ceil(Fraction(50_000, available)) / 1000
    meant = f"; a fraction is a percentage: for {percent * 100:g} % write {percent * 100:g}" if percent < 1 else ""
    return [
        f"--fraction {spec.fraction} is less than half a case of the training pool ({_cases(available)}), so "
        f"{_cases(len(split.labelled))} will be labelled; the smallest possible percentage is {smallest:g}{meant}"
    ]


def _same_labels(specs: Sequence[RunSpec], splits: Sequence[Split]) -> Iterator[str]:
    """That several fractions label the same cases and give one point of a curve."""
    held: dict[tuple[int, int, tuple[str, ...]], dict[str, None]] = {}
    for spec, split in zip(specs, splits, strict=True):
        held.setdefault((spec.seed, spec.fold, split.labelled), {})[spec.fraction] = None
    for (*_, labelled), fractions in held.items():
        if len(fractions) > 1:
            same = _cases(len(labelled))
            yield f"fractions {', '.join(fractions)} label the same {same} and give one point of a curve"


def _cases(number: int) -> str:
    return f"{number:,} case{'s' * (number != 1)}"
