"""A twentieth of the 10,000 records of `benchmarks/report_scale.py`: what would cost too much there is counted here."""

from __future__ import annotations

import runpy
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from atso_bench.reports import tables
from atso_bench.reports.evidence import evidence
from atso_bench.reports.frame import Frames, Group, read

WRITE = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "report_scale.py"))["write"]
RECORDS = 500  # 50 cells of a comparison, 10 seeds each
PASSES = 4
BYTES = 400
"""Of memory for a row, whose 12 numbers take 96; 220 were measured, and 770 where rows were kept as tuples."""


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    folder = tmp_path_factory.mktemp("records")
    WRITE(folder, RECORDS, cases=4)
    return read(folder)


@pytest.fixture
def passes(frames: Frames, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """How often every row was looked at so far, on average, to find those of some cell."""
    looked = 0
    choose = pd.DataFrame.__getitem__

    def counted(frame: pd.DataFrame, key: Any) -> Any:
        nonlocal looked
        if isinstance(key, pd.Series) and key.dtype.kind == "b":
            looked += len(frame)
        return choose(frame, key)

    monkeypatch.setattr(pd.DataFrame, "__getitem__", counted)
    rows = sum(map(len, (frames.runs, frames.scores, frames.phases, frames.diagnostics)))
    return lambda: looked / rows


def test_the_statistics_do_not_look_at_every_row_again_for_each_cell(
    frames: Frames, passes: Callable[[], float]
) -> None:
    (group,) = frames.groups()
    assert len(evidence(group).estimates) == len(group.cells) == 50
    assert passes() < PASSES


@pytest.mark.parametrize("table", [tables.scores, tables.classes, tables.costs, tables.mimicking, tables.cautions])
def test_a_table_does_not_look_at_every_row_again_for_each_cell(
    frames: Frames, passes: Callable[[], float], table: Callable[[Group], Any]
) -> None:
    (group,) = frames.groups()
    table(group)
    assert passes() < PASSES


def test_a_row_of_scores_takes_little_more_memory_than_its_numbers(tmp_path: Path) -> None:
    peaks = []
    for name, cases in (("warm", 2), ("few", 2), ("many", 52)):
        WRITE(tmp_path / name, 60, cases=cases)
        tracemalloc.start()
        rows = len(read(tmp_path / name).scores)
        peaks.append((tracemalloc.get_traced_memory()[1], rows))
        tracemalloc.stop()
    (_, (few, fewer), (many, more)) = peaks
    assert (many - few) / (more - fewer) < BYTES
