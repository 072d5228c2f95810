"""What to run: one immutable value that names a run completely."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

Parity = Literal["total", "line", "phase", "time"]
PARITIES: tuple[Parity, ...] = get_args(Parity)

BUDGETS: dict[str, int] = {"smoke": 24, "demo": 1000, "small": 3000, "standard": 50_000}
"""Optimiser steps by name. ``smoke`` shows that everything works, ``demo`` is for the small embedded volumes, ``small``
fits a CPU and is long enough for labels to be what is missing, ``standard`` wants a GPU."""


LATER_RECIPE: dict[str, Any] = {"labelled_share": 0.5, "extra_unlabelled": False}
"""Fields of a recipe that earlier records lack, with the values that those were made with."""


def digest(value: Any, length: int = 12) -> str:
    """Short SHA-256 of a JSON-able value; the same value gives the same digest everywhere."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Budget:
    """The optimiser steps that a method may spend.

    Attributes:
        name: one of ``BUDGETS`` or a number of steps; a dataset picks its recipe by it.
        steps: optimiser steps.
        parity: what is equal for all methods. ``total`` - all trainings of a method together spend ``steps``;
            ``line`` - those that lead to its result, one after another from the initial weights, do; ``phase`` - each
            training does; ``time`` - all trainings and pseudo-labellings together take as long as ``steps`` of
            supervised training.
        scale: with parity ``time`` a method's steps as a multiple of ``steps``, as measured; 1 otherwise.
    """

    name: str
    steps: int
    parity: Parity = "total"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a budget must be at least 1 step, got {self.steps}")
        if self.parity not in PARITIES:
            raise ValueError(f"parity must be one of {', '.join(PARITIES)}, got {self.parity!r}")
        if not self.scale > 0 or (self.scale != 1 and self.parity != "time"):
            raise ValueError(f"a budget has a scale above 0, and one other than 1 with parity time alone; got {self}")

    @property
    def own(self) -> Budget:
        """What a run's trainer has: with parity ``time`` the scaled steps in total."""
        if self.parity != "time":
            return self
        return Budget(self.name, max(1, round(self.steps * self.scale)), "total")

    @property
    def facts(self) -> dict[str, Any]:
        """All fields for a hash. ``scale``, which came later, counts where it is not 1, so that earlier hashes hold."""
        return {name: value for name, value in asdict(self).items() if name != "scale" or value != 1}

    @property
    def halved(self) -> Budget:
        """Half of the steps, with the same recipe."""
        return self.of(max(1, self.steps // 2))

    def of(self, steps: int) -> Budget:
        """The same with other steps, and the same recipe."""
        return replace(self, name=str(steps) if self.name.isdecimal() else self.name, steps=steps)

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


class LabelFraction(str):
    """How much of the training pool is labelled, in its one spelling: ``10`` (percent) or ``16cases``.

    It is text, so that it is written, hashed and compared as what it is; it is read once, wherever it comes in.

    >>> LabelFraction("1/16"), LabelFraction("10%"), LabelFraction("16 cases"), LabelFraction(10)
    ('6.25', '10', '16cases', '10')

    Attributes:
        percent: of the pool; None for a number of cases.
        cases: how many; None for a percentage.
        listed: whether a published list names the labelled cases; such a fraction has a column of its own in tables.
    """

    percent: float | None
    cases: int | None
    listed: bool

    def __new__(cls, text: str | float, *, listed: bool = False) -> LabelFraction:
        """Percent (``10``, ``10%``), a ratio (``1/16``) or a number of cases (``16cases``).

        Raises:
            ValueError: if it is none of these, or not above 0 and at most 100 %.
        """
        bare = str(text).removesuffix(_BY_LIST)
        listed = listed or bare != str(text)
        percent, cases = _amount(bare)
        spelled = f"{percent:.6g}" if cases is None else f"{cases}cases"
        made = super().__new__(cls, spelled + _BY_LIST * listed)
        made.percent, made.cases, made.listed = percent, cases, listed
        return made

    def __getnewargs__(self) -> tuple[str]:
        return (str(self),)

    @property
    def bare(self) -> str:
        """The text without whether it is listed."""
        return self.removesuffix(_BY_LIST)

    @property
    def folder(self) -> str:
        return self.bare if self.cases is not None else f"{self.bare}pct"


_BY_LIST = " by list"


def _amount(text: str) -> tuple[float | None, int | None]:
    """Percent or number of cases; the other is None."""
    raw = text.strip().removesuffix("%").strip()
    if (match := re.fullmatch(r"(\d+)\s*cases?", raw)) and int(match[1]) >= 1:
        return None, int(match[1])
    try:
        percent = float(Fraction(raw) * 100) if "/" in raw and "%" not in text else float(raw)
    except (ValueError, ZeroDivisionError):
        percent = 0.0
    if not 0 < percent <= 100:
        raise ValueError(
            f"a label fraction must be a percentage above 0 and at most 100, a ratio like 1/16, "
            f"or a number of cases like 16cases; got {text!r}"
        )
    return percent, None


@dataclass(frozen=True)
class RunSpec:
    """One cell of the benchmark's grid.

    Attributes:
        dataset: file name in ``datasets/`` without ``.py``, an nnU-Net dataset's name or id, or ``frames-NAME``.
        method: file name in ``methods/`` without ``.py``, spelled with hyphens.
        fraction: how much is labelled; any spelling becomes a ``LabelFraction``.
        seed: drives the split, the initial weights and the batches.
        budget: the optimiser steps.
        configuration: one of the dataset's ``configurations``: nnU-Net's ``2d`` or ``3d_fullres``, or a protocol.
        options: the method's options that differ from its defaults.
        recipe: the recipe's fields that differ from the budget's recipe.
        validation: percent of the training pool that is set apart as validation set; 0 for none.
        scored: the part that the final model is scored on; validation is for tuning, test for results.
        lists: published case lists by part (``pool``, ``labelled``, ``validation``, ``test``), in order.
        split_by: one of the dataset's ``groupings``, which a split keeps whole; empty for its first.
        folds: into how many folds the labelled cases are dealt, each of which is a test set once; 0 for a fixed one.
        fold: which of them is the test set, from 1; 0 stands for all of them together, which is no run.
    """

    dataset: str
    method: str
    fraction: LabelFraction
    seed: int
    budget: Budget
    configuration: str = "2d"
    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    validation: float = 0.0
    scored: Literal["test", "validation"] = "test"
    lists: dict[str, list[str]] = field(default_factory=dict)
    split_by: str = ""
    folds: int = 0
    fold: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fraction", LabelFraction(self.fraction))
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
        if self.folds == 1 or self.folds < 0 or not 0 <= self.fold <= self.folds:
            raise ValueError(f"--folds must be 2 or more, or 0 for a fixed test set, got {self.folds}")
        if self.folds and (self.scored == "validation" or self.lists):
            other = "--split-list" if self.lists else "--scored validation"
            raise ValueError(f"--folds deals all labelled cases into test sets itself; leave out {other}")

    @property
    def key(self) -> str:
        """Hash of every field: two specs are the same run if and only if their keys agree."""
        facts = {**asdict(self), "budget": self.budget.facts}
        if not self.folds:  # keys from before there were folds hold
            del facts["folds"], facts["fold"]
        return digest(facts)

    @property
    def path(self) -> Path:
        """Where the record lies below ``records/``."""
        return Path(self.dataset, self.method, self.fraction.folder, f"seed{self.seed}-{self.key}.json")

    @property
    def title(self) -> str:
        amount = f"{self.fraction.cases} cases" if self.fraction.cases is not None else f"{self.fraction} %"
        which = f"fold {self.fold} of {self.folds}" if self.fold else f"all {self.folds} folds"
        return f"{self.method} on {self.dataset}, {amount}, seed {self.seed}" + f", {which}" * bool(self.folds)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> RunSpec:
        return cls(**{**raw, "budget": Budget(**raw["budget"])})
