"""What only a GPU can show, as far as it can be shown without one; and a lock that a loader's process inherits."""

from __future__ import annotations

import contextlib
import fcntl
import math
import multiprocessing
import os
import time
from types import SimpleNamespace

import grids
import torch
from children import ended

from atso_bench.benchmark.engines.task import settle
from atso_bench.benchmark.machine import cgroups, processor, timing
from atso_bench.benchmark.machine.energy import Meter
from atso_bench.benchmark.machine.timing import Stopwatch
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store import leases
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.training import precision


def test_cuda_events_are_recorded_on_the_stopwatchs_own_device(monkeypatch):
    """``Event.record()`` alone records on the process's current device, whatever the stopwatch's is."""
    told = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream=None):
            told.append(stream)

        def elapsed_time(self, stop):
            return 1500.0

    fake = {
        "Event": Event,
        "current_stream": lambda device=None: f"stream of {device}",
        "synchronize": lambda device=None: told.append(f"drained {device}"),
        "reset_peak_memory_stats": lambda device=None: None,
    }
    for name, value in fake.items():
        monkeypatch.setattr(torch.cuda, name, value)
    counter = Meter("fake", lambda: [float(len(told))], [math.inf])  # so it shows when it was read
    monkeypatch.setattr(timing, "meter", lambda device: counter)
    clock = Stopwatch(torch.device("cuda:1"), 2.0)
    with clock.running():
        told.append("work")
    assert told == ["drained cuda:1", "stream of cuda:1", "work", "stream of cuda:1", "drained cuda:1"]
    assert clock.seconds == 3.5
    assert clock.joules == 5 - 1  # read with the queue drained, outside the events


def test_bfloat16_is_used_where_the_hardware_has_it_and_else_float16(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda kind, **more: SimpleNamespace(kind=kind, **more))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    for native in (True, False):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, has=native: has or including_emulation
        )
        chosen = precision.autocast(torch.device("cuda:0"))
        wanted = torch.bfloat16 if native else torch.float16
        assert (chosen.kind, chosen.dtype, chosen.enabled) == ("cuda", wanted, True)
    assert not precision.autocast(torch.device("cpu")).enabled


def test_loaders_that_start_after_a_computation_with_several_threads_work(tmp_path, monkeypatch):
    """They are forks of this process: OpenMP's threads are not in them, and what asks for these would wait for ever."""
    monkeypatch.delenv("OMP_NUM_THREADS")

    def compute_and_load():
        settle("cpu", 2)
        image = torch.randn(8, 16, 128, 128)
        torch.nn.functional.conv2d(image, torch.randn(16, 16, 3, 3))  # OpenMP has its threads now
        specs = [RunSpec("toy", "self-learning", "10", 0, Budget.parse("14"))]
        assert grids.work(specs, tmp_path, "cpu", 2, threads=2) == 0
        assert torch.get_num_threads() == 2

    assert ended(compute_and_load) == 0


def test_a_lock_ends_with_its_block_also_while_a_forked_loader_lives(tmp_path):
    """A loader's process inherits the open file: closing it here would leave the lock with the loader."""
    spec = RunSpec("toy", "atso", "10", 0, Budget.parse("14"))
    loaders = []

    def fork_a_loader():
        loader = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        loader.start()
        loaders.append(loader)

    try:
        with Stages(tmp_path).claim("key") as folder:
            fork_a_loader()
        with leases.leased(leases.of_run(tmp_path, spec.key), wait=False) as free:
            assert free
            fork_a_loader()
        for file in (folder / "lock", tmp_path / "stages" / "claims" / spec.key):
            with file.open("w") as again:
                fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        for loader in loaders:
            loader.kill()
            loader.join()


def test_the_cores_are_those_that_affinity_and_control_groups_leave(tmp_path, monkeypatch):
    own, groups = tmp_path / "own", tmp_path / "groups"
    monkeypatch.setattr(cgroups, "OWN", own)
    monkeypatch.setattr(cgroups, "CGROUPS", groups)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    assert processor.cores() == 64
    inner = groups / "pod" / "job"
    inner.mkdir(parents=True)
    own.write_text("0::/pod/job\n")
    (inner / "cpu.max").write_text("max 100000\n")
    assert processor.cores() == 64
    (inner.parent / "cpu.max").write_text("450000 100000\n")
    assert processor.cores() == 4
    (inner / "cpu.max").write_text("50000 100000\n")
    assert processor.cores() == 1

    old = groups / "cpu" / "docker"
    old.mkdir(parents=True)
    own.write_text("3:cpu,cpuacct:/docker\n2:memory:/docker\n")
    (old / "cpu.cfs_quota_us").write_text("300000\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    assert processor.cores() == 3
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    assert processor.cores() == 64
