"""Results folders on odd file systems, with other people's files, and with files of newer versions."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest
from records import make, write
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.remedies import message
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import asked, leases, locks
from atso_bench.benchmark.store.record import Record, read_all
from atso_bench.benchmark.store.schema import NewerError
from atso_bench.datasets._shared import storage
from atso_bench.reports.data.frame import read
from atso_bench.reports.data.missing import missing


def words(out: Path) -> list[str]:
    seeds = ["run", "-m", "supervised", "-f", "10", "-s", "0,1", "--budget", "4"]
    return [*seeds, "--device", "cpu", "--workers", "0", "--out", str(out)]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_on_a_file_system_without_locks_claims_alone_guard_the_runs(
    without_locks: None, toy: None, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, words(tmp_path))
    assert done.exit_code == 0, done.output
    assert len(read_all(tmp_path)) == 2
    with leases.leased(tmp_path / "claim") as one, leases.leased(tmp_path / "claim", wait=False) as other:
        assert one is not None
        assert other is None


def test_data_on_a_file_system_without_locks_are_named_with_a_way_on(without_locks: None, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="files cannot be locked") as raised, storage.locked(tmp_path / "lock"):
        pass
    told = message(raised.value)
    assert told.startswith(str(tmp_path / "lock"))
    assert "mount it with locks (Lustre: -o flock), or set --out" in told


def test_a_lock_is_taken_through_a_file_that_may_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "lock", os.open
    path.touch()

    def only_for_reading(file: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return real(file, flags, mode)

    monkeypatch.setattr(os, "open", only_for_reading)
    with locks.locked(path) as held:
        assert held
        with locks.locked(path, wait=False) as again:
            assert not again
    with locks.locked(path, wait=False) as free:
        assert free


def test_another_users_file_fails_its_run_and_no_other(
    toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = RunSpec("toy", "supervised", "10", 0, Budget.parse("4"))
    real = locks.os.open

    def forbidden(file: Path, flags: int, mode: int = 0o777) -> int:
        if Path(file).name == spec.key:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return real(file, flags, mode)

    monkeypatch.setattr(locks.os, "open", forbidden)
    done = CliRunner().invoke(app, words(tmp_path))
    assert done.exit_code == 1, done.output
    assert "1 of 2 runs failed" in done.output
    assert f"{spec.key}: Permission denied; change its permissions" in done.output
    assert [found.spec.seed for found in read_all(tmp_path)] == [1]


# Newer files


def newer(file: Path) -> bytes:
    raw = json.loads(file.read_text(encoding="utf-8"))
    raw["schema"] += 1
    raw["phases"] = "told in another way"
    file.write_text(json.dumps(raw), encoding="utf-8")
    return file.read_bytes()


def test_a_newer_record_is_never_written_over_and_nobody_is_told_to_delete_it(toy: None, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, words(tmp_path)).exit_code == 0
    file = next((tmp_path / "records").rglob("seed0*.json"))
    content = newer(file)
    with pytest.raises(NewerError, match="a newer atso-bench wrote it; read it with that"):
        Record.read(file)
    done = CliRunner().invoke(app, words(tmp_path))
    assert done.exit_code == 1, done.output
    assert "a newer atso-bench wrote it" in done.output
    assert file.read_bytes() == content
    planned = CliRunner().invoke(app, ["plan", *words(tmp_path)[1:]])
    assert "a newer atso-bench wrote it" in planned.output
    (failure,) = [each for each in read(tmp_path).failures if each.phase == "reading the record"]
    assert failure.retry == "Keep the file, and make the report with the version that wrote it."


def test_a_torn_record_may_still_be_deleted(tmp_path: Path) -> None:
    write(tmp_path, make(), make(seed=1))
    next((tmp_path / "records").rglob("seed0*.json")).write_text("{")
    (failure,) = read(tmp_path).failures
    assert failure.retry == "Delete the file and run it again."


def test_what_a_newer_version_asked_for_is_kept_too(tmp_path: Path) -> None:
    spec = RunSpec("toy", "supervised", "10", 0, Budget.parse("4"))
    file = asked.write(tmp_path, [spec], {("toy", "2d"): "data"})
    raw = json.loads(file.read_text())
    file.write_text(json.dumps({**raw, "schema": asked.SCHEMA + 1}))
    with pytest.raises(NewerError, match="a newer atso-bench wrote it; read it with that"):
        asked.read(file)
    (failure,) = missing(tmp_path, read(write(tmp_path, make())))[1]
    assert failure.retry == "Keep the file, and make the report with the version that wrote it."
