"""The index says what the records say, is brought up to date, and opens few of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records import make, write
from typer.testing import CliRunner

from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import index
from atso_bench.benchmark.store.record import Record, write_failure


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The records that the index opens."""
    found: list[str] = []
    row = index._indexed

    def noting(results: Path, file: index.File) -> dict[str, Any]:
        found.append(file.path)
        return row(results, file)

    monkeypatch.setattr(index, "_indexed", noting)
    return found


def rows(results: Path) -> pd.DataFrame:
    return index.table(results).to_pandas().set_index("path").sort_index()


def one(results: Path, seed: int) -> Path:
    (path,) = (results / "records").rglob(f"seed{seed}-*.json")
    return path


def test_a_row_says_what_the_record_says(tmp_path: Path) -> None:
    write(tmp_path, make(), make(method="atso", seed=1))
    found = rows(tmp_path)
    assert len(found) == 2
    for path, row in found.iterrows():
        record = Record.read(tmp_path / "records" / str(path))
        assert row["key"] == record.spec.key
        assert row["status"] == "done"
        assert (row["dataset"], row["method"], row["fraction"], row["seed"]) == (
            record.spec.dataset,
            record.spec.method,
            record.spec.fraction,
            record.spec.seed,
        )
        assert row["score"] == record.score
        assert row["seconds"] == pytest.approx(sum(record.seconds.values()))


def test_only_what_is_new_or_has_changed_is_opened(tmp_path: Path, opened: list[str]) -> None:
    write(tmp_path, *(make(seed=seed) for seed in range(4)))
    assert len(rows(tmp_path)) == len(opened) == 4
    opened.clear()
    assert len(rows(tmp_path)) == 4
    assert not opened
    write(tmp_path, make(seed=7))
    changed = one(tmp_path, 2)
    content = json.loads(changed.read_text())
    changed.write_text(json.dumps({**content, "score": 0.25}))
    one(tmp_path, 3).unlink()
    found = rows(tmp_path)
    assert sorted(Path(path).name[:5] for path in opened) == ["seed2", "seed7"]
    assert sorted(found["seed"]) == [0, 1, 2, 7]
    assert found[found["seed"] == 2]["score"].item() == 0.25


def test_a_record_with_the_time_and_size_of_another_day_is_opened_again(tmp_path: Path, opened: list[str]) -> None:
    """A time in the past is no reason to keep an old row: what differs is read."""
    write(tmp_path, make())
    rows(tmp_path)
    opened.clear()
    os.utime(one(tmp_path, 0), (0, 0))
    rows(tmp_path)
    assert len(opened) == 1


def test_failures_and_what_cannot_be_read_are_rows_too(tmp_path: Path) -> None:
    write(tmp_path, make())
    spec = RunSpec("toy", "atso", "10", 3, Budget.parse("4"))
    write_failure(tmp_path, spec, "M0", RuntimeError("the device is gone\nfor good"))
    torn = tmp_path / "records" / "toy" / "atso" / "10pct" / "seed9-abcdef.json"
    torn.write_text("{")
    found = rows(tmp_path).reset_index().set_index("status")
    assert found.loc["failed"]["said"] == "M0: RuntimeError: the device is gone"
    assert found.loc["failed"]["key"] == spec.key
    assert found.loc["unreadable"]["key"] == "abcdef"


def test_a_damaged_index_and_one_of_another_version_are_made_again(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, make())
    whole = rows(tmp_path)
    (part,) = (tmp_path / "index").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    assert rows(tmp_path).equals(whole)
    assert len(opened) == 2
    monkeypatch.setattr(index, "VERSION", "next")
    assert rows(tmp_path).equals(whole)
    assert len(opened) == 3
    assert rows(tmp_path).equals(whole)
    assert len(opened) == 3


def test_a_folder_that_may_only_be_read_has_rows_and_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, make())

    def refused(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index, "_write", refused)
    assert len(rows(tmp_path)) == 1


def test_a_report_of_some_runs_reads_these_alone(tmp_path: Path) -> None:
    write(tmp_path, *(make(method=method, seed=seed) for method in ("supervised", "atso") for seed in range(3)))
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--where", "method == 'atso' and seed < 2"])
    assert done.exit_code == 0, done.output
    page = Path(done.output.split("report: ")[1].strip().replace("\n", ""))
    assert page.parent.name.startswith("report-")
    shown = pd.read_csv(page.parent / "results.csv")
    assert set(shown["seed"]) == {0, 1}
    assert set(shown["method"]) == {"atso"}


@pytest.mark.parametrize("where", ["method ==", "nothing == 1", "seed == 99"])
def test_a_condition_that_cannot_be_or_that_no_run_fulfils_is_an_error(where: str, tmp_path: Path) -> None:
    write(tmp_path, make())
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--where", where])
    assert done.exit_code == 2
    assert "error: --where" in done.output


def test_no_record_names_a_place_and_no_link_is_followed(tmp_path: Path) -> None:
    results, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    write(results, make())
    path = one(results, 0)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "spec": {**raw["spec"], "dataset": "../../../elsewhere", "method": "../x"}}))
    elsewhere.mkdir()
    (elsewhere / "seed5-abcdef.json").write_text(path.read_text())
    (path.parent / "seed5-abcdef.json").symlink_to(elsewhere / "seed5-abcdef.json")
    before = sorted(elsewhere.iterdir())
    assert len(rows(results)) == 1
    assert sorted(file.relative_to(results).parts[0] for file in results.rglob("*.parquet")) == ["index"]
    (results / "index").rename(tmp_path / "index")
    (results / "index").symlink_to(elsewhere)
    assert len(rows(results)) == 1
    assert sorted(elsewhere.iterdir()) == before


@pytest.mark.parametrize(
    "odd",
    [
        {"score": "high"},
        {"spec": {"seed": "x"}},
        {"spec": {"seed": 1 << 70}},
        {"data": 5},
        {"phases": [{"seconds": "\ud800"}]},
    ],
)
def test_a_record_of_odd_values_is_no_record_and_hides_no_other(odd: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, make(), make(seed=1))
    path = one(tmp_path, 0)
    raw = json.loads(path.read_text())
    more = {"spec": {**raw["spec"], **odd["spec"]}} if "spec" in odd else odd
    path.write_text(json.dumps({**raw, **more}))
    found = rows(tmp_path)
    assert sorted(found["status"]) == ["done", "unreadable"]
