"""What to run: one immutable value that names a run completely."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

Parity = Literal["total", "phase"]

BUDGETS: dict[str, int] = {"smoke": 24, "small": 600, "standard": 50_000}
"""Optimiser steps by name. ``smoke`` shows that everything works, ``small`` fits a CPU, ``standard`` wants a GPU."""


def digest(value: Any, length: int = 12) -> str:
    """Short SHA-256 of a JSON-able value; the same value gives the same digest everywhere."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Budget:
    """The optimiser steps that a method may spend.

    Attributes:
        name: ``smoke``, ``small``, ``standard`` or a number of steps; a dataset picks its recipe by it.
        steps: optimiser steps.
        parity: ``total`` - all trainings of a method together spend ``steps``; ``phase`` - each of them does.
    """

    name: str
    steps: int
    parity: Parity = "total"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a budget must be at least 1 step, got {self.steps}")
        if self.parity not in ("total", "phase"):
            raise ValueError(f"parity must be 'total' or 'phase', got {self.parity!r}")

    @classmethod
    def parse(cls, text: str, parity: Parity = "total") -> Budget:
        """``small``; ``small:3000``, its recipe for other steps; or ``3000``, a dataset's own recipe.

        >>> Budget.parse("small:3000").steps
        3000
        """
        name, colon, number = text.partition(":")
        if text in BUDGETS:
            return cls(text, BUDGETS[text], parity)
        if name in BUDGETS and number.isdecimal():
            return cls(name, int(number), parity)
        if colon or not text.isdecimal():
            raise ValueError(
                f"--budget must be one of {', '.join(BUDGETS)}, one of them with other steps (small:3000), "
                f"or a number of steps, got {text!r}"
            )
        return cls(text, int(text), parity)


@dataclass(frozen=True)
class LabelFraction:
    """How much of the training pool is labelled: a percentage or a number of cases.

    >>> LabelFraction.parse("1/16").text, LabelFraction.parse("10%").text, LabelFraction.parse("16cases").text
    ('6.25', '10', '16cases')
    """

    percent: float | None = None
    cases: int | None = None

    @classmethod
    def parse(cls, text: str | float) -> LabelFraction:
        """Percent (``10``, ``10%``), a ratio (``1/16``) or a number of cases (``16cases``).

        Raises:
            ValueError: if it is none of these, or not above 0 and at most 100 %.
        """
        wrong = ValueError(
            f"a label fraction must be a percentage above 0 and at most 100, a ratio like 1/16, "
            f"or a number of cases like 16cases; got {str(text)!r}"
        )
        raw = str(text).strip().removesuffix("%").strip()
        if match := re.fullmatch(r"(\d+)\s*cases?", raw):
            if int(match[1]) < 1:
                raise wrong
            return cls(cases=int(match[1]))
        try:
            percent = float(Fraction(raw) * 100) if "/" in raw and "%" not in str(text) else float(raw)
        except (ValueError, ZeroDivisionError):
            raise wrong from None
        if not 0 < percent <= 100:
            raise wrong
        return cls(percent=percent)

    @property
    def text(self) -> str:
        """The canonical spelling; ``parse`` reads it back."""
        return f"{self.cases}cases" if self.cases is not None else f"{self.percent:.6g}"

    @property
    def folder(self) -> str:
        return self.text if self.cases is not None else f"{self.text}pct"


@dataclass(frozen=True)
class RunSpec:
    """One cell of the benchmark's grid.

    Attributes:
        dataset: file name in ``datasets/`` without ``.py``, or an nnU-Net dataset's name or id.
        method: file name in ``methods/`` without ``.py``, spelled with hyphens.
        fraction: ``LabelFraction.text``.
        seed: drives the split, the initial weights and the batches.
        budget: the optimiser steps.
        configuration: one of the dataset's ``configurations``: nnU-Net's ``2d`` or ``3d_fullres``, or a protocol.
        options: the method's options that differ from its defaults.
        recipe: the recipe's fields that differ from the budget's recipe.
        validation: percent of the training pool that is set apart as V; 0 for none.
        scored: the part that the final model is scored on; V is for tuning, T for results.
        lists: published case lists by part (``pool``, ``labelled``, ``validation``, ``test``), in order.
        split_by: one of the dataset's ``groupings``, which a split keeps whole; empty for its first.
    """

    dataset: str
    method: str
    fraction: str
    seed: int
    budget: Budget
    configuration: str = "2d"
    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    validation: float = 0.0
    scored: Literal["test", "validation"] = "test"
    lists: dict[str, list[str]] = field(default_factory=dict)
    split_by: str = ""

    def __post_init__(self) -> None:
        if LabelFraction.parse(self.fraction).text != self.fraction:
            raise ValueError(f"{self.fraction!r} is not a canonical label fraction; use LabelFraction.parse(...).text")
        for name in (self.dataset, self.method):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(
                    f"the name of a dataset or method may hold letters, digits, '-', '_' and '.', got {name!r}"
                )
        if self.seed < 0:
            raise ValueError(f"a seed must be at least 0, got {self.seed}")
        if not 0 <= self.validation < 100:
            raise ValueError(f"--validation must be a percentage from 0 to below 100, got {self.validation}")
        if self.scored == "validation" and not (self.validation or "validation" in self.lists):
            raise ValueError("--scored validation needs a validation set; give --validation PERCENT")

    @property
    def key(self) -> str:
        """Hash of every field: two specs are the same run if and only if their keys agree."""
        return digest(asdict(self))

    @property
    def path(self) -> Path:
        """Where the record lies below ``records/``."""
        folder = LabelFraction.parse(self.fraction).folder
        return Path(self.dataset, self.method, folder, f"seed{self.seed}-{self.key}.json")

    @property
    def title(self) -> str:
        fraction = LabelFraction.parse(self.fraction)
        amount = f"{fraction.cases} cases" if fraction.cases is not None else f"{fraction.text} %"
        return f"{self.method} on {self.dataset}, {amount}, seed {self.seed}"

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> RunSpec:
        return cls(**{**raw, "budget": Budget(**raw["budget"])})
