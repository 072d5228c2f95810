"""Ray: a task of the graph is one of Ray, which finds it a node and a GPU. Deaths are tried again, exceptions are not.

The driver is this command; ``ray job submit`` keeps it on the cluster when the user goes home.
"""

from __future__ import annotations

import functools
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark import places
from atso_bench.benchmark.engines.command import SHARE_GPUS
from atso_bench.benchmark.engines.deaths import Deaths
from atso_bench.benchmark.engines.graph import Schedule, Task, named
from atso_bench.benchmark.engines.order import Order
from atso_bench.benchmark.engines.order import read as read_order
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.machine.progress import Lines, Phases, duration
from atso_bench.benchmark.store import asked
from atso_bench.benchmark.store.record import write_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

settings: Mapping[str, str] = {
    "address": "of the cluster; otherwise RAY_ADDRESS, or a cluster on this machine",
    "num_cpus": "cores for a run",
    "num_gpus": "GPUs for a run; a part of one needs --share-gpus",
    "memory": "bytes that a run needs",
    "accelerator_type": "kind of GPU, as Ray calls it",
    SHARE_GPUS: "let several runs share a GPU",
}
VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "CITYSCAPES_DATASET", "ATSO_BENCH_CACHE")
WAITING = 1000
"""Tasks that Ray is given at a time, so that the longest ones stay first."""
SUMMARY = 60.0
"""Seconds between two lines on how far everything is."""
SAVING = 60.0
"""Seconds that runs have to save when the command is stopped."""


def run(tasks: Sequence[Task], order: Order, settings: Mapping[str, str], say: Callable[[str], None]) -> int:
    """Have Ray do the tasks; returns how many runs failed.

    Raises:
        ValueError: if Ray is not installed, or if a node has another folder or other software.
    """
    with _connected(settings) as ray:
        share = _share(ray, settings)
        say(f"{_nodes(ray)}; each run has {share.words}; what it says is in {order.results / 'logs'}")
        with stopping.at_once():  # Ray has handlers of its own
            return _Driver(ray, order, share, say).do(Schedule(tasks))


@dataclass(frozen=True)
class Share:
    """What a run gets of a node."""

    cpus: int
    gpus: float
    others: Mapping[str, Any]

    @property
    def words(self) -> str:
        return f"{self.cpus} core{'s' * (self.cpus != 1)}" + f" and {self.gpus:g} GPU" * bool(self.gpus)

    @property
    def options(self) -> dict[str, Any]:
        """As Ray takes them. A process with a GPU ends with its run; others go on, with what they have imported."""
        once = {"max_calls": 1} if self.gpus else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": 0, **once, **self.others}


@dataclass
class _Driver:
    ray: Any
    order: Order
    share: Share
    say: Callable[[str], None]
    running: dict[Any, Task] = field(default_factory=dict)
    failed: int = 0

    def do(self, schedule: Schedule) -> int:
        deaths = Deaths(self.order)
        remote = self.ray.remote(_do).options(**self.share.options)
        told = time.monotonic()
        try:
            while schedule.active:
                while len(self.running) < WAITING and (found := schedule.next()):
                    words = (str(self.order.results.absolute()), self.order.id, found[0].name)
                    self.running[remote.remote(*words, self.share.cpus, self.share.gpus)] = found[0]
                ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=SUMMARY)
                for reference in ready:
                    self._take(reference, schedule, deaths)
                if time.monotonic() - told > SUMMARY:
                    told = time.monotonic()
                    self.say(f"{schedule.left} runs left, {self.failed} failed")
        except BaseException:
            self._cancel()
            raise
        return self.failed

    def _take(self, reference: Any, schedule: Schedule, deaths: Deaths) -> None:
        """Note what became of a task."""
        task = self.running.pop(reference)
        errors = self.ray.exceptions
        try:
            found = self.ray.get(reference)
        except errors.RayTaskError as error:  # not of the run, which keeps its own: the node lacks something
            found = {"outcome": "failed", "host": "a node", "said": str(error).strip().splitlines()[-1]}
            if not task.first:
                write_failure(
                    self.order.results, task.spec, "set-up", RuntimeError(found["said"]), self.order.generation
                )
        except errors.RayError as error:
            if not deaths.counts(task, self.say, _where(error)):
                schedule.again(task)
                return
            found = {"outcome": "failed", "host": _where(error), "said": "killed"}
        if "refused" in found:
            raise ValueError(found["refused"])
        self.failed += found["outcome"] == "failed" and not task.first
        self.say(f"{task.title}: {found['outcome']} on {found['host']}{found['said'] and ': ' + found['said']}")
        schedule.end(task)

    def _cancel(self) -> None:
        """Ask the runs to save, and give them time."""
        for reference in self.running:
            self.ray.cancel(reference, force=False)
        left = list(self.running)
        if left:
            self.say(f"stopping: {len(left)} tasks have {SAVING:.0f} s to save")
            self.ray.wait(left, num_returns=len(left), timeout=SAVING)


