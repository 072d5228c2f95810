"""Where the time of a run went: every moment of a phase belongs to exactly one part, so the parts add up to it."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.store.files import write_json
from atso_bench.benchmark.store.record import Phase

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Item = TypeVar("Item")

SCHEMA = 1
PARTS = {
    "data": "waiting for a batch",
    "transfer": "bringing a batch to the device; on a GPU its augmentation too, which a CPU's loader does",
    "forward": "the method's step: the networks' forward passes and the loss, without the teacher",
    "backward": "gradients",
    "optimiser": "clipping, the optimiser's step, clearing the gradients",
    "teacher": "forward passes of the modules that are trained along (`also`), and their update",
    "checkpoints": "writing progress and weights",
    "prediction": "predicting a case, tile by tile",
    "writing": "turning logits into pseudo labels and writing them",
    "restoring": "bringing a prediction back to the original geometry",
    "scoring": "reading the true labels and scoring",
    "pictures": "keeping slices for the report",
    "set-up": "opening dataset, split and task, building networks and batches; in a new process loading libraries",
    "diagnostics": "comparing pseudo labels with their predecessors and with the true labels",
    "other": "all else: random numbers, losses, progress, starting loaders, hashes",
}
_READ_EVERY = 1024  # events on the stream before the finished ones are read


@dataclass
class Parts:
    """Seconds of one phase by part.

    Attributes:
        seconds: by name of ``PARTS``; their sum is the phase's time.
        waited: seconds that the host waited for batches. On a GPU they may pass while the device works: ``data`` has
            those in which it stood still.
        missing: what the seconds do not cover, in words; empty for nothing.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    waited: float = 0.0
    missing: str = ""


