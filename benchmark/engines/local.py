"""This machine: the tasks in this process, or in one process for each device."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark import done, remedies
from atso_bench.benchmark.engines import graph
from atso_bench.benchmark.engines.deaths import Deaths
from atso_bench.benchmark.engines.graph import Schedule, Task
from atso_bench.benchmark.engines.task import Outcome, Place, do, settle, undone
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.machine.devices import sharing
from atso_bench.benchmark.machine.processor import cores
from atso_bench.benchmark.machine.progress import Lines, Progress, on, told
from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.store.leases import Wait
from atso_bench.benchmark.training.execution import settled

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from atso_bench.benchmark.engines.order import Order


def work(tasks: Sequence[Task], order: Order, device: str, threads: int = 1, shown: Progress | None = None) -> int:
    """Do the tasks one after the other, in this process; returns how many failed.

    A task that a process of another command is busy with comes last: by then it is done, or that process has died and
    the task is done here.
    """
    with settled(order.execution):
        settle(device, threads)
        place = Place(order, device, shown or on(sys.stdout), done.remembered())
        failed, busy = 0, []
        for number, task in enumerate(tasks, start=1):
            outcome = do(task, place, f"[{number}/{len(tasks)}]")
            failed += outcome == "failed"
            if outcome == "busy":
                busy.append((number, task))
        for number, task in busy:
            failed += _waiting(task, place, f"[{number}/{len(tasks)}]") == "failed"
    return failed


def once(
    task: Task,
    order: Order,
    device: str,
    threads: int,
    shown: Progress | None = None,
    wait: Wait = "unless alive",
    together: int = 1,
) -> Outcome:
    """Do one task, for an engine that gives each to one process: one that somebody else is at is left to them."""
    with settled(order.execution):
        settle(device, threads)
        place = Place(order, device, shown or on(sys.stdout), done.remembered(), together)
        outcome = do(task, place, wait=wait)
        if outcome == "busy":
            place.shown.note(f"{task.title}: left to another process, which is at it")
        return outcome


def _waiting(task: Task, place: Place, number: str) -> Outcome:
    """Do the task when whoever has it is done with it or dead; another one may be quicker, and have it then."""
    place.shown.note(f"{number} {task.title}: waiting for another process")
    while (outcome := do(task, place, number, wait=True)) == "busy":
        pass
    return outcome


def run(specs: Sequence[RunSpec], order: Order, devices: Sequence[str], identity: Callable[[str, str], str]) -> int:
    """Do the runs on these devices, a process for each; returns how many failed.

    Devices take from one list what may begin next, so that none waits for a first training that another one is at.

    Args:
        specs: the runs.
        order: how they are to be made.
        devices: their names; one that stands there twice has two processes.
        identity: content hash of a dataset and configuration, as it was when the command began.
    """
    threads = threads_for(devices, order.workers)
    if len(devices) == 1:
        return work([Task(spec) for spec in specs], order, devices[0], threads)
    shown = told(lambda line: print(line, flush=True))
    numbers = {spec.key: f"[{number}/{len(specs)}]" for number, spec in enumerate(specs, start=1)}

    def known_as_done(spec: RunSpec) -> None:
        shown.note(f"{numbers[spec.key]} {spec.title}: already done")

    left, known = undone(specs, order, identity, known_as_done)
    if not left:
        return 0
    with _Crew(order, devices[: len(left)], threads, shown) as crew:
        return crew.do(graph.tasks(left, order.execution, known), numbers)


def threads_for(devices: Sequence[str], workers: int) -> int:
    """The cores, divided among the processes; more threads than cores only fight each other."""
    return max(1, cores() // len(devices) - max(0, workers))


@dataclass
class _Hand:
    """A process that does one task at a time."""

    name: str
    device: str
    process: BaseProcess
    line: Connection
    task: Task | None = None


class _Crew:
    """Processes that take tasks; they begin to import at once, and end with the block."""

    def __init__(self, order: Order, devices: Sequence[str], threads: int, shown: Lines) -> None:
        self.order, self.threads, self.shown = order, threads, shown
        self.deaths = Deaths(order)
        self.failed = 0
        self.devices = list(enumerate(devices, start=1))
        self.hands: list[_Hand] = []

    def __enter__(self) -> _Crew:
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # else the first start would end the postponement of signals
        self.hands = [self._start(f"{number} ({device})", device) for number, device in self.devices]
        return self

    def __exit__(self, kind: type[BaseException] | None, *other: object) -> None:
        """A stop that this process is asked for is passed on to the others, and they save."""
        try:
            for hand in self.hands:
                if kind is not None:
                    hand.process.terminate()
                self._say(hand, None)
            for hand in self.hands:
                hand.process.join()
        except KeyboardInterrupt:  # once more: no more time to save
            for hand in self.hands:
                hand.process.kill()
            raise

    def do(self, tasks: Sequence[Task], numbers: Mapping[str, str]) -> int:
        """Do all tasks; returns how many failed."""
        schedule = Schedule(tasks)
        while schedule.active and self.hands:
            for hand in self.hands:
                if hand.task is None and (found := schedule.next()):
                    hand.task, waits = found
                    number = "" if hand.task.first else numbers[hand.task.spec.key]
                    self._say(hand, (hand.task, number, waits))
            for hand in self._heard():
                self._take(hand, schedule)
        return self.failed + schedule.left

    def _start(self, name: str, device: str) -> _Hand:
        import multiprocessing

        spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        ours, theirs = multiprocessing.Pipe()
        together = sharing([each for _, each in self.devices], device)
        process = spawn.Process(target=_serve, args=(name, device, self.order, self.threads, together, theirs))
        with stopping.postponed():
            process.start()
        theirs.close()
        return _Hand(name, device, process, ours)

    def _say(self, hand: _Hand, what: Any) -> None:
        with contextlib.suppress(OSError):  # it is dead, as will be seen
            hand.line.send(what)

    def _heard(self) -> list[_Hand]:
        """Those that have something to say, or are dead."""
        signs: dict[Any, _Hand] = {}
        for hand in self.hands:
            signs[hand.line] = signs[hand.process.sentinel] = hand
        return list({id(signs[sign]): signs[sign] for sign in wait(list(signs))}.values())

    def _take(self, hand: _Hand, schedule: Schedule) -> None:
        """Note what became of the task."""
        try:
            outcome = hand.line.recv() if hand.line.poll() else None
        except (EOFError, OSError):  # the second where it died with a task that it had not read
            outcome = None
        task, hand.task = hand.task, None
        if outcome is None:
            self._replace(hand)
            if task is not None and not self.deaths.counts(task, self.shown.note):
                schedule.again(task)
                return
            outcome = "failed"
        if task is None:
            return
        if outcome == "busy":
            self.shown.note(f"{task.title}: waiting for another process")
            schedule.later(task)
            return
        self.failed += outcome == "failed" and not task.first
        schedule.end(task)

    def _replace(self, hand: _Hand) -> None:
        """Another one for a process that was killed; one that ended by itself would do so again."""
        hand.process.join()
        hand.line.close()
        self.hands.remove(hand)
        if (hand.process.exitcode or 0) < 0:
            self.hands.append(self._start(hand.name, hand.device))


def _serve(name: str, device: str, order: Order, threads: int, together: int, line: Connection) -> None:
    """One process of several: its lines begin with its name, because the processes' output is mixed."""
    shown = told(lambda text: print(f"{name}: {text}", flush=True))
    try:
        with stopping.at_once(), settled(order.execution):
            stopping.leave_to_parent(signal.SIGINT)  # which passes it on as SIGTERM
            settle(device, threads)
            place = Place(order, device, shown, done.remembered(), together)
            while (given := _next(line)) is not None:
                task, number, waits = given
                try:
                    line.send(do(task, place, number, wait=waits))
                except remedies.DeviceLostError:  # the run has failed, and this process can do no other
                    line.send("failed")
                    raise
    except stopping.Interrupted as stop:
        shown.note(str(stop))
        sys.exit(stop.code)
    except Exception as error:
        shown.note(f"stopped: {type(error).__name__}: {error}")
        sys.exit(1)


def _next(line: Connection) -> Any:
    """The next task; None if there is no other, or nobody who would give it."""
    try:
        return line.recv()
    except (EOFError, OSError):
        return None
