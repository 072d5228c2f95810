"""Claims that hold where file locks do not: two processes, none of which sees the other's lock."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import started
from grids import work
from waiting import until

from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import leases, locks
from atso_bench.benchmark.store.leases import LostError, leased
from atso_bench.benchmark.store.record import read_all
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.training import loop


def void(silence: float = 3.0) -> None:
    """File locks exclude nobody, as on NFS mounted with ``nolock``, and dead holders are noticed soon."""
    fcntl.flock = lambda file, how: None  # type: ignore[assignment]
    leases.BEAT, leases.SILENCE, leases.POLL = 0.05, silence, 0.02


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT", 0.05), ("SILENCE", 1.0), ("POLL", 0.02)):
        monkeypatch.setattr(leases, name, seconds)


@pytest.fixture
def no_locks(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)


def test_a_lock_that_excludes_nobody_is_seen_to_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locks.locked(tmp_path / "lock"):
        assert locks.excludes(tmp_path / "lock")
        monkeypatch.setattr(fcntl, "flock", lambda file, how: None)
        assert not locks.excludes(tmp_path / "lock")


def test_one_process_has_a_claim_and_its_end_frees_it(no_locks: None, tmp_path: Path) -> None:
    with leased(tmp_path / "run") as one:
        assert one is not None
        for _ in range(2):
            time.sleep(2 * leases.SILENCE)  # it beats: however long it takes, it is not dead
            with leased(tmp_path / "run", wait=False) as other:
                assert other is None
    assert not leases.claims(tmp_path / "run")
    with leased(tmp_path / "run", wait=False) as again:
        assert again is not None


def test_the_claim_of_a_run_is_not_that_of_its_beginning(quick: None, tmp_path: Path) -> None:
    with leased(tmp_path / "key.first2") as one, leased(tmp_path / "key", wait=False) as other:
        assert one is not None
        assert other is not None


def frozen(lease: leases.Lease) -> None:
    """As a process that is stopped, or a node that the network has lost."""
    lease.ended.set()


def test_who_is_silent_for_long_loses_the_claim_and_may_write_nothing(no_locks: None, tmp_path: Path) -> None:
    began = time.monotonic()
    with leased(tmp_path / "run") as one:
        assert one is not None
        leases.confirm(tmp_path / "run")
        frozen(one)
        taken = []

        def other() -> None:
            with leased(tmp_path / "run") as lease:
                taken.append(lease)
                assert lease is not None
                assert lease.number == one.number + 1
                until(lambda: done)

        done: list[bool] = []
        thread = threading.Thread(target=other)
        thread.start()
        until(lambda: taken)
        assert time.monotonic() - began >= leases.SILENCE
        assert not one.held
        done.append(True)
        thread.join()
    assert not leases.claims(tmp_path / "run")


def test_the_holder_is_told_when_it_is_about_to_write(no_locks: None, tmp_path: Path) -> None:
    with leased(tmp_path / "run") as one:
        assert one is not None
        (tmp_path / "run.2").mkdir()
        with pytest.raises(LostError, match="another process took over run"):
            leases.confirm(tmp_path / "run")
        shutil.rmtree(tmp_path / "run.2")
        leases.confirm(tmp_path / "run")
        (one.folder / leases.HOLDER).write_text(json.dumps({"token": "another one of this number"}))
        with pytest.raises(LostError):
            leases.confirm(tmp_path / "run")


def test_a_process_that_died_on_this_machine_leaves_its_claim_at_once(tmp_path: Path) -> None:
    """The kernel tells, through the file lock; nobody waits for silence."""

    def die() -> None:
        with leased(tmp_path / "run"):
            os.kill(os.getpid(), signal.SIGKILL)

    with started(die) as child:
        assert child.end() == -signal.SIGKILL
    assert leases.claims(tmp_path / "run")
    began = time.monotonic()
    with leased(tmp_path / "run", wait=False) as lease:
        assert lease is not None
        assert lease.number == 2
    assert time.monotonic() - began < leases.SILENCE / 10


def test_another_machines_claim_is_watched_by_ones_own_clock(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the other's clock says, and whatever the file server's."""
    claim = tmp_path / "run.7"
    claim.mkdir()
    (claim / leases.HOLDER).write_text(json.dumps({"token": "x", "machine": "another", "began": "2199-01-01"}))
    os.utime(claim / leases.HOLDER, (0, 0))
    with leased(tmp_path / "run", wait=False) as lease:
        assert lease is None  # with a working file lock, which says nothing of another machine
    began = time.monotonic()
    with leased(tmp_path / "run") as lease:
        assert lease is not None
        assert lease.number == 8
    assert time.monotonic() - began >= leases.SILENCE


