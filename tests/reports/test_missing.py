"""Runs that were asked for: which of them are not there, whatever else lies in the folder."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from records import make

from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import asked, record
from atso_bench.benchmark.store.asked import Wanted
from atso_bench.benchmark.store.record import Record, write_failure
from atso_bench.reports.data.frame import read
from atso_bench.reports.data.missing import Missing, missing

DATA = {("phantom", "2d"): "data0"}
RECORDS = [make(method, seed=seed) for method in ("atso", "supervised") for seed in range(2)]
SPECS = [each.spec for each in RECORDS]


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    command("atso-bench", "run", "--method", "atso,supervised")(monkeypatch)


def command(*words: str) -> Any:
    return lambda patch: patch.setattr(asked, "current", lambda: {"command": list(words)})


def ask(results: Path, *specs: RunSpec, at: str = "", data: Any = None) -> Path:
    path = asked.write(results, specs, data or DATA)
    if at:
        change(path, time=f"{at}T00:00:00+00:00")
    return path


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def gone(results: Path) -> list[Missing]:
    runs, failures = missing(results, read(results))
    assert failures == []
    return runs


def keys(results: Path) -> set[str]:
    return {each.key for each in gone(results)}


def test_runs_without_a_record_are_named_with_the_command_that_goes_on(tmp_path: Path) -> None:
    path = ask(tmp_path, *SPECS)
    for each in RECORDS[:3]:
        each.write(tmp_path)
    (only,) = gone(tmp_path)
    assert only.key == SPECS[3].key
    assert only.run == "supervised on phantom, 10 %, seed 1"
    assert tmp_path / only.path == path
    assert only.command == "atso-bench run --method atso,supervised"
    assert only.time == asked.read(path).time.isoformat(timespec="seconds")
    assert only.note == ""
    RECORDS[3].write(tmp_path)
    assert gone(tmp_path) == []


def test_a_folder_in_which_nothing_was_asked_for_misses_nothing(tmp_path: Path) -> None:
    RECORDS[0].write(tmp_path)
    assert gone(tmp_path) == []


def test_a_failure_is_there_and_so_is_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    ask(tmp_path, *SPECS)
    RECORDS[0].write(tmp_path)
    write_failure(tmp_path, SPECS[1], "M0", RuntimeError("no"))
    change(RECORDS[2].write(tmp_path), schema=99)
    (only,) = gone(tmp_path)
    assert only.key == SPECS[3].key
    write_failure(tmp_path, SPECS[3], "M0", RuntimeError("no"))
    assert gone(tmp_path) == []


def test_failures_alone_make_no_run_there(tmp_path: Path) -> None:
    ask(tmp_path, *SPECS)
    write_failure(tmp_path, SPECS[0], "M0", RuntimeError("no"))
    assert keys(tmp_path) == {spec.key for spec in SPECS[1:]}


def test_a_run_of_other_library_versions_is_there(tmp_path: Path) -> None:
    ask(tmp_path, SPECS[0])
    environment = {**RECORDS[0].environment, "versions": {"torch": "1.0"}}
    replace(RECORDS[0], environment=environment).write(tmp_path)
    assert gone(tmp_path) == []


def test_a_record_of_other_data_is_another_run(tmp_path: Path) -> None:
    """Also when it stands under the name that says which data."""
    ask(tmp_path, *SPECS[:2])
    old = [replace(each, data="older") for each in RECORDS[:2]]
    for each in old:
        each.write(tmp_path)
    assert keys(tmp_path) == {spec.key for spec in SPECS[:2]}
    newer = RECORDS[0].write(tmp_path)  # the old one gives way to it
    assert len(list(newer.parent.glob(f"seed0-{SPECS[0].key}*.json"))) == 2
    assert keys(tmp_path) == {SPECS[1].key}
    ask(tmp_path, *SPECS[:2], data={("phantom", "2d"): "older"})  # the data is what it was again
    assert gone(tmp_path) == []  # both stand in the report
    ask(tmp_path, *SPECS[:2])
    newer.unlink()
    assert keys(tmp_path) == {spec.key for spec in SPECS[:2]}


def test_runs_that_were_done_are_there_when_others_are_asked_for_on_later_data(tmp_path: Path) -> None:
    """Their records are in the report, whichever data they are of."""
    ask(tmp_path, *SPECS[:2], at="2026-01-01", data={("phantom", "2d"): "older"})
    replace(RECORDS[0], data="older").write(tmp_path)
    ask(tmp_path, *SPECS[2:], at="2026-01-02")
    RECORDS[2].write(tmp_path)
    assert keys(tmp_path) == {SPECS[1].key, SPECS[3].key}
    ask(tmp_path, *SPECS, at="2026-01-03")
    assert keys(tmp_path) == {SPECS[0].key, SPECS[1].key, SPECS[3].key}


def test_a_run_on_earlier_data_is_there_if_it_was_made_from_the_latest(tmp_path: Path) -> None:
    """Its command would make it from the data as it is now, and find that it is done."""
    ask(tmp_path, *SPECS, at="2026-01-01", data={("phantom", "2d"): "older"})
    ask(tmp_path, SPECS[0], at="2026-01-02")
    for each in RECORDS[:2]:
        each.write(tmp_path)
    assert keys(tmp_path) == {spec.key for spec in SPECS[2:]}


def test_a_run_stands_where_it_was_last_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RECORDS[0].write(tmp_path)
    ask(tmp_path, *SPECS, at="2026-01-01")
    command("atso-bench", "run", "--out", "a folder; rm -rf", "--fresh")(monkeypatch)
    path = ask(tmp_path, SPECS[1], SPECS[3], at="2026-01-02")
    found = gone(tmp_path)
    assert [each.key for each in found] == [SPECS[2].key, SPECS[1].key, SPECS[3].key]
    assert [tmp_path / each.path == path for each in found] == [False, True, True]
    assert found[1].command == "atso-bench run --out 'a folder; rm -rf' --fresh"


def test_what_was_to_be_made_afresh_is_not_there_until_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with --fresh was killed: of four runs one was made, one failed, one has its old record, one nothing."""
    old = [RECORDS[0].write(tmp_path), RECORDS[1].write(tmp_path), RECORDS[2].write(tmp_path)]
    for path in old:
        os.utime(path, (1e9, 1e9))
    command("atso-bench", "run", "--fresh")(monkeypatch)
    path = ask(tmp_path, *SPECS)
    RECORDS[0].write(tmp_path)
    failure = write_failure(tmp_path, SPECS[1], "M0", RuntimeError("no"))
    found = gone(tmp_path)
    assert [each.key for each in found] == [SPECS[2].key, SPECS[3].key]
    assert {each.command for each in found} == {"atso-bench run --fresh"}
    assert [each.note for each in found] == ["to be repeated; the record here is older", "to be repeated"]
    os.utime(failure, (1e9, 1e9))
    assert [each.key for each in gone(tmp_path)] == [spec.key for spec in SPECS[1:]]
    command("atso-bench", "run")(monkeypatch)
    assert ask(tmp_path, *SPECS) == path  # asked again without it: what is here is done
    assert keys(tmp_path) == {SPECS[3].key}


