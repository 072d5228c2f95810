"""Runs that a command asked for and that left nothing: neither a record nor a failure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atso_bench.benchmark.store import index
from atso_bench.benchmark.store.asked import FOLDER, Asked, Wanted
from atso_bench.benchmark.store.asked import read as read_asked
from atso_bench.benchmark.store.schema import NewerError
from atso_bench.reports.data.frame import Frames
from atso_bench.reports.data.listing import check_file, named
from atso_bench.reports.data.rows import KEEP, Failure, shell

AFRESH = (
    "With --fresh, a command repeats all its runs. Without it, older records count as done. To keep the new records, "
    "use --fresh for the remaining runs only."
)
"""What to know before a command is given again to go on with runs that were to be made afresh."""


@dataclass(frozen=True)
class Missing:
    """A run that was asked for and is not there: interrupted, still running, or its record was removed.

    Attributes:
        key: the run's.
        run: its title.
        path: the file below the results folder that says that it was asked for.
        time: when it was last asked for, ISO 8601.
        command: what asked for it; ready for a shell. It goes on with what is missing, but see ``AFRESH``.
        note: that it was to be made afresh, and what there is from before; empty for other runs.
    """

    key: str
    run: str
    path: str
    time: str
    command: str
    note: str


def missing(results: Path, frames: Frames) -> tuple[list[Missing], list[Failure]]:
    """The runs that were asked for and are not there, in the order of the files and of the runs in them.

    A run is there if it failed, if its record cannot be read (both are among the failures), or if it has a record made
    from the data as it was when this run was last asked for, or from the latest data of that dataset that any run was
    asked for on. What a run that was to be made afresh has from before does not count, as in ``grid.finished``.

    Returns:
        The runs, and the files that cannot be read.
    """
    found, failures = _read_asked(results)
    newest: dict[str, str] = {}
    last: dict[str, tuple[Wanted, str]] = {}
    for path, each in found.items():
        for run in each.runs:
            newest[_dataset(run)] = run.data
            last.pop(run.key, None)  # it stands where it was last asked for
            last[run.key] = run, path
    files = _files(frames)
    afresh = _afresh(results) if any(asked.generation for asked in found.values()) else {}
    gone = []
    for key, (run, path) in last.items():
        asked = found[path]
        there = [file for data in {"", run.data, newest[_dataset(run)]} for file in files.get((key, data), ())]
        if not any(_counts(asked, results, file, afresh) for file in there):
            note = ("to be repeated" + "; the record here is older" * bool(there)) * asked.fresh
            time = asked.time.isoformat(timespec="seconds")
            gone.append(Missing(key, run.spec.title, path, time, shell(asked.command), note))
    return gone, failures


def _files(frames: Frames) -> dict[tuple[str, str], list[str]]:
    """The records of each run and data, and without data its failure or the record that cannot be read."""
    files: dict[tuple[str, str], list[str]] = {}
    for failure in frames.failures:
        for path in (failure.path, *failure.beside):
            files.setdefault((_key(path), ""), []).append(path)
    if not frames.runs.empty:
        for members, data in zip(frames.runs["members"], frames.runs["data"], strict=True):
            for path, _ in members:
                key = _key(path).partition("-")[0]  # a record of earlier data has that data behind its key
                files.setdefault((key, data), []).append(path)
    return files


def _afresh(results: Path) -> dict[str, str]:
    """The command that made each record and failure, where that was to be done afresh; by their paths."""
    rows = index.table(results).select(["path", "fresh"]).to_pylist()
    return {f"records/{row['path']}": row["fresh"] for row in rows}


def _counts(asked: Asked, results: Path, file: str, afresh: Mapping[str, str]) -> bool:
    """Whether it is of the command that wanted its own; commands from before they had names go by the time."""
    if asked.generation:
        return afresh.get(file) == asked.generation
    return not asked.fresh or _made(results / file) >= asked.time.timestamp()


def _made(file: Path) -> float:
    """Seconds of the epoch; a file that was removed just now was never made."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return -math.inf


def _read_asked(results: Path) -> tuple[dict[str, Asked], list[Failure]]:
    """What was asked for, by file, the oldest first."""
    found, failures = {}, []
    for file in sorted((results / FOLDER).glob("*.json")):
        path = named(file, results)
        try:
            check_file(file, results)
            found[path] = read_asked(file)
        except ValueError as error:
            message = str(error).replace(str(file), path)
            keep = isinstance(error, NewerError)
            retry = KEEP if keep else "Delete the file; the command that wrote it writes it again."
            failures.append(Failure(path, path, "reading what was asked for", message, retry))
    return dict(sorted(found.items(), key=lambda item: item[1].time)), failures


def _key(path: str) -> str:
    """The run's key in the path of a failure or of a record."""
    return Path(path).name.removesuffix(".json").removesuffix(".failed").partition("-")[2]


def _dataset(run: Wanted) -> str:
    return f"{run.spec.dataset} {run.spec.configuration}"
