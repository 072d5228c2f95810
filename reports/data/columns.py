"""The rows of many records, column by column: rows of Python's objects would take four times the memory."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

WORD, VALUE = "word", "value"
"""Kinds of columns: words of which there are few, and numbers or words of which there are few. Other kinds are NumPy's
type codes: ``d`` is a float, ``q`` a whole number, ``?`` a truth value."""


def typed(kinds: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> list[Any]:
    """Rows to columns of these kinds, for `Columns.add`.

    Raises:
        OverflowError: for a whole number that no file can hold.
    """
    columns = [*zip(*rows, strict=True)] or [()] * len(kinds)
    return [
        column if kind in (WORD, VALUE) else array(_stored(kind), column)
        for kind, column in zip(kinds.values(), columns, strict=True)
    ]


def _stored(kind: str) -> str:
    return "b" if kind == "?" else kind  # one byte each, and Python's arrays know no truth


class Columns:
    """Rows that belong to runs.

    Args:
        kinds: of the columns by their names, without the first, which is ``key``, the run's.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = dict(kinds)
        self._runs: list[tuple[str, int]] = []
        self._few = {name: _Few(kind) for name, kind in kinds.items() if kind in (WORD, VALUE)}
        self._numbers = {name: array(_stored(kind)) for name, kind in kinds.items() if name not in self._few}

    def add(self, key: str, length: int, columns: Sequence[Any]) -> None:
        """The rows of one more run, so many; numbers are arrays of the column's kind, see `typed`."""
        for name, column in zip(self._kinds, columns, strict=True):
            if name in self._few:
                self._few[name].extend(column)
            else:
                self._numbers[name].frombytes(column.tobytes())
        self._runs.append((key, length))

    def extend(self, more: Columns, but: Collection[str] = ()) -> None:
        """Those of other runs behind these; none of the runs ``but``."""
        kept = np.array([key not in but for key, _ in more._runs], dtype=bool)[more._run_of_rows()]
        for name, few in self._few.items():
            few.extend_by(more._few[name], kept)
        for name, numbers in self._numbers.items():
            numbers.frombytes(np.asarray(more._numbers[name])[kept].tobytes())
        self._runs += [run for run in more._runs if run[0] not in but]

    def _run_of_rows(self) -> NDArray[np.intp]:
        lengths = np.array([length for _, length in self._runs], dtype=np.intp)
        return np.arange(len(lengths)).repeat(lengths)

    def frame(self, keys: pd.Index) -> pd.DataFrame:
        """A row per row, in the order in which they came; the key and words are categories, see `spelled`.

        It lies in the memory that holds the rows here: add no more of them.

        Args:
            keys: of the runs, in the order in which they came.
        """
        columns: dict[str, Any] = {"key": pd.Categorical.from_codes(self._run_of_rows(), keys)}
        for name, kind in self._kinds.items():
            few = self._few.get(name)
            columns[name] = few.column() if few else np.asarray(self._numbers[name]).view(kind)
        return pd.DataFrame(columns, copy=False)


def spelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `Columns.frame` with words for categories: eight times the memory, and no surprise in a group."""
    return frame.astype({name: str for name, kind in frame.dtypes.items() if kind == "category"})


class _Few:
    """A column of few different values; 1, 1.0 and True are different here."""

    def __init__(self, kind: str) -> None:
        self._words = kind == WORD
        self._places: dict[Any, int] = {}
        self._column = array("i")

    def extend(self, values: Iterable[Any]) -> None:
        places = self._places
        known = values if self._words else ((type(value), value) for value in values)
        self._column.extend([places.setdefault(value, len(places)) for value in known])

    def extend_by(self, more: _Few, kept: NDArray[np.bool_]) -> None:
        """With those of another column that are ``kept``, without a look at each."""
        places = np.array([self._places.setdefault(each, len(self._places)) for each in more._places], dtype=np.intc)
        self._column.frombytes(places[np.asarray(more._column)[kept]].tobytes())

    def column(self) -> pd.Categorical[str] | NDArray[np.object_]:
        if self._words:
            return pd.Categorical.from_codes(np.asarray(self._column), pd.Index([*self._places], dtype=str))
        return np.array([value for _, value in self._places], dtype=object)[np.asarray(self._column)]
