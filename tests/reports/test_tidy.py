"""The tidy tables: what a spreadsheet and a data frame read is what the records hold."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from records import CLASSES, case_scores, hostile_folder, make, write

from atso_bench.benchmark.store.record import write_failure
from atso_bench.reports.data import tidy
from atso_bench.reports.data.frame import read

FLOATS = (0.1 + 0.2, 1e-7, 2.0, 1 / 3, 0.0, 1.0)


def written(results: Path) -> tuple[list[dict[str, str]], pyarrow.Table]:
    """The rows of both files."""
    tidy.write_tidy(read(results), results)
    with (results / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), pyarrow.parquet.read_table(results / "results.parquet")


def scored(results: Path) -> Path:
    """Two runs whose scores are hard to write, and one without a score."""
    for seed, (dice, other) in enumerate(zip(FLOATS[::2], FLOATS[1::2], strict=True)):
        names = {CLASSES[0]: case_scores(dice, other), CLASSES[1]: case_scores(None, None, "both", tp=None)}
        write(results, make(seed=seed, cases={"t0": names, 'a "quoted", one': names}))
    return results


def test_every_number_is_read_back_bit_by_bit(tmp_path: Path) -> None:
    rows, table = written(scored(tmp_path))
    assert [float(row["dice"]) for row in rows[::4]] == list(FLOATS[::2])
    assert [float(row["hd95_mm"]) for row in rows[::4]] == list(FLOATS[1::2])
    assert table["dice"].to_pylist()[::4] == list(FLOATS[::2])
    assert {row["case"] for row in rows} == {"t0", 'a "quoted", one'}


def test_what_is_undefined_is_empty_in_the_csv_and_null_in_parquet(tmp_path: Path) -> None:
    rows, table = written(scored(tmp_path))
    assert [(row["tp"], row["fp"], row["dice"], row["empty"]) for row in rows[1::2]] == [("", "2", "", "both")] * 6
    for name in ("tp", "dice"):
        assert table[name].null_count == 6
        assert not pd.isna(table[name].to_pylist()[0])
    assert not np.isnan(table["dice"].drop_null().to_numpy()).any()


def test_both_files_have_the_same_rows_in_the_order_of_the_records(tmp_path: Path) -> None:
    write(tmp_path, make("atso"), make("supervised", "20"), make("supervised", "100"), make("atso", steps=600))
    rows, table = written(tmp_path)
    assert list(rows[0]) == table.column_names
    assert [list(row.values()) for row in rows] == [
        ["" if value is None else str(value) for value in row.values()] for row in table.to_pylist()
    ]
    assert len(rows) == 4 * 2 * 2
    assert [row["key"] for row in rows] == read(tmp_path).scores["key"].tolist()


def test_parquet_has_whole_counts_and_words_as_dictionaries(tmp_path: Path) -> None:
    _, table = written(scored(tmp_path))
    kinds = {field.name: field.type for field in table.schema}
    assert {kinds[name] for name in ("tp", "fp", "fn", "seed", "steps", "labelled_cases")} == {pyarrow.int64()}
    assert {kinds[name] for name in ("dice", "hd95_mm", "labelled_percent")} == {pyarrow.float64()}
    assert all(pyarrow.types.is_dictionary(kinds[name]) for name in ("dataset", "method", "key", "case", "empty"))


def test_a_name_is_no_formula_in_the_csv_and_is_itself_in_parquet(tmp_path: Path) -> None:
    rows, table = written(hostile_folder(tmp_path))
    assert "'=cmd()" in {row["case"] for row in rows}
    assert "=cmd()" in set(table["case"].to_pylist())
    assert len(rows) == table.num_rows


def test_many_rows_are_written_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(scored(tmp_path))
    monkeypatch.setattr(tidy, "_ROWS", 5)
    parts = written(tmp_path)
    assert parts[0] == whole[0]
    assert parts[1].equals(whole[1])


def test_without_a_finished_run_there_are_heads_alone(tmp_path: Path) -> None:
    write_failure(tmp_path, make().spec, "training", RuntimeError("no memory"))
    rows, table = written(tmp_path)
    assert rows == []
    assert (table.num_rows, "dice" in table.column_names) == (0, True)


def test_a_count_that_is_not_whole_makes_its_record_unreadable(tmp_path: Path) -> None:
    wrong = {"t0": {CLASSES[0]: case_scores(tp=2.5)}}
    frames = read(write(tmp_path, make(), make(seed=1, cases=wrong)))
    assert [failure.message for failure in frames.failures] == ["a count must be a whole number"]
    assert set(frames.scores["key"]) == {make().spec.key}
