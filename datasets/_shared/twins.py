"""The same image under two names: refused where a split could put the two into different parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

from atso_bench.benchmark.splits import same_images


def twins(
    content: Mapping[str, str], part: Callable[[str], str], group: Callable[[str], str], remedy: str
) -> tuple[list[str], list[str]]:
    """What is wrong, and what ought to be known, a line for each image that is there more than once.

    Args:
        content: case -> hash of its image.
        part: ``pool``, ``test`` or ``unlabelled`` of a case.
        group: what a split does not divide.
        remedy: what to do.
    """
    problems, notes = [], []
    for names in same_images(content):
        told = f"{names[0]}: the same image as {', '.join(names[1:])}"
        pairs = [(part(one), part(other), group(one) == group(other)) for one, other in combinations(names, 2)]
        if any(_can_be_divided(*pair) for pair in pairs):
            problems.append(f"{told}, and a split could divide them; {remedy}")
        elif any(one == other == "test" and not together for one, other, together in pairs):
            notes.append(f"{told}, all in the test set, which counts it more than once")
    return problems, notes


def divisible(part: Callable[[str], str], group: Callable[[str], str]) -> Callable[[str, str], bool]:
    """Whether a split could put two cases into different parts; see `twins` for what it is given."""
    return lambda one, other: _can_be_divided(part(one), part(other), group(one) == group(other))


def _can_be_divided(one: str, other: str, together: bool) -> bool:
    """Whether two parts can hold them. Two test cases stay so, unless a list parts them: make_split sees."""
    if one == other:
        return one == "pool" and not together
    if "test" in (one, other):
        return not together  # the unlabelled cases leave out the test set's groups
    return True  # one is labelled, the other unlabelled