def test_of_two_that_see_a_dead_holder_one_gets_the_claim(no_locks: None, tmp_path: Path) -> None:
    dead = tmp_path / "run.1"
    dead.mkdir()
    inside, most = [], []

    def take() -> None:
        with leased(tmp_path / "run"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.1)
            inside.pop()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


def test_two_processes_that_see_no_locks_make_each_run_once(tmp_path: Path) -> None:
    specs = [RunSpec("toy", "supervised", "10", seed, Budget.parse("6")) for seed in range(3)]
    said = tmp_path / "said"

    def do() -> None:
        void(30.0)
        assert work(specs, tmp_path / "out") == 0

    with started(do, said=said) as one, started(do, said=said) as other:
        assert one.end() == other.end() == 0
    assert len(read_all(tmp_path / "out")) == 3
    assert said.read_text().count(": running") == 3


def test_a_holder_that_was_taken_for_dead_ends_quietly_and_the_record_is_the_others(tmp_path: Path) -> None:
    """It stops for a while in a step, as a process of a lost node does, and goes on when another one is at the run."""
    spec = RunSpec("toy", "supervised", "10", 0, Budget.parse("12"))
    said, frozen, woken = tmp_path / "said", tmp_path / "frozen", tmp_path / "woken"

    def first() -> None:
        void()
        loop.CHECKPOINT_SECONDS = 0.0
        one_step = loop.Training._one_step

        def step(training: loop.Training, batch: object) -> None:
            one_step(training, batch)
            if training.done == 5:
                for lease in leases._held.values():
                    lease.ended.set()
                frozen.touch()
                until(woken.exists)

        loop.Training._one_step = step  # type: ignore[method-assign, assignment]
        assert work([spec], tmp_path / "out") == 0

    def second() -> None:
        void()
        until(frozen.exists)
        one_step = loop.Training._one_step

        def step(training: loop.Training, batch: object) -> None:
            woken.touch()
            one_step(training, batch)
            time.sleep(0.05)

        loop.Training._one_step = step  # type: ignore[method-assign, assignment]
        assert work([spec], tmp_path / "out") == 0

    with started(first, said=said) as one, started(second, said=said) as other:
        assert other.end() == 0
        assert one.end() == 0
    assert "another process has taken it over" in said.read_text()
    assert len(read_all(tmp_path / "out")) == 1
    assert not list((tmp_path / "out").rglob("*.failed.json"))
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_fresh_is_by_the_commands_name_and_not_by_any_clock(tmp_path: Path) -> None:
    """A phase of the same command counts, one of another does not, whatever the time of its files."""
    with Stages(tmp_path).claim("key") as folder:
        (folder / "phase.json").write_text("old")
        os.utime(folder / "phase.json", (1 << 33, 1 << 33))  # of a file server far ahead
    with Stages(tmp_path, "one").claim("key") as folder:
        assert not (folder / "phase.json").exists()
        (folder / "phase.json").write_text("new")
        os.utime(folder / "phase.json", (0, 0))  # and of one far behind
    with Stages(tmp_path, "one").claim("key") as folder:
        assert (folder / "phase.json").read_text() == "new"
    with Stages(tmp_path).claim("key") as folder:
        assert (folder / "phase.json").read_text() == "new"
    with Stages(tmp_path, "two").claim("key") as folder:
        assert not (folder / "phase.json").exists()


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease")]
