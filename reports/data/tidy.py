"""All scores as one tidy table, a row per run, case and class: ``results.csv`` and ``results.parquet``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from atso_bench.benchmark.scoring.evaluate import harmless
from atso_bench.benchmark.store.files import atomic
from atso_bench.reports.data.frame import Frames
from atso_bench.reports.data.rows import COUNTS, METRICS, VOLUMES

if TYPE_CHECKING:
    import pyarrow

_RENAMED = {"labelled": "labelled_cases", "percent": "labelled_percent"}
_ABOUT = (
    *("comparison", "dataset", "configuration", "method", "options", "fraction", "labelled", "percent"),
    *("seed", "steps", "parity", "key"),
)
_RATIOS = (*METRICS, *VOLUMES)
_COLUMNS = (*(_RENAMED.get(name, name) for name in _ABOUT), "case", "class", *COUNTS, *_RATIOS, "empty")
_WHOLE = ("labelled_cases", "seed", "steps", *COUNTS)
_FRACTIONS = ("labelled_percent", *_RATIOS)
_ROWS, _LINES = 2**17, 2**14
"""So many rows of the Parquet file are in memory at a time, and so many lines of the CSV."""


def write_tidy(frames: Frames, folder: Path) -> None:
    """Write both files.

    In the CSV an apostrophe stands before a name that a spreadsheet would take for a formula. In the Parquet file names
    are as they are, words are dictionaries, counts are integers, and what is undefined is null.
    """
    runs = frames.runs.reindex(columns=list(_ABOUT)).rename(columns=_RENAMED)  # no column where no run was finished
    runs["options"] = [json.dumps(options, sort_keys=True, ensure_ascii=False) for options in runs["options"]]
    run = frames.scored_run
    with atomic(folder / "results.csv") as partial:
        _write_csv(partial, runs, run, frames.scores)
    with atomic(folder / "results.parquet") as partial:
        _write_parquet(partial, runs, run, frames.scores)


def _stretches(rows: int, most: int) -> list[slice]:
    return [slice(start, start + most) for start in range(0, max(1, rows), most)]


# CSV


def _write_csv(path: Path, runs: pd.DataFrame, run: NDArray[np.integer[Any]], scores: pd.DataFrame) -> None:
    """By hand: pandas takes each number through Python, ten times as long, and pyarrow quotes every word."""
    heads = [",".join(map(_cell, row)).encode() for row in runs.itertuples(index=False, name=None)]
    with path.open("wb") as file:
        file.write(",".join(_COLUMNS).encode() + b"\n")
        for rows in _stretches(len(run), _LINES):
            part = scores.iloc[rows]
            columns = (_words(part["case"]), _words(part["class"]), _counts(part), _ratios(part), _words(part["empty"]))
            head = (heads[place] for place in run[rows])
            file.writelines(b",".join(row) + b"\n" for row in zip(head, *columns, strict=True))


def _words(column: pd.Series) -> Iterator[bytes]:
    places, words = pd.factorize(column)
    cells = [_cell(word).encode() for word in words]
    return (cells[place] for place in places)


def _cell(value: object) -> str:
    text = harmless(value) if isinstance(value, str) else str(value)
    return '"{}"'.format(text.replace('"', '""')) if any(sign in text for sign in ',"\r\n') else text


def _ratios(scores: pd.DataFrame) -> list[bytes]:
    return _numbers(np.ascontiguousarray(scores[list(_RATIOS)].to_numpy()))


def _counts(scores: pd.DataFrame) -> list[bytes]:
    counts = scores[list(COUNTS)].to_numpy()
    if np.isnan(counts).any():  # integers have no NaN
        return _numbers([[None if np.isnan(number) else int(number) for number in row] for row in counts])
    return _numbers(np.ascontiguousarray(counts, dtype=np.int64))


def _numbers(table: object) -> list[bytes]:
    """``(rows, columns)`` to each row's text, with as many digits as it takes to read the same back: ``0.5,,4.0``."""
    text = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)
    return text[2:-2].replace(b"null", b"").split(b"],[") if len(text) > len("[]") else []


# Parquet


def _write_parquet(path: Path, runs: pd.DataFrame, run: NDArray[np.integer[Any]], scores: pd.DataFrame) -> None:
    import pyarrow
    import pyarrow.parquet

    numbers = {name: column.to_numpy(float) for name, column in runs.items() if name in (*_WHOLE, *_FRACTIONS)}
    numbers |= {name: scores[name].to_numpy() for name in (*COUNTS, *_RATIOS)}
    words = {name: _coded(column) for name, column in runs.items() if name not in numbers}
    words |= {name: _coded(scores[name]) for name in scores if name not in numbers and name not in words}
    index, whole = pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), dict.fromkeys(_WHOLE, pyarrow.int64())
    kinds = {**dict.fromkeys(_COLUMNS, index), **dict.fromkeys(_FRACTIONS, pyarrow.float64()), **whole}
    schema = pyarrow.schema(kinds)

    def column(name: str, rows: slice) -> pyarrow.Array:
        these = run[rows] if name in runs else rows
        if name in numbers:
            return pyarrow.array(numbers[name][these], from_pandas=True).cast(kinds[name])
        places, known = words[name]
        return pyarrow.DictionaryArray.from_arrays(places[these], known)

    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _stretches(len(run), _ROWS):
            writer.write_table(pyarrow.table([column(name, rows) for name in _COLUMNS], schema=schema))
    pyarrow.default_memory_pool().release_unused()  # about 30 MB, which it would keep for its own next use


def _coded(column: pd.Series) -> tuple[NDArray[np.int32], pyarrow.Array]:
    """The place of each row's word among the words, and these."""
    import pyarrow

    found, words = pd.factorize(column)
    return np.asarray(found, dtype=np.int32), pyarrow.array([str(word) for word in words], pyarrow.string())