class Timeline:
    """Divides the time of one phase. On a CUDA device by events on its stream, which are read when they have come to
    pass, so that no step waits for the device; elsewhere by the host's clock.

    A part may lie in another (the teacher in the forward pass): its time is its own alone. So may a timeline: its time
    is the part ``phases`` of the one ``around`` it.
    """

    def __init__(self, device: torch.device, before: Parts | None = None, around: Timeline | None = None) -> None:
        self._around = ExitStack()
        if around is not None:
            self._around.enter_context(around.part("phases"))
        self.parts = before or Parts()
        self._running = ["other"]
        self._queued: deque[tuple[str, Any]] = deque()
        self._device = device if device.type == "cuda" else None
        self._last: Any = self._now()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._mark()
        self._running.append(name)
        try:
            yield
        finally:
            self._mark()
            self._running.pop()

    def fetching(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; the wait for each is ``data``."""
        while True:
            started = time.perf_counter()
            with self.part("data"):
                batch = next(batches, None)
            self.parts.waited += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    @contextmanager
    def watching(self, teachers: Iterable[nn.Module]) -> Iterator[None]:
        """The forward passes of these modules are the part ``teacher``, wherever a step makes them."""
        with ExitStack() as undo:
            for module in teachers:
                inside = _Passes(self)
                undo.callback(module.register_forward_pre_hook(inside.enter).remove)
                undo.callback(module.register_forward_hook(inside.leave, always_call=True).remove)
            yield

    def read(self) -> Parts:
        """The parts until now; on a CUDA device this waits for the stream."""
        self._mark()
        if self._device is not None:
            torch.cuda.synchronize(self._device)
            self._settle()
        return self.parts

    def close(self) -> Parts:
        """The parts of the whole phase."""
        self.read()
        self._around.close()
        return self.parts

    def save(self, folder: Path) -> None:
        """Close, and leave the parts beside a phase, for a later run that finds it in the store."""
        write_json(folder / "profile.json", {"schema": SCHEMA, **asdict(self.close())})

    def _now(self) -> Any:
        if self._device is None:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _mark(self) -> None:
        """What passed since the last mark belongs to the part that runs."""
        now, part = self._now(), self._running[-1]
        if self._device is None:
            self._add(part, now - self._last)
            self._last = now
            return
        self._queued.append((part, now))
        if len(self._queued) >= _READ_EVERY:
            self._settle()

    def _settle(self) -> None:
        """Add up the events that have come to pass; it does not wait for the others."""
        while self._queued and self._queued[0][1].query():
            part, event = self._queued.popleft()
            self._add(part, self._last.elapsed_time(event) / 1000)
            self._last = event

    def _add(self, part: str, seconds: float) -> None:
        self.parts.seconds[part] = self.parts.seconds.get(part, 0.0) + seconds


def in_part(times: Timeline | Unmeasured, name: str, items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the making of each is this part of the time."""
    end = object()
    while True:
        with times.part(name):
            item: Any = next(items, end)
        if item is end:
            return
        yield item


class _Passes:
    """A module's forward passes as the part ``teacher``, by hooks; passes within a pass are one."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.open: list[AbstractContextManager[None]] = []

    def enter(self, *_: Any) -> None:
        self.open.append(self.timeline.part("teacher"))
        self.open[-1].__enter__()

    def leave(self, *_: Any) -> None:
        self.open.pop().__exit__(None, None, None)


class Unmeasured:
    """Stands in for a ``Timeline`` when no profile is wanted."""

    parts = None

    def part(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def fetching(self, batches: Iterator[Any]) -> Iterator[Any]:
        return batches

    def watching(self, teachers: Iterable[nn.Module]) -> AbstractContextManager[None]:
        return nullcontext()

    def read(self) -> None:
        return None

    close = read

    def save(self, folder: Path) -> None:
        pass


class Profile:
    """The parts of all phases of one run.

    Args:
        on: whether anything is measured; if not, every method does nothing.
    """

    def __init__(self, *, on: bool = False) -> None:
        self.on = on
        self.phases: list[dict[str, Any]] = []
        self._outside = Timeline(torch.device("cpu")) if on else None

    def timeline(self, device: torch.device, before: Parts | None = None) -> Timeline | Unmeasured:
        """For a phase that begins now; ``before`` is what was measured until an interruption."""
        return Timeline(device, before, self._outside) if self._outside else Unmeasured()

    def part(self, name: str) -> AbstractContextManager[None]:
        """A part of the run that lies outside its phases."""
        return self._outside.part(name) if self._outside else nullcontext()

    def add(self, phase: Phase, found: Path | Parts | None) -> None:
        """Note a finished phase: its parts, or the folder that they lie in if the phase was measured."""
        if not self.on:
            return
        parts = _stored(found) if isinstance(found, Path) else found
        if parts is None:
            parts = Parts(missing="all: found in the store, without a profile")
        row = {"name": phase.name, "kind": phase.kind, "key": phase.key, "steps": phase.steps, "reused": phase.reused}
        self.phases.append({**row, "seconds": sum(parts.seconds.values()), "parts": parts.seconds,
                            "waited_for_data": parts.waited, "missing": parts.missing})  # fmt: skip

    def write(self, results: Path, spec: RunSpec, device: str) -> Path:
        """Write below ``results/profiles``, at the record's place."""
        path = profile_path(results, spec)
        facts = {"schema": SCHEMA, "run": spec.title, "key": spec.key, "device": device, "parts": PARTS}
        write_json(path, {**facts, "phases": self.phases, "outside": self.outside(), "total": self.total()})
        return path

    def outside(self) -> dict[str, float]:
        """Seconds of this process between the phases, by part."""
        found = self._outside.read().seconds if self._outside else {}
        return {name: seconds for name, seconds in found.items() if name != "phases"}

    def total(self) -> dict[str, dict[str, float]]:
        """Seconds and share of each part: all phases, also those that were found in the store, and what is outside."""
        seconds: dict[str, float] = {}
        for parts in (*(phase["parts"] for phase in self.phases), self.outside()):
            for name, value in parts.items():
                seconds[name] = seconds.get(name, 0.0) + value
        whole = sum(seconds.values()) or 1.0
        order = [name for name in PARTS if name in seconds]
        return {name: {"seconds": seconds[name], "share": seconds[name] / whole} for name in order}

    def lines(self) -> list[str]:
        """A table for people: phase, seconds, and the shares of its parts, the largest first; the total in seconds."""
        total = {name: each["seconds"] for name, each in self.total().items()}
        rows = [(phase["name"], phase["parts"], _notes(phase)) for phase in self.phases]
        rows += [("outside the phases", self.outside(), ""), ("total", total, "")]
        width = max(len(name) for name, *_ in rows)
        told = [
            f"    {name:{width}} {sum(parts.values()):9.1f} s  {_shares(parts)}{notes}".rstrip()
            for name, parts, notes in rows
        ]
        indent = " " * (width + 18)
        return [*told, *(f"{indent}{name:12} {seconds:9.1f} s" for name, seconds in total.items())]


def profile_path(results: Path, spec: RunSpec) -> Path:
    return results / "profiles" / spec.path


def _stored(folder: Path) -> Parts | None:
    try:
        raw = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
        return Parts(raw["seconds"], raw["waited"], raw["missing"]) if raw["schema"] == SCHEMA else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
        return None


def _notes(phase: Mapping[str, Any]) -> str:
    found = " (found in the store)" if phase["reused"] and phase["parts"] else ""
    return found + (f" (not measured: {phase['missing']})" if phase["missing"] else "")


def _shares(parts: Mapping[str, float]) -> str:
    """``backward 41 %, forward 30 %``; parts below half a percent are in the file alone."""
    whole = sum(parts.values()) or 1.0
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {100 * value / whole:.0f} %" for name, value in ordered if value / whole >= 0.005)
