"""Plans of nnU-Net with one thing changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def change(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(plans: dict[str, Any]) -> None:
        place: Any = plans
        for key in keys[:-1]:
            place = place[key]
        if to is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = to

    return apply


TWO, ARCHITECTURE = ("configurations", "2d"), ("configurations", "2d", "architecture", "arch_kwargs")
