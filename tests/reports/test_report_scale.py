"""A twentieth of the 10,000 records of `benchmarks/report_scale.py`: what would cost too much there is counted here."""

from __future__ import annotations

import pickle
import runpy
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import pytest

from atso_bench.reports.build import build
from atso_bench.reports.certainty.evidence import evidence
from atso_bench.reports.data import listing, reading, workers
from atso_bench.reports.data.frame import Frames, Group, read
from atso_bench.reports.pages import tables
from atso_bench.reports.pages.page import Cell, Section, Table, to_markdown

WRITE = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "report_scale.py"))["write"]
RECORDS = 500  # 50 cells of a comparison, 10 seeds each
PASSES = 4
BYTES = 300
"""Of memory for a row, whose 12 numbers take 96; 230 were measured, and 770 where rows were kept as tuples."""
KEPT = 120
"""Of memory for a row that is kept or sent: 108 were measured, 157 (sent: 190) where words were spelled out."""


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


def test_a_row_that_is_kept_takes_little_more_than_its_numbers(frames: Frames) -> None:
    assert frames.scores.memory_usage(deep=True, index=False).sum() / len(frames.scores) < KEPT


def test_a_comparison_goes_to_another_process_without_what_that_process_can_make(frames: Frames) -> None:
    (group,) = frames.groups()
    assert len(pickle.dumps(group.bare)) / len(group.bare) < KEPT


def test_many_files_are_read_in_parts_and_few_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITE(tmp_path, 30, cases=2)
    size = sum(file.stat().st_size for file in listing.record_files(tmp_path))
    for most, parts in ((size + 1, 1), (size // 3, 3)):
        monkeypatch.setattr(reading, "BYTES", most)
        given: list[int] = []

        def each(function: Callable[..., Any], files: Any, results: Any) -> Any:
            for part, folder in zip(files, results, strict=False):
                given.append(len(part))  # noqa: B023
                yield function(part, folder)

        assert len(read(tmp_path, each).runs) == 30
        assert len(given) == parts


def test_other_processes_read_and_draw_what_this_one_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two comparisons, one record twice and one torn, in parts of one or two files."""
    for name, natural in (("one", False), ("two", True)):
        WRITE(tmp_path / name, 12, natural, cases=3)
    results = tmp_path / "one"
    shutil.copytree(tmp_path / "two" / "records", results / "records", dirs_exist_ok=True)
    first, *_, last = sorted((results / "records").rglob("seed*.json"))
    shutil.copy(first, first.parent.parent / first.name)
    last.write_bytes(last.read_bytes()[:-20])
    made = []
    for large in (2**60, 0):
        monkeypatch.setattr(workers, "LARGE", large)
        monkeypatch.setattr(reading, "BYTES", 2**13)
        monkeypatch.setattr(workers, "cores", lambda: 2)
        report = build(results).parent
        made.append({file.relative_to(report): file.read_bytes() for file in report.rglob("*") if file.is_file()})
        shutil.rmtree(report)
    assert made[0] == made[1]
    assert b"it is the same run as" in made[1][Path("report.md")]


def test_markdown_that_would_be_too_long_is_not_made_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """To render it with ever fewer tables, only to see that it is still too long, took most of its time."""
    rendered = 0
    render = jinja2.Template.render

    def counted(template: jinja2.Template, **given: Any) -> str:
        nonlocal rendered
        rendered += 1
        return render(template, **given)

    monkeypatch.setattr(jinja2.Template, "render", counted)
    tables = [Table("long", ["a", "b"], [[Cell("x")] * 2] * rows) for rows in (900, 250, 90, 20)] * 100
    assert "long: 90 rows, in index.html" in to_markdown("title", [Section("one", parts=tables)])
    assert rendered == 1
