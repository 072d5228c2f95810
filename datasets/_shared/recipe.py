"""What a recipe's fields may be: overrides are checked here before anything is made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Rule = tuple[Callable[[Any], bool], str]
"""Whether a value is allowed, and what is wanted in words."""


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def between(low: float, high: float, *, closed: bool = False) -> Callable[[Any], bool]:
    """Numbers above ``low`` (or equal to it, if closed) and below ``high``."""
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (low < value < high or (closed and value == low))
    )


def one_of(*words: Any) -> Rule:
    return (lambda value: any(value == word and type(value) is type(word) for word in words)), " or ".join(
        map(str, words)
    )


TRUTH: Rule = ((lambda value: isinstance(value, bool)), "true or false")
COMMON: dict[str, Rule] = {
    "patch": (
        (lambda value: isinstance(value, list | tuple) and bool(value) and all(map(whole, value))),
        "a list like [48,48]",
    ),
    "batch": (whole, "a whole number, at least 1"),
    "lr": (between(0, math.inf), "a number above 0"),
    "momentum": (between(0, 1), "a number above 0 and below 1"),
    "nesterov": TRUTH,
    "weight_decay": (between(0, math.inf, closed=True), "a number, at least 0"),
    "clip": ((lambda value: value is None or between(0, math.inf)(value)), "a number above 0, or null for none"),
    "mirror": TRUTH,
    "mirror_pseudo": TRUTH,
    "labelled_share": (between(0, 1), "a share above 0 and below 1"),
    "extra_unlabelled": TRUTH,
}
"""The rules of the fields of ``Recipe``."""


def check(overrides: Mapping[str, Any], more: Mapping[str, Rule]) -> None:
    """Refuse an override that is unknown, of the wrong type or out of range; the value itself is left as it is.

    Args:
        overrides: fields by name.
        more: rules of the track's own fields, beside ``COMMON``.

    Raises:
        ValueError: naming the field.
    """
    rules = {**COMMON, **more}
    if unknown := sorted(set(overrides) - set(rules)):
        raise ValueError(f"unknown recipe field(s) {', '.join(unknown)}; known: {', '.join(rules)}")
    for name, value in overrides.items():
        good, wanted = rules[name]
        if not good(value):
            raise ValueError(f"recipe.{name} must be {wanted}, got {value!r}")
