"""Joules: from counters that begin again, that may not be read, that are not there; over interruptions of a run."""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fitting import fit
from toy import ToyDataset

from atso_bench.benchmark.machine import energy, processor, timing
from atso_bench.benchmark.machine.doctor import checks
from atso_bench.benchmark.machine.energy import Meter, UnmeasuredError, meter
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.machine.timing import Stopwatch
from atso_bench.benchmark.run import Bench, Examination
from atso_bench.benchmark.scoring.pictures import Album
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.record import Phase
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.training import loop
from atso_bench.benchmark.training.profiling import Profile

SMALL = ToyDataset(cases=9)
CPU, GPU = torch.device("cpu"), torch.device("cuda:1")


def zone(root: Path, folder: str, name: str, microjoules: str, full: int = 65_000_000_000) -> Path:
    """A zone of Linux's powercap; returns the file with its counter."""
    (root / folder).mkdir(parents=True)
    (root / folder / "name").write_text(f"{name}\n")
    (root / folder / "max_energy_range_uj").write_text(f"{full}\n")
    counter = root / folder / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, in place of the machine's; its counters move when they are written to."""
    monkeypatch.setattr(energy, "RAPL_PERIOD", 0.0)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    return tmp_path / "powercap"


def measure(clock: Stopwatch, work: Callable[[], object] = lambda: None) -> float | None:
    with clock.running():
        work()
    return clock.joules


# CPUs


def test_packages_are_added_up_and_what_lies_within_them_or_around_them_is_not(powercap: Path) -> None:
    first = zone(powercap, "intel-rapl:0", "package-0", "1000000")
    second = zone(powercap, "intel-rapl:1", "package-1-die-0", "5000000")
    zone(powercap, "intel-rapl:0:0", "core", "0")
    others = [zone(powercap, "intel-rapl:2", "psys", "0"), zone(powercap, "intel-rapl-mmio:0", "package-0", "0")]

    def work() -> None:
        first.write_text("3500000\n")
        second.write_text("5250000\n")
        for other in others:
            other.write_text("999000000\n")

    assert measure(Stopwatch(CPU), work) == pytest.approx(2.5 + 0.25)
    assert meter(CPU).source == "RAPL, 2 packages"


def test_a_counter_that_begins_again_goes_on(powercap: Path) -> None:
    """9 J of 10 before, 2 J after: 1 J to the end and 2 from the beginning."""
    counter = zone(powercap, "intel-rapl:0", "package-0", "9000000", full=10_000_000)
    assert measure(Stopwatch(CPU), lambda: counter.write_text("2000000")) == pytest.approx(3.0)


def test_a_time_in_which_a_counter_may_have_begun_again_twice_is_not_measured() -> None:
    counted = Meter("fake", lambda: [0.0], [65_000.0])
    assert counted.drawn([1.0], [2.0], seconds=60) == 1
    assert counted.drawn([1.0], [2.0], seconds=70) is None  # 1000 W fill it in 65 s


def test_a_counter_that_never_begins_again_may_not_fall() -> None:
    assert Meter("fake", lambda: [0.0], [math.inf]).drawn([2.0], [1.0], seconds=1) is None


def test_several_stretches_add_up(powercap: Path) -> None:
    counter = zone(powercap, "intel-rapl:0", "package-0", "0")
    clock = Stopwatch(CPU)
    assert measure(clock, lambda: counter.write_text("1000000")) == pytest.approx(1)
    counter.write_text("7000000")  # drawn while the clock stood still
    assert measure(clock, lambda: counter.write_text("9000000")) == pytest.approx(1 + 2)


def test_a_counter_that_does_not_move_has_measured_nothing(powercap: Path) -> None:
    zone(powercap, "intel-rapl:0", "package-0", "1000000")
    assert measure(Stopwatch(CPU)) is None


@pytest.mark.parametrize("content", ["", "much"])
def test_a_counter_that_cannot_be_read_measures_nothing(content: str, powercap: Path) -> None:
    counter = zone(powercap, "intel-rapl:0", "package-0", "1000000")
    zone(powercap, "intel-rapl:1", "package-1", "1000000")
    clock = Stopwatch(CPU)
    assert measure(clock, lambda: counter.write_text(content)) is None
    assert clock.seconds > 0
    counter.write_text("2000000")
    assert measure(clock, lambda: counter.write_text("3000000")) is None  # a part of the phase is missing
    counter.write_text(content)
    with pytest.raises(UnmeasuredError, match="RAPL"):
        meter(CPU)
    assert measure(Stopwatch(CPU), lambda: counter.write_text("4000000")) is None


def test_a_machine_without_counters_measures_nothing(powercap: Path) -> None:
    assert measure(Stopwatch(CPU)) is None
    with pytest.raises(UnmeasuredError, match="no RAPL package"):
        meter(CPU)