def test_what_a_command_made_afresh_is_known_by_its_name_and_not_by_any_clock(tmp_path: Path) -> None:
    """The file server's clock is a day ahead for one record and a day behind for the other."""
    for each, fresh, day in ((RECORDS[0], "other", 86400), (RECORDS[1], "this one", -86400)):
        path = replace(each, environment={**each.environment, "fresh": fresh}).write(tmp_path)
        os.utime(path, (time.time() + day,) * 2)
    failure = write_failure(tmp_path, SPECS[2], "M0", RuntimeError("no"), "this one")
    os.utime(failure, (0, 0))
    data = {("phantom", "2d"): RECORDS[0].data}
    asked.write(tmp_path, SPECS, data, "this one")
    assert keys(tmp_path) == {SPECS[0].key, SPECS[3].key}


def test_a_record_of_the_second_in_which_a_command_began_may_be_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime(2026, 1, 1, 12, 0, 0, 750_000, timezone.utc)
    monkeypatch.setattr(asked, "datetime", SimpleNamespace(now=began.astimezone, fromisoformat=datetime.fromisoformat))
    command("atso-bench", "run", "--fresh")(monkeypatch)
    ask(tmp_path, SPECS[0])
    file = RECORDS[0].write(tmp_path)
    for half, there in ((0.5, False), (0.75, True), (0.8, True)):
        os.utime(file, (began.replace(microsecond=0).timestamp() + half,) * 2)
        assert (keys(tmp_path) == set()) is there


def test_a_record_that_is_removed_while_it_is_looked_at_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("atso-bench", "run", "--fresh")(monkeypatch)
    ask(tmp_path, SPECS[0])
    path = RECORDS[0].write(tmp_path)
    frames = read(tmp_path)
    path.unlink()
    (only,), _ = missing(tmp_path, frames)
    assert only.key == SPECS[0].key


