"""What ``run`` and ``plan`` do with engines: find one by its name, give it the tasks, or do a single task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from atso_bench.benchmark import grid
from atso_bench.benchmark.engines import graph
from atso_bench.benchmark.engines.graph import Task
from atso_bench.benchmark.engines.known import OURS, check_name, others
from atso_bench.benchmark.engines.order import Order
from atso_bench.benchmark.engines.order import read as read_order
from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.store import asked
from atso_bench.benchmark.store.files import write_text
from atso_bench.benchmark.store.leases import Wait

if TYPE_CHECKING:
    from atso_bench.benchmark.forecast.plan import Forecast

TASKS = "tasks.jsonl"
"""In an order's folder: what it has to do."""
SHARE_GPUS, DRY_RUN = "share-gpus", "dry-run"


class Engine(Protocol):
    """What a module of an engine, or an object of an entry point, has."""

    settings: Mapping[str, str]
    """What may be given with ``--with``, and what it means."""

    def run(
        self, tasks: Sequence[Task], order: Order, settings: Mapping[str, str], say: Callable[[str], None]
    ) -> int | None:
        """Have all tasks done, each after those that it waits for; they can be found with ``run --only``.

        Args:
            tasks: what is not done.
            order: how; it has been written below ``results/jobs``.
            settings: what the user gave for this engine.
            say: tells the user.

        Returns:
            How many runs failed; None if they go on when the command has ended.
        """
        ...


@dataclass(frozen=True)
class Chosen:
    """An engine and what the user wants of it."""

    engine: Engine
    settings: Mapping[str, str]


def engine(name: str, given: Sequence[str] | None, *, dry_run: bool, share_gpus: bool) -> Chosen | None:
    """The engine of that name; None for this machine's own processes.

    Raises:
        LookupError: if there is none of that name.
        ValueError: if a setting has another form.
    """
    settings = _settings(given or (), dry_run=dry_run, share_gpus=share_gpus)
    if name == "local":
        if settings:
            raise ValueError(f"--{next(iter(settings))} is for other machines; give --on slurm or --on ray as well")
        return None
    check_name(name)
    found = import_module(OURS[name]) if name in OURS else others()[name].load()
    if unknown := [key for key in settings if found.settings and key not in found.settings]:
        raise ValueError(f"{name} has no setting {unknown[0]!r}; it has {', '.join(found.settings)}")
    return Chosen(found, settings)


def _settings(given: Sequence[str], **flags: bool) -> dict[str, str]:
    settings: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f"--slurm, --ray and --with take KEY=VALUE, such as --slurm partition=gpu, got {text!r}")
        settings[key] = value
    return settings | {name.replace("_", "-"): "yes" for name, on in flags.items() if on}


def run(specs: Sequence[RunSpec], order: Order, chosen: Chosen | None, devices: Sequence[str]) -> int | None:
    """Have the runs made, here or elsewhere; returns how many failed, None if they go on behind this command."""
    if chosen is None:
        return grid.run_grid(specs, order, devices)
    from atso_bench.benchmark.engines.task import undone

    if "," in order.device:
        raise ValueError("--device names several devices, but another engine gives each run its own; leave it out")
    data = grid.note_asked(specs, order)
    left, known = undone(specs, order, lambda *where: data[where], lambda spec: None)
    print(f"{len(specs) - len(left)} of {len(specs)} runs are done already", flush=True)
    if not left:
        return 0
    tasks = graph.tasks(left, order.execution, known)
    order.write()
    write_text(order.folder / TASKS, "\n".join([*graph.lines(tasks, lambda task: []), ""]))
    return chosen.engine.run(tasks, order, chosen.settings, _print)


def _print(line: str) -> None:
    print(line, flush=True)


def one(name: str, order: Order, job: str) -> int:
    """Do one task here, as engines have it done; returns the exit code.

    Args:
        name: the task's, as ``plan --format jsonl`` and the graph have it.
        order: what the command line says; with ``job`` that order takes its place.
        job: names an order below ``results/jobs``.
    """
    from atso_bench.benchmark.engines import local
    from atso_bench.benchmark.options import GridOptions
    from atso_bench.benchmark.store.stages import Stages

    key, phases = graph.named(name)
    order = read_order(order.results, job) if job else order
    options = GridOptions(device=order.device, workers=order.workers)
    devices = options.devices()[:1]
    order = replace(order, workers=options.workers_for(devices))
    task = Task(asked.find(order.results, key), phases)
    try:
        wait: Wait = "unless alive" if job else True
        outcome = local.once(task, order, devices[0], local.threads_for(devices, order.workers), wait=wait)
    except KeyboardInterrupt:
        if job and Stages.saved:
            write_text(saved_file(order, name), "")
        raise
    return int(outcome == "failed")


def saved_file(order: Order, name: str) -> Path:
    """It is there when a task that was stopped has saved something since it began."""
    return order.folder / f"{name}.saved"


def planned(specs: Sequence[RunSpec], order: Order, forecasts: Iterable[Forecast]) -> list[str]:
    """A line of JSON for each task that is not done; the runs are noted as asked for, so that ``--only`` finds them."""
    grid.note_asked(specs, order)
    runs, seconds = [], {}
    for found in forecasts:
        if not found.done:
            runs.append(
                Task(found.spec, memory=found.process_bytes, device_memory=found.device_bytes, phases=found.beginning)
            )
            seconds[found.spec.key] = found.seconds
    command = ["atso-bench", "run", "--out", str(order.results)]
    command += ["--workers", str(order.workers)] if order.workers >= 0 else []
    command += ["--device", order.device] if order.device != "auto" else []
    command += [word for folder in order.plugins for word in ("--plugins", folder)]
    return graph.lines(_timed(graph.linked(runs), seconds), lambda task: [*command, "--only", task.name])


def _timed(tasks: Sequence[Task], seconds: Mapping[str, Mapping[str, float]]) -> list[Task]:
    """With the seconds of their own phases: what is shared is done before."""
    shared = {task.name: set(task.phases) for task in tasks if task.first}
    runs = {task.name: task for task in tasks}
    found = []
    for task in tasks:
        before = {key for name in task.after for key in shared[name]}
        mine = {key: each for key, each in seconds[task.spec.key].items() if not task.first or key in task.phases}
        of_run = runs[task.spec.key]
        found.append(
            replace(
                task,
                memory=of_run.memory,
                device_memory=of_run.device_memory,
                seconds=sum(each for key, each in mine.items() if key not in before),
            )
        )
    return found