# Processor time


def spin(seconds: float) -> None:
    """Work that takes so much time of one core, however long that lasts."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_phase_that_waits_takes_no_processor_time(powercap: Path) -> None:
    clock = Stopwatch(CPU)
    measure(clock, lambda: time.sleep(0.3))
    assert clock.seconds >= 0.3
    assert clock.cpu_seconds is not None
    assert clock.cpu_seconds < 0.1
    measure(clock, lambda: spin(0.2))
    assert 0.2 <= clock.cpu_seconds < 0.4


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say it of a process that runs")
def test_loaders_processor_time_counts_too(powercap: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    loader = context.Process(target=_load, args=(ready, go), daemon=True)
    loader.start()
    try:
        assert ready.wait(60)
        clock, before = Stopwatch(CPU), processor.cpu_seconds()
        with clock.running():
            go.set()
            deadline = time.monotonic() + 60
            while processor.cpu_seconds() < before + 0.3 and time.monotonic() < deadline:
                time.sleep(0.02)
        assert clock.cpu_seconds is not None
        assert clock.cpu_seconds >= 0.3
    finally:
        loader.kill()
        loader.join(10)


def _load(ready: Any, go: Any) -> None:
    ready.set()
    go.wait(60)
    spin(60)


def test_a_training_goes_on_from_its_processor_time_and_an_older_checkpoint_does_not_know_it(
    powercap: Path, tmp_path: Path
) -> None:
    for before, known in ((5.0, True), (None, False)):
        clock = Stopwatch(CPU, 1.0, 0.0, before)
        measure(clock, lambda: spin(0.01))
        assert clock.cpu_seconds is None or clock.cpu_seconds >= 5.01
        assert (clock.cpu_seconds is not None) == known


def test_every_phase_of_a_run_has_its_processor_time_also_when_it_is_reused(tmp_path: Path) -> None:
    for reused in (False, True):
        phases = fit("self-learning", tmp_path, SMALL, generations=1)[1].phases
        assert {phase.reused for phase in phases} == {reused}
        assert all(phase.cpu_seconds is not None and phase.cpu_seconds > 0 for phase in phases)


# GPUs


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A driver with one GPU; torch's second device is it, by its UUID."""
    state = SimpleNamespace(millijoules=1000, uuids={"GPU-11-22": "handle"})

    def handle(uuid: str) -> str:
        if uuid not in state.uuids:
            raise NVMLError("Not Found")
        return state.uuids[uuid]

    def count(of: str) -> int:
        assert of == "handle"
        if state.millijoules is None:
            raise NVMLError("Not Supported")
        return state.millijoules

    fake = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=count,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    uuids = {CPU: "", GPU: "11-22", torch.device("cuda:0"): "00-00"}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=uuids[device]))
    state.module = fake
    return state


def test_a_gpus_counter_is_found_by_its_uuid_and_counts_millijoules(nvml: SimpleNamespace) -> None:
    found = meter(GPU)
    before = found.read()
    nvml.millijoules = 61_000
    assert found.drawn(before, found.read(), seconds=3600) == pytest.approx(60.0)
    with pytest.raises(UnmeasuredError, match="Not Found"):
        meter(torch.device("cuda:0"))  # a part of a GPU, say


def test_a_gpu_without_a_counter_is_not_measured(nvml: SimpleNamespace) -> None:
    found = meter(GPU)
    nvml.millijoules = None
    with pytest.raises(UnmeasuredError, match="Not Supported"):
        found.read()
    with pytest.raises(UnmeasuredError, match="Not Supported"):
        meter(GPU)


def test_a_machine_without_a_driver_or_without_its_bindings_is_not_measured(
    nvml: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise NVMLError("NVML Shared Library Not Found")

    nvml.module.nvmlInit = no_driver
    with pytest.raises(UnmeasuredError, match="Library Not Found"):
        meter(GPU)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UnmeasuredError, match="nvidia-ml-py is not installed"):
        meter(GPU)


def test_the_bindings_have_what_is_asked_of_them() -> None:
    pynvml = pytest.importorskip("pynvml")
    for name in ("nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"):
        assert callable(getattr(pynvml, name))
    assert issubclass(pynvml.NVMLError, Exception)


@pytest.mark.gpu
def test_a_real_gpu_draws_between_20_and_2000_watts() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    device = torch.device("cuda")
    try:
        meter(device)
    except UnmeasuredError as reason:
        pytest.skip(str(reason))
    clock, matrix = Stopwatch(device), torch.ones(4096, 4096, device=device)
    while clock.seconds < 2:
        measure(clock, lambda: [matrix @ matrix for _ in range(50)])
    assert clock.joules is not None
    assert 20 < clock.joules / clock.seconds < 2000