def test_the_same_runs_have_the_same_file(tmp_path: Path) -> None:
    first = ask(tmp_path, *SPECS)
    assert ask(tmp_path, *reversed(SPECS)) == first
    assert ask(tmp_path, *SPECS[1:]) != first
    assert len(list((tmp_path / "asked").iterdir())) == 2


def test_every_field_of_a_run_reads_back(tmp_path: Path) -> None:
    specs = [
        RunSpec("phantom", "atso", "2cases", 7, Budget.parse("small:30", "phase"), "3d_fullres", {"subsets": 3},
                {"patch": [8, 8]}, 20.0, "validation", {"labelled": ["ä", "<b>"], "test": ["x\n"]}, "patient"),
        RunSpec("phantom", "supervised", "6.25", 0, Budget.parse("small")),
    ]  # fmt: skip
    data = {("phantom", "3d_fullres"): "one", ("phantom", "2d"): "two"}
    for part in (specs, specs[:1], specs[1:], []):
        found = asked.read(asked.write(tmp_path, part, data))
        assert found.runs == [Wanted(spec, spec.key, data["phantom", spec.configuration]) for spec in part]
    assert found.command == ["atso-bench", "run", "--method", "atso,supervised"]


@pytest.mark.parametrize(
    "wrong",
    ["", "[]", "{}", '{"schema": 1}', "torn", {"schema": 2}, {"runs": [1]}, {"runs": [{}], "shared": {}},
     {"lists": {}}, {"command": None}, {"time": "2026-01-01"}, {"time": "today"}, {"time": 0},
     {"runs": [{"data": "x", "dataset": "../up"}]}, {"shared": {"seed": "<b>"}}],
)  # fmt: skip
def test_a_file_that_says_nothing_is_a_failure_and_hides_no_other(wrong: Any, tmp_path: Path) -> None:
    RECORDS[0].write(tmp_path)
    ask(tmp_path, *SPECS[:2])
    path = ask(tmp_path, *SPECS)
    if isinstance(wrong, str):
        path.write_text(wrong)
    else:
        change(path, **wrong)
    runs, (failure,) = missing(tmp_path, read(tmp_path))
    assert [run.key for run in runs] == [SPECS[1].key]
    assert failure.path == f"asked/{path.name}"
    assert failure.message.startswith(failure.path)
    assert str(tmp_path) not in failure.message
    # a newer version's is no broken one: whoever wrote it can read it
    assert failure.retry.startswith("Keep the file" if "newer atso-bench" in failure.message else "Delete the file")


def test_half_a_file_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RECORDS[0].write(tmp_path)
    monkeypatch.setattr(record.Path, "replace", lambda *paths: (_ for _ in ()).throw(OSError("the disk is gone")))
    with pytest.raises(OSError, match="disk"):
        ask(tmp_path, *SPECS)
    assert gone(tmp_path) == []
    assert not list((tmp_path / "asked").iterdir())


def test_runs_by_published_lists_take_little_room_and_time(tmp_path: Path) -> None:
    """The lists of 300 cases each stand there once; in every run they would take 7 MB."""
    lists = {name: {"labelled": [f"case_{name}_{k:05}" for k in range(300)]} for name in ("5", "10", "20", "50")}
    specs = [
        RunSpec("phantom", f"method-{method}", name, seed, Budget.parse("small"), options={"a": 1}, lists=lists[name])
        for method in range(50) for name in lists for seed in range(5)
    ]  # fmt: skip
    began = time.monotonic()
    path = ask(tmp_path, *specs)
    found = asked.read(path)
    assert time.monotonic() - began < 10  # seconds for 1000 runs, on a busy machine; mostly 0.3
    assert len(found.runs) == 1000
    assert path.stat().st_size < 200_000


def test_records_are_what_they_were(tmp_path: Path) -> None:
    """Energy and processor time of a phase are new: a record without them reads as one that was not measured."""
    path = RECORDS[0].write(tmp_path)
    raw = json.loads(path.read_text())
    for phase in raw["phases"]:
        del phase["joules"], phase["cpu_seconds"]
    path.write_text(json.dumps(raw))
    assert Record.read(path) == RECORDS[0]
    assert {(phase.joules, phase.cpu_seconds) for phase in Record.read(path).phases} == {(None, None)}
