"""How far a results folder is: what is done, what runs where, what waits for what, what failed, and the time left."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from atso_bench.benchmark.engines.command import TASKS
from atso_bench.benchmark.engines.order import FOLDER as JOBS
from atso_bench.benchmark.engines.task import kind
from atso_bench.benchmark.machine.progress import duration
from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.store import asked, index, leases, locks

SHOWN = 20
"""Lines of a kind; more would hide the others."""
QUIET = 300.0
"""Seconds without a sign of life after which it is said; nothing is decided by them, as they are of two clocks."""


@dataclass
class Status:
    """What is known of the runs that were asked for, by their keys."""

    wanted: dict[str, RunSpec] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)

    @property
    def idle(self) -> list[str]:
        """Those that have not begun."""
        begun = {*self.done, *self.failed, *self.running}
        return [key for key in self.wanted if key not in begun]


def look(results: Path) -> Status:
    """Look at the index of the records and at the claims."""
    found = Status()
    fresh: dict[str, str] = {}
    for each in _asked(results):
        for run in each.runs:
            found.wanted[run.key] = run.spec
            fresh[run.key] = each.generation
    times: dict[tuple[object, ...], float] = {}
    for row in index.table(results).select(["key", "status", "fresh", "seconds", "said"]).to_pylist():
        key = row["key"]
        if key not in found.wanted or (fresh[key] and row["fresh"] != fresh[key]):
            continue
        if row["status"] == "done":
            found.done.add(key)
            times[kind(found.wanted[key])] = row["seconds"]
        else:
            found.failed[key] = row["said"]
    for key in found.done:
        found.failed.pop(key, None)
    found.expected = {key: times[kind(spec)] for key, spec in found.wanted.items() if kind(spec) in times}
    found.running = dict(_running(results))
    _of_orders(results, found)
    return found


def _asked(results: Path) -> list[asked.Asked]:
    """What was asked for, the last at the end; files that cannot be read are the report's to name."""
    found = []
    for file in (results / asked.FOLDER).glob("*.json"):
        with contextlib.suppress(ValueError):
            found.append(asked.read(file))
    return sorted(found, key=lambda each: each.time)


def _running(results: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the holders of claims say of themselves, by the task's name; of this machine those that live."""
    folder = results / "stages" / "claims"
    for claim in sorted(folder.glob("*.*")) if folder.is_dir() else ():
        name, _, number = claim.name.rpartition(".")
        holder = leases.holder(claim) if number.isdecimal() else None
        if holder is not None and not _dead(folder / name, holder):
            with contextlib.suppress(FileNotFoundError):  # it ended just now
                yield name, {**holder, "silent": time.time() - (claim / leases.HOLDER).stat().st_mtime}


def _dead(path: Path, holder: dict[str, Any]) -> bool:
    """A process of this machine that lives has the file lock too."""
    if holder.get("machine") != leases.machine():
        return False
    try:
        with locks.locked(path, wait=False) as free:
            return free and locks.excludes(path)
    except OSError:
        return False


def _of_orders(results: Path, found: Status) -> None:
    """What tasks of other engines wait for, and how long they may take."""
    for file in (results / JOBS).glob(f"*/{TASKS}"):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        titles = {row["key"]: row["run"] for row in rows}
        for row in rows:
            found.expected.update({row["key"]: row["seconds"]} if row["seconds"] is not None else {})
            found.waiting.update({row["key"]: titles[row["after"][0]]} if row["after"] else {})


def facts(results: Path) -> dict[str, Any]:
    """The status for other programs, runs by their keys; ``seconds_left`` counts those whose kind is known.

    Raises:
        ValueError: if nothing was asked for there.
    """
    found = _looked(results)
    left = [key for key in found.wanted if key not in found.done and key not in found.failed]
    return {
        "runs": {key: spec.title for key, spec in found.wanted.items()},
        "done": sorted(found.done),
        "failed": found.failed,
        "running": {key: holder for key, holder in found.running.items() if key in found.wanted},
        "waiting": found.idle,
        "seconds_left": sum(found.expected.get(key, 0.0) for key in left),
        "of_unknown_length": sum(key not in found.expected for key in left),
    }


def _looked(results: Path) -> Status:
    found = look(results)
    if not found.wanted:
        raise ValueError(f"no runs were asked for in {results}; `atso-bench run` does so")
    return found


def lines(results: Path) -> Iterator[str]:
    """The status in words.

    Raises:
        ValueError: if nothing was asked for there.
    """
    found = _looked(results)
    idle = found.idle
    busy = [name for name in found.running if name in found.wanted]
    yield (
        f"{len(found.done)} of {len(found.wanted)} runs are done, {len(found.failed)} failed, {len(busy)} running, "
        f"{len(idle)} waiting"
    )
    yield from _some("running", [_one_running(holder) for holder in found.running.values()])
    yield from _some("failed ", [f"{found.wanted[key].title} in {said}" for key, said in found.failed.items()])
    yield from _some("waiting", [_one_waiting(found, key) for key in idle])
    yield _left(found, [*busy, *idle])


def _some(name: str, texts: Sequence[str]) -> Iterator[str]:
    yield from (f"{name}  {text}" for text in texts[:SHOWN])
    if len(texts) > SHOWN:
        yield f"{name}  and {len(texts) - SHOWN} more"


def _one_running(holder: dict[str, Any]) -> str:
    began = datetime.fromisoformat(holder["began"])
    seconds = (datetime.now(timezone.utc) - began).total_seconds()
    text = f"{holder['run']} on {holder['host']} ({holder['device']}) since {began:%Y-%m-%d %H:%M} UTC"
    text += f", {duration(seconds)}" * (seconds > 0) + f": {holder['doing']}" * bool(holder["doing"])
    return text + f"; no sign of life for {duration(holder['silent'])}" * (holder["silent"] > QUIET)


def _one_waiting(found: Status, key: str) -> str:
    before = found.waiting.get(key)
    return f"{found.wanted[key].title}: waiting for {before or 'a free device'}"


def _left(found: Status, keys: Sequence[str]) -> str:
    known = [found.expected[key] for key in keys if key in found.expected]
    if not keys:
        return "nothing is left to do"
    if not known:
        return "time left: unknown until runs of the kind are done; `atso-bench plan` measures it"
    unknown = f", and {len(keys) - len(known)} runs of which none is done" * (len(known) < len(keys))
    return f"time left: about {duration(sum(known))} on one device{unknown}"
