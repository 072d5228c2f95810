"""Runs that a command asked for and that left nothing: neither a record nor a failure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from atso_bench.benchmark.asked import FOLDER, Asked, Wanted
from atso_bench.benchmark.asked import read as read_asked
from atso_bench.reports.frame import Frames
from atso_bench.reports.rows import Failure


@dataclass(frozen=True)
class Missing:
    """A run that was asked for and is not there: interrupted, still running, or its record was removed.

    Attributes:
        key: the run's.
        run: its title.
        path: the file below the results folder that says that it was asked for.
        time: when it was last asked for, ISO 8601.
        command: what goes on with it; ready for a shell.
    """

    key: str
    run: str
    path: str
    time: str
    command: str


def missing(results: Path, frames: Frames) -> tuple[list[Missing], list[Failure]]:
    """The runs that were asked for and are not there, in the order of the files and of the runs in them.

    A run is there if it failed, if its record cannot be read (both are among the failures), or if it has a record made
    from the data as it was when somebody last asked for runs on it; as in ``grid.finished``, no other record will do.

    Returns:
        The runs, and the files that cannot be read.
    """
    found, failures = _read(results)
    data: dict[str, str] = {}
    last: dict[str, tuple[Wanted, str]] = {}
    for path, each in found.items():
        for run in each.runs:
            data[_dataset(run)] = run.data
            last.pop(run.key, None)  # it stands where it was last asked for
            last[run.key] = run, path
    runs = frames.runs
    # a record of earlier data has that data behind its key here; no run is asked for by such a key
    done = set() if runs.empty else set(zip(runs["key"], runs["data"], strict=True))
    failed = {_key(failure.path) for failure in frames.failures}
    gone = [
        Missing(key, run.spec.title, path, found[path].time, _again(found[path]))
        for key, (run, path) in last.items()
        if key not in failed and (key, data[_dataset(run)]) not in done
    ]
    return gone, failures


def _read(results: Path) -> tuple[dict[str, Asked], list[Failure]]:
    """What was asked for, by file, the oldest first."""
    found, failures = {}, []
    for file in sorted((results / FOLDER).glob("*.json")):
        path = file.relative_to(results).as_posix()
        try:
            found[path] = read_asked(file)
        except ValueError as error:
            message = str(error).replace(str(file), path)
            retry = "Delete the file; the command that wrote it writes it again."
            failures.append(Failure(path, path, "reading what was asked for", message, retry))
    return dict(sorted(found.items(), key=lambda item: item[1].time)), failures


def _key(path: str) -> str:
    """The run's key in the path of a failure, or of a record that cannot be read."""
    return Path(path).name.removesuffix(".json").removesuffix(".failed").partition("-")[2]


def _dataset(run: Wanted) -> str:
    return f"{run.spec.dataset} {run.spec.configuration}"


def _again(asked: Asked) -> str:
    """The command without ``--fresh``, which would do again what is done."""
    return shlex.join(word for word in asked.command if word != "--fresh")
