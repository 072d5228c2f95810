"""One task, the same for all engines: claim it, do it unless it is done, leave a record of a failure."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from atso_bench.benchmark import done, remedies
from atso_bench.benchmark.engines.graph import Task
from atso_bench.benchmark.machine.progress import Noted, Progress, duration
from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.store import leases
from atso_bench.benchmark.store.record import failure_path, write_failure

if TYPE_CHECKING:
    from atso_bench.benchmark.engines.order import Order
    from atso_bench.benchmark.run import Bench

Outcome = Literal["done", "failed", "busy"]
Identity = Callable[[str, str], str]


@dataclass(frozen=True)
class Place:
    """Where tasks are done one after the other: this process.

    Attributes:
        order: what the command asked for.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        shown: where progress is shown.
        identity: content hash of a dataset and configuration.
        together: processes that share the device.
    """

    order: Order
    device: str
    shown: Progress
    identity: Identity
    together: int = 1

    @property
    def bench(self) -> Bench:
        from atso_bench.benchmark.run import Bench

        order = self.order
        return Bench(
            order.results,
            self.device,
            order.workers,
            self.shown,
            order.generation,
            order.profile,
            order.execution,
            self.together,
            order.tensorboard,
        )


def settle(device: str, threads: int) -> None:
    """Make ``device`` this process's own, and let torch have ``threads`` threads unless the user says how many."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.set_device(torch.device(device).index or 0)  # "cuda" alone has no index, and set_device wants one
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)


def undone(
    specs: Sequence[RunSpec], order: Order, identity: Identity, told: Callable[[RunSpec], object]
) -> tuple[list[RunSpec], dict[str, float]]:
    """The runs that have no record yet, and the seconds that they may take: those of another seed's run of the kind.

    Args:
        specs: all runs.
        order: what the command asked for.
        identity: content hash of a dataset and configuration.
        told: gets those that are done.
    """
    left: list[RunSpec] = []
    taken: dict[tuple[object, ...], float] = {}
    index = done.Index(order.results, order.generation, identity)
    for spec in specs:
        seconds = None
        with contextlib.suppress(OSError, ValueError):  # one that may not be read here: the run will say so
            seconds = index.seconds(spec)
        if seconds is None:
            left.append(spec)
        else:
            told(spec)
            taken[kind(spec)] = seconds
    return left, {spec.key: taken[kind(spec)] for spec in left if kind(spec) in taken}


def kind(spec: RunSpec) -> tuple[object, ...]:
    """What runs have in common that take about as long as each other."""
    return spec.dataset, spec.configuration, spec.method, spec.budget


def do(task: Task, place: Place, number: str = "", *, wait: leases.Wait = False) -> Outcome:
    """Do the task unless it is done; ``busy`` if another process has it, or took it over.

    A task that fails is no end of the grid: what went wrong is said and, for a run, kept beside the records.

    Args:
        task: what to do.
        place: where and how.
        number: the task's among all, for the console.
        wait: until a process that has it is done, or dead; see ``leased``.
    """
    about = {
        "run": task.title,
        "host": platform.node(),
        "device": place.device,
        "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    said = f"{number} {task.title}".lstrip()
    try:
        with leases.leased(leases.of_run(place.order.results, task.name), wait=wait, about=about) as lease:
            return "busy" if lease is None else _held(task, place, said, lease)
    except OSError as error:
        place.shown.note(f"{said}: running\n    failed: {_keep(error, task, place)}")
        return "failed"


def _held(task: Task, place: Place, said: str, lease: leases.Lease) -> Outcome:
    noted = Noted(place.shown)
    lease.doing = noted.state
    try:
        bench = replace(place.bench, progress=noted)
        _begin(task, bench, said) if task.first else _run(task, bench, said, place.identity)
    except Exception as error:
        lost = isinstance(error, leases.LostError) or not lease.held
        told = "another process has taken it over" if lost else f"failed: {_keep(error, task, place)}"
        noted.note(f"    {told}")
        _let_go(error)
        return "busy" if lost else "failed"
    return "done"


def _begin(task: Task, bench: Bench, said: str) -> None:
    from atso_bench.benchmark.engines import beginning

    bench.progress.note(f"{said}: running")
    beginning.do(task.spec, bench, task.first)


def _run(task: Task, bench: Bench, said: str, identity: Identity) -> None:
    from atso_bench.benchmark.run import execute
    from atso_bench.benchmark.training.profiling import profile_path

    spec = task.spec
    found, why = done.found(bench.results, spec, bench.fresh, identity)
    bench.progress.note(f"{said}: {'already done' if found else 'running'}{why and f' again: {why}'}")
    if found and bench.profile and not profile_path(bench.results, spec).exists():
        bench.progress.note("    it has no profile; --fresh repeats the run with one")
    began, earlier = time.monotonic(), found is not None
    found = found or execute(spec, bench)
    failure_path(bench.results, spec).unlink(missing_ok=True)  # of a process that did not see the record
    score = "undefined" if math.isnan(found.score) else f"{found.score:.4f}"
    phases = duration(sum(found.seconds.values()))
    took = f"made before in {phases}" if earlier else f"in {duration(time.monotonic() - began)}, phases {phases}"
    bench.progress.note(f"    {found.metric} {score} {took}")


def _keep(error: Exception, task: Task, place: Place) -> str:
    """Write the failure's record, which for a shared beginning the runs will have; returns what there is to say."""
    said = f"{type(error).__name__}: {remedies.message(error)}"
    if task.first:
        return f"{said}\n    the runs that share it try themselves"
    try:
        path = write_failure(
            place.order.results, task.spec, getattr(error, "phase", "set-up"), error, place.order.generation
        )
    except OSError as other:
        return f"{said}\n    its record could not be written either: {remedies.message(other)}"
    return f"{said}\n    see {path}"


def _let_go(error: BaseException) -> None:
    """Release what the frames of a failed run hold, such as tensors on the device: the next run needs the room.

    Raises:
        DeviceLostError: if the device answers no more; CUDA has no way back within a process.
    """
    torch = sys.modules.get("torch")
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__, seen = None, seen.__cause__ or seen.__context__
    gc.collect()
    if torch is not None and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except RuntimeError as lost:
            raise remedies.DeviceLostError(lost) from None
