"""Rows kept column by column: what goes in comes out, and what cannot be kept is refused."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd
import pytest

from atso_bench.reports.data import workers
from atso_bench.reports.data.columns import VALUE, WORD, Columns, spelled, typed

KINDS = {"word": WORD, "value": VALUE, "float": "d", "whole": "q", "truth": "?"}
ROWS = [
    ("a", 1, 0.5, 2**62, True),
    ("b", 1.0, float("nan"), -1, False),
    ("a", True, -1.0, 0, True),
    ("", "", 0.0, 7, False),
]


def columns(**runs: list[tuple]) -> Columns:
    found = Columns(KINDS)
    for key, rows in runs.items():
        found.add(key, len(rows), typed(KINDS, rows))
    return found


def test_rows_come_out_as_they_went_in() -> None:
    frame = spelled(columns(one=ROWS[:1], none=[], two=ROWS[1:]).frame(pd.Index(["one", "none", "two"])))
    expected = pd.DataFrame(ROWS, columns=[*KINDS]).astype({"value": object})
    pd.testing.assert_frame_equal(frame.drop(columns="key"), expected)
    assert [*frame["key"]] == ["one", "two", "two", "two"]
    assert [*map(type, frame["value"])] == [int, float, bool, str]


def test_rows_of_other_records_come_behind_without_those_of_runs_that_are_there() -> None:
    found = columns(one=ROWS[:2])
    found.extend(columns(), ())
    found.extend(columns(one=ROWS, two=ROWS[2:]), {"one"})
    frame = found.frame(pd.Index(["one", "two"]))
    pd.testing.assert_frame_equal(frame, columns(one=ROWS[:2], two=ROWS[2:]).frame(pd.Index(["one", "two"])))


def test_a_whole_number_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(OverflowError):
        typed({"whole": "q"}, [(2**63,)])


def test_libraries_are_imported_early_only_where_other_processes_will_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr(forkserver, "ensure_running", lambda: started.append(1))
    monkeypatch.setattr(workers, "cores", lambda: 2)
    file = tmp_path / "seed0.json"
    file.write_bytes(b"{}")
    workers.prepare([file])
    assert not started
    monkeypatch.setattr(workers, "LARGE", 2)
    workers.prepare([file])
    assert started


def test_nothing_that_takes_long_is_imported_before_the_other_processes_start() -> None:
    asked = "import sys; from atso_bench.reports.data import listing, workers; print(*sys.modules)"
    asked = f"import sys; sys.path[:] = {sys.path}; {asked}"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pandas", "scipy", "matplotlib", "torch"} & {*loaded}