# Counters that are slower than the work


class Machine:
    """A device with a counter that moves every ``period`` seconds; ``drawn`` has what it truly drew at work."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, period: float, resumed: tuple[float, float | None] = (0.0, 0.0)
    ):
        self.now, self.joules, self.drawn, self.counter, self.moves = 0.37 * period, 0.0, 0.0, 0.0, period
        monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(timing, "meter", lambda device: Meter("slow", lambda: [self.counter], [math.inf], period))
        self.period, self.clock = period, Stopwatch(CPU, *resumed)

    def draw(self, seconds: float, watts: float) -> None:
        end = self.now + seconds
        while self.moves <= end:
            self.joules += (self.moves - self.now) * watts
            self.now, self.counter = self.moves, self.joules
            self.moves += self.period
        self.joules += (end - self.now) * watts
        self.now = end

    def work(self, stretches: int, seconds: float, pause: float) -> float | None:
        """At 600 W, with 100 W in each pause."""
        for _ in range(stretches):
            self.draw(pause, 100)
            before = self.joules
            with self.clock.running():
                self.draw(seconds, 600)
            self.drawn += self.joules - before
        return self.clock.joules


@pytest.mark.parametrize(
    ("stretches", "seconds", "pause"),
    [(400, 0.03, 0.301), (400, 0.1, 0.307), (2000, 0.005, 0.053), (1, 0.8, 0), (400, 0.03, 0.004)],
)
def test_stretches_too_short_for_the_counter_are_not_measured(
    stretches: int, seconds: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of 30 ms between pauses of 300 ms would have had 0.29 of what they drew."""
    machine = Machine(monkeypatch, 0.1)
    assert machine.work(stretches, seconds, pause) is None
    assert machine.clock.seconds == pytest.approx(stretches * seconds)


@pytest.mark.parametrize(
    ("stretches", "seconds", "pause"),
    [(400, 0.0303, 0.0007), (150, 1.1, 0.307), (40, 3.3, 2.2), (1, 1.5, 5), (4000, 0.007, 0.0001)],
)
def test_what_is_measured_is_within_a_twentieth(
    stretches: int, seconds: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of cases that take less than the counter's period, where next to nothing lies between them."""
    machine = Machine(monkeypatch, 0.1)
    assert machine.work(stretches, seconds, pause) == pytest.approx(machine.drawn, rel=timing.BLUR)


def test_a_few_short_stretches_do_not_spoil_a_long_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0.1)
    assert machine.work(3, 0.2, 1.0) is None
    assert machine.work(1, 30, 1.0) == pytest.approx(machine.drawn, rel=0.01)
    assert Machine(monkeypatch, 0.1, (3600.0, 2e6)).work(1, 0.2, 1.0) == pytest.approx(2e6, rel=0.01)
    assert Machine(monkeypatch, 0.1, (3600.0, None)).work(1, 30, 1.0) is None