def _do(results: str, job: str, name: str, cpus: int, gpus: float) -> dict[str, str]:
    """One task, on whichever node; the words are few, as all else is in the shared folder."""
    from atso_bench.benchmark.engines import local

    host = platform.node()
    stopping.leave_to_parent()  # Ray blocks signals in its workers
    # Ray cancels by it; where a script started the node in its background, it would be ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        order = read_order(Path(results), job)
    except ValueError as error:
        return {"refused": str(error)}
    loaders = order.workers if order.workers >= 0 else max(0, min(8 if gpus else 1, cpus - 1))
    order = replace(order, workers=loaders)
    key, phases = named(name)
    task = Task(asked.find(order.results, key), phases)
    log, began = _log(order, name), time.monotonic()
    with log.open("a", encoding="utf-8", buffering=1) as file:
        tell = functools.partial(print, f"{task.title}:", file=sys.stdout, flush=True)  # Ray shows it to the user
        shown = Phases(Lines(functools.partial(print, file=file)), tell)
        try:
            with stopping.at_once(), redirect_stdout(file):
                together = max(1, round(1 / gpus)) if gpus else 1
                outcome = local.once(
                    task, order, "cuda" if gpus else "cpu", max(1, cpus - loaders), shown, together=together
                )
        except KeyboardInterrupt as stop:
            print(str(stop), file=file)
            return {"outcome": "stopped", "host": host, "said": str(stop)}
    said = f"see {log}" if outcome == "failed" else duration(time.monotonic() - began)
    return {"outcome": outcome, "host": host, "said": said}


def _log(order: Order, name: str) -> Path:
    log = order.results / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


@contextmanager
def _connected(settings: Mapping[str, str]) -> Iterator[Any]:
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise ValueError("--on ray needs Ray; install it with: pip install 'atso-bench[ray]'") from error
    given = {"address": settings["address"]} if "address" in settings else {}
    data = str(places.data().path)
    named = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    paths = {name: str(Path(path).expanduser().absolute()) for name, path in {"ATSO_BENCH_DATA": data, **named}.items()}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(runtime_env={"env_vars": paths}, logging_level="warning", **given)
    except Exception as error:  # Ray's own kind tells a busy machine from a wrong address no better
        raise ValueError(
            f"Ray could not be reached or started ({error}); check RAY_ADDRESS or --ray address=...; on a busy machine "
            "start it first: ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _share(ray: Any, settings: Mapping[str, str]) -> Share:
    """What a run gets: a GPU and its part of the cores, or a core where there is no GPU.

    Raises:
        ValueError: if a run would share a GPU that is not to be shared.
    """
    there = ray.cluster_resources()
    gpus = _number(settings, "num_gpus", 1.0 if there.get("GPU") else 0.0)
    if 0 < gpus < 1 and SHARE_GPUS not in settings:
        raise ValueError(
            f"num_gpus={gpus:g} lets runs share a GPU, so that their times say nothing; add --share-gpus if you want it"
        )
    each = there.get("CPU", 1.0) / there["GPU"] * gpus if gpus and there.get("GPU") else 1.0
    cpus = max(1, int(_number(settings, "num_cpus", each)))
    others: dict[str, Any] = {"memory": _number(settings, "memory", 0.0)} if "memory" in settings else {}
    others |= {"accelerator_type": settings["accelerator_type"]} if "accelerator_type" in settings else {}
    return Share(cpus, gpus, others)


def _number(settings: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(settings.get(name, default))
    except ValueError:
        raise ValueError(f"--ray {name}= takes a number, got {settings[name]!r}") from None


def _nodes(ray: Any) -> str:
    alive = [node for node in ray.nodes() if node["Alive"]]
    there = ray.cluster_resources()
    return f"Ray {ray.__version__}: {len(alive)} nodes, {there.get('CPU', 0):g} cores, {there.get('GPU', 0):g} GPUs"


def _where(error: Exception) -> str:
    """The node that an error of Ray's names."""
    text = str(error)
    for word in ("Worker IP address: ", "node IP: ", "ip: "):
        if word in text:
            return text.partition(word)[2].split()[0].rstrip(",.")
    return "a node of the cluster"
