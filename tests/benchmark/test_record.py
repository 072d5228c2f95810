"""Records: whole or not at all, readable by later versions, without secrets."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import environment, files
from atso_bench.benchmark.store.files import atomic, write_json
from atso_bench.benchmark.store.record import Phase, Record, read_all, write_failure

SPEC = RunSpec("phantom", "supervised", "10", 0, Budget("smoke", 24), options={"a": 1})
RECORD = Record(
    spec=SPEC,
    track="medical",
    metric="dice",
    score=0.75,
    classes=["organ", "lesion"],
    cases={"case_1": {"organ": {"dice": 0.75, "hd95_mm": 2.5, "empty": ""}}},
    summary={"metrics": {"dice": {"mean": 0.75}}},
    metrics_version=1,
    split={"labelled": ["case_2"], "unlabelled": ["case_3", "case_4"], "validation": [], "test": ["case_1"]},
    pool_size=4,
    data="abc",
    phases=[
        Phase("M0", "train", 2.0, steps=24, samples=48, losses={"step": [24], "loss": [0.5]}),
        Phase("generation 1", "train", 1.0, steps=6),
        Phase("evaluation", "evaluate", 0.5, samples=1),
    ],
    spent_steps=30,
    teacher_patches=0,
    recipe={"lr": 0.01},
    options={"a": 1},
)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_record_reads_back_as_it_was(tmp_path: Path) -> None:
    path = RECORD.write(tmp_path)
    assert path == tmp_path / "records" / SPEC.path
    assert Record.read(path) == RECORD
    assert read_all(tmp_path) == [RECORD]
    assert left_over(tmp_path) == [path.name]


def test_a_record_of_before_there_were_colours_is_read(tmp_path: Path) -> None:
    path = RECORD.write(tmp_path)
    raw = json.loads(path.read_text(encoding="utf-8"))
    del raw["palette"]
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert Record.read(path) == RECORD


def test_an_undefined_score_reads_back_as_undefined(tmp_path: Path) -> None:
    assert math.isnan(Record.read(replace(RECORD, score=math.nan).write(tmp_path)).score)


def test_what_follows_from_the_phases() -> None:
    assert RECORD.seconds == {"train": 3.0, "evaluate": 0.5}
    assert RECORD.labelled_percent == 25


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_undefined_numbers_become_null(value: float, tmp_path: Path) -> None:
    cases = {"case_1": {"organ": {"dice": 0.0, "hd95_mm": value}}}
    path = replace(RECORD, cases=cases, summary={"values": (value, 1.0)}).write(tmp_path)
    back = Record.read(path)
    assert back.cases["case_1"]["organ"] == {"dice": 0.0, "hd95_mm": None}
    assert back.summary == {"values": [None, 1.0]}
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_another_versions_record_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = RECORD.write(tmp_path)
    change(path, schema=99)
    with pytest.raises(
        ValueError, match=r"seed0-.*json is not a readable record: it has schema 99.* a newer atso-bench"
    ):
        Record.read(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"schema": 1}', "\x00"])
def test_what_is_no_record_is_an_error_that_names_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "records" / "seed0-x.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=r"seed0-x\.json is not a readable record"):
        read_all(tmp_path)


def test_a_missing_or_unknown_field_is_an_error(tmp_path: Path) -> None:
    path = RECORD.write(tmp_path)
    change(path, surprise=1)
    with pytest.raises(ValueError, match="surprise"):
        Record.read(path)


def test_no_results_are_no_records(tmp_path: Path) -> None:
    assert read_all(tmp_path / "nothing") == []


class Interruption(BaseException):
    """Not an `Exception`, like `KeyboardInterrupt`."""


@pytest.mark.parametrize("error", [OSError, Interruption])
def test_a_write_that_fails_half_way_leaves_the_old_file(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic(path) as partial:
            partial.write_text("ne")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert path.read_text() == "old"
    assert left_over(tmp_path) == ["file"]


def test_a_write_that_ends_well_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    for text in ("old", "new"):
        with atomic(path) as partial:
            partial.write_text(text)
            assert path.exists() == (text == "new")
    assert path.read_text() == "new"
    assert left_over(tmp_path) == ["file"]


def test_what_is_no_json_leaves_no_partial_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", {"value": object()})
    assert left_over(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    write_json(tmp_path / "file.json", {"old": 1})
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "file.json", {"new": 1})
    assert json.loads((tmp_path / "file.json").read_text()) == {"old": 1}
    assert left_over(tmp_path) == ["file.json"]


def test_names_of_any_script_are_kept(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"Fall é": "肝"})
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == {"Fall é": "肝"}


def test_a_failure_is_kept_beside_the_records_until_a_success(tmp_path: Path) -> None:
    path = write_failure(tmp_path, SPEC, "M0", RuntimeError("out of memory"))
    cause = json.loads(path.read_text())
    assert (cause["status"], cause["phase"]) == ("failed", "M0")
    assert cause["error"] == "RuntimeError"
    assert cause["message"].startswith("out of memory; use smaller batches or patches")
    assert RunSpec.from_json(cause["spec"]) == SPEC
    assert read_all(tmp_path) == []

    success = RECORD.write(tmp_path)
    assert success.parent == path.parent
    assert left_over(tmp_path) == [success.name]


def test_a_failure_of_another_run_stays(tmp_path: Path) -> None:
    path = write_failure(tmp_path, replace(SPEC, seed=1), "M0", RuntimeError())
    RECORD.write(tmp_path)
    assert path.exists()


def test_the_environment_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "OMP_NUM_THREADS", "CITYSCAPES_DATASET"):
        monkeypatch.setenv(name, "sentinel-value")
    replace(RECORD, environment=environment.current()).write(tmp_path)
    write_failure(tmp_path, replace(SPEC, seed=1), "M0", RuntimeError())
    texts = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(texts) == 2
    assert not any("sentinel-value" in text for text in texts)


def test_the_environment_tells_versions_and_the_command_without_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.sys, "argv", ["/home/someone/bin/atso-bench", "run", "--seed", "0"])
    found = environment.current()
    assert found["command"] == ["atso-bench", "run", "--seed", "0"]
    assert {"torch", "nnunetv2", "numpy"} <= set(found["versions"])
    assert found["python"].startswith("3.")


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert environment.current()["commit"] is None