def test_counters_say_how_slow_they_are(nvml: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", "0")
    assert (meter(GPU).period, meter(CPU).period) == (0.1, 0.001)


# Runs


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A counter that moves by 1 J each time that it is read; ``there`` says whether it can be."""
    state = SimpleNamespace(joules=0.0, there=True)

    def read() -> list[float]:
        state.joules += 1
        return [state.joules]

    def find(device: torch.device) -> Meter:
        if not state.there:
            raise UnmeasuredError("not today")
        return Meter("fake", read, [math.inf])

    monkeypatch.setattr(timing, "meter", find)
    return state


def joules(trainer: Any) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for phase in trainer.phases:
        found.setdefault(phase.kind, []).append(phase.joules)
    return found


def test_every_phase_says_what_it_drew(counted: SimpleNamespace, tmp_path: Path) -> None:
    """A training here is one stretch, a prediction one for each case and one for what is left to write."""
    _, trainer, split = fit("self-learning", tmp_path, SMALL, generations=1)
    cases = len(split.unlabelled)
    assert joules(trainer) == {"train": [1, 1], "predict": [cases + 1], "diagnose": [cases + 1]}
    counted.there = False
    again = fit("self-learning", tmp_path, SMALL, generations=1)[1]
    assert joules(again) == joules(trainer)  # reused phases keep what they drew


@pytest.mark.parametrize("measured", [True, False])
def test_a_training_that_goes_on_adds_to_what_it_drew_or_knows_nothing(
    measured: bool, counted: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint after each step, each step draws 1 J, interrupted after the third or not."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    whole = fit("supervised", tmp_path / "whole")[1].phases[0]
    assert whole.joules == whole.steps
    counted.there = measured

    saves, save = [], loop.Training._save

    def saving(training: loop.Training, folder: Path, clock: Stopwatch) -> None:
        save(training, folder, clock)
        saves.append(clock.joules)
        if len(saves) == 3:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_save", saving)
        with pytest.raises(InterruptedError):
            fit("supervised", tmp_path)
    counted.there = True
    assert fit("supervised", tmp_path)[1].phases[0].joules == (whole.joules if measured else None)


def test_a_checkpoint_of_an_older_version_goes_on_with_joules_unknown(
    counted: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    load = Stages.load

    def old(file: Path) -> Any:
        state = load(file)
        if state is not None:
            state.pop("joules", None)
        return state

    with monkeypatch.context() as patch:
        patch.setattr(Stages, "finish", staticmethod(lambda folder, phase: (_ for _ in ()).throw(InterruptedError())))
        with pytest.raises(InterruptedError):
            fit("supervised", tmp_path)
    monkeypatch.setattr(Stages, "load", staticmethod(old))
    assert fit("supervised", tmp_path)[1].phases[0].joules is None


@pytest.mark.parametrize("manifest", ["as it is", "of an older version"])
def test_a_prediction_that_goes_on_adds_to_what_it_drew_or_knows_nothing(
    manifest: str, counted: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(folder: Path, phase: Phase) -> None:
        if phase.kind != "train":
            raise InterruptedError
        finish(folder, phase)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)  # a manifest after each case
    finish = Stages.finish
    with monkeypatch.context() as patch:
        patch.setattr(Stages, "finish", staticmethod(die))
        with pytest.raises(InterruptedError):
            fit("self-learning", tmp_path, SMALL, generations=1)
    (file,) = tmp_path.rglob("labels.json")
    raw = json.loads(file.read_text())
    del raw["check"]  # a manifest that was not edited
    raw["labels"].popitem()  # as if it had died before the last case
    raw["joules"] -= 1
    if manifest != "as it is":
        del raw["joules"]
    file.write_text(json.dumps(raw))
    _, trainer, split = fit("self-learning", tmp_path, SMALL, generations=1)
    cases = len(split.unlabelled)
    # before: a stretch for each case, one for its manifest, and the rest; the last case's was taken away. After: a
    # manifest for each case again, the last case, and the rest
    drew = (2 * cases + 1 - 1) + (cases + 1 + 1)
    assert joules(trainer)["predict"] == [drew if manifest == "as it is" else None]


def test_an_evaluation_says_what_it_drew(counted: SimpleNamespace, tmp_path: Path) -> None:
    spec = RunSpec("toy", "supervised", "10", 0, Budget.parse("4"))
    split = make_split(SMALL, spec)
    model = SMALL.task(split.labelled, split.test, spec.budget, {}).network()
    with Album(tmp_path, spec.key, SMALL.identity, split.test, SMALL.picture) as album:
        bench = Bench(tmp_path, "cpu", 0, silent())
        phase = Examination(spec, SMALL, split, bench, Profile()).score(model, split.test, album)[2]
    assert phase.joules == len(split.test)


def test_a_phase_of_an_older_version_reads_back(tmp_path: Path) -> None:
    (tmp_path / "phase.json").write_text('{"phase": {"name": "M0", "kind": "train", "seconds": 2.0, "steps": 5}}')
    assert Stages.finished(tmp_path) == Phase("M0", "train", 2.0, steps=5, reused=True)
    Stages.finish(tmp_path, Phase("M0", "train", 2.0, joules=250.0))
    found = Stages.finished(tmp_path)
    assert found is not None
    assert found.joules == 250


def test_reading_costs_next_to_nothing(powercap: Path) -> None:
    zone(powercap, "intel-rapl:0", "package-0", "0")
    clock = Stopwatch(CPU)
    assert timeit.timeit(lambda: measure(clock), number=200) / 200 < 5e-3  # seconds, on a busy machine


# The doctor


def test_the_doctor_says_what_is_measured_and_why_not(
    powercap: Path, nvml: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpu = {"name": "GPU", "total_memory": 1, "major": 9, "minor": 0}
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(**gpu, uuid="11-22" if device == GPU else "0"),
    )

    def found() -> str:
        (check,) = [check for check in checks(tmp_path) if check.name == "energy"]
        assert (check.status, check.remedy) == ("ok", "")
        return check.found

    gpus = "cuda:0: not measured (NVML: Not Found); cuda:1: measured (NVML)"
    assert found() == f"cpu: not measured (no RAPL package under {powercap}); {gpus}"
    counter = zone(powercap, "intel-rapl:0", "package-0", "0")
    assert found() == f"cpu: measured (RAPL, 1 package); {gpus}"
    counter.unlink()
    counter.mkdir()  # as good as forbidden, also for root
    assert found() == f"cpu: not measured ({counter}: Is a directory); {gpus}"
