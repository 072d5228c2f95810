"""Files below ``records`` to rows; many files in parts, each of which another process may read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.schema import NewerError
from atso_bench.reports.data import folds, rows
from atso_bench.reports.data.columns import Columns
from atso_bench.reports.data.listing import check_file, named, size
from atso_bench.reports.data.rows import Failure
from atso_bench.reports.data.workers import Map

_TABLES = (rows.score_columns, rows.phase_columns, rows.diagnostic_columns, rows.class_columns)
BYTES = 2**23
"""Of a part: the main process holds few at a time, and at the end no process reads long while others have nothing."""


@dataclass(frozen=True)
class Rows:
    """What files hold, a row for each run, each phase, each pseudo-labelling, and each case and class of a run.

    Attributes:
        runs: by their key, in the order of the files.
        scores: of these runs.
        phases: of these runs.
        diagnostics: of these runs.
        classes: the rates of the diagnostics by class.
        failures: by the path of the file below the results folder.
    """

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: Columns = field(default_factory=partial(Columns, rows.SCORES))
    phases: Columns = field(default_factory=partial(Columns, rows.PHASES))
    diagnostics: Columns = field(default_factory=partial(Columns, rows.DIAGNOSTICS))
    classes: Columns = field(default_factory=partial(Columns, rows.CLASSES))
    failures: dict[str, Failure] = field(default_factory=dict)

    def extend(self, more: Rows) -> None:
        """Of a run that is in both, the first is kept, and the second is a failure."""
        again = self.runs.keys() & more.runs.keys()
        for key in again:
            path = more.runs[key]["path"]
            self.failures[path] = _twice(path, self.runs[key]["path"])
        self.failures.update(more.failures)
        for own, others in zip(self.tables, more.tables, strict=True):
            own.extend(others, again)
        self.runs.update((key, run) for key, run in more.runs.items() if key not in again)

    @property
    def tables(self) -> tuple[Columns, ...]:
        """All but the runs."""
        return self.scores, self.phases, self.diagnostics, self.classes


def read_rows(files: Sequence[Path], results: Path, each: Map = map) -> Rows:
    """What the files hold.

    Args:
        files: below ``results / "records"``, in the order of the rows.
        results: the results folder.
        each: applies a function to each part of the files, here or in other processes.
    """
    found = Rows()
    once: dict[Any, Any] = {}
    for part in each(_read_part, _parts(files), repeat(results)):
        for run in part.runs.values():
            _share(run, once)
        found.extend(part)
    return found


def _parts(files: Iterable[Path]) -> Iterator[list[Path]]:
    """The files of one cell and seed stay together: they may be folds of one run."""
    part: list[Path] = []
    held, last = 0, ("", "")
    for file in files:
        place = (str(file.parent), file.name.partition("-")[0])
        if held >= BYTES and place != last:
            yield part
            part, held = [], 0
        last = place
        part.append(file)
        held += size(file)
    if part:
        yield part


def _read_part(files: Sequence[Path], results: Path) -> Rows:
    """A file that cannot be read is a failure, so that one torn file does not hide a thousand good ones."""
    found = Rows()
    once: dict[Any, Any] = {}
    folded: dict[Any, list[tuple[Record, str]]] = {}
    for file in files:
        path = named(file, results)
        if file.name.endswith(".failed.json"):
            found.failures[path] = rows.read_failure(file, path, results)
            continue
        try:
            check_file(file, results)
            record = Record.read(file)
            if record.spec.folds:
                folded.setdefault(_whole(record), []).append((record, path))
            else:
                _take(found, record, path, once)
        except rows.MALFORMED as error:
            message = str(error).replace(str(file), path) if str(error) else type(error).__name__
            again = rows.KEEP if isinstance(error, NewerError) else "Delete the file and run it again."
            found.failures[path] = Failure(path, path, "reading the record", message, again)
    for members in folded.values():
        _take_folds(found, members, once)
    return found


def _whole(record: Record) -> tuple[str, str]:
    spec, data = folds.whole(record)
    return spec.key, data


def _take(
    found: Rows, record: Record, path: str, once: dict[Any, Any], members: Sequence[tuple[str, float]] = ()
) -> None:
    """Add a run's rows, all or, where something is wrong with it, none."""
    run = rows.run_row(record, path, members)
    key = run["key"]
    parts = [part(record) for part in _TABLES]
    if key in found.runs:
        found.failures[path] = _twice(path, found.runs[key]["path"])
        return
    _share(run, once)
    found.runs[key] = run
    for table, (length, columns) in zip(found.tables, parts, strict=True):
        table.add(key, length, columns)


def _take_folds(found: Rows, members: Sequence[tuple[Record, str]], once: dict[Any, Any]) -> None:
    """Add the folds of a run as one, if all are there."""
    ordered = sorted(members, key=lambda member: member[0].spec.fold)
    (first, path), others = ordered[0], tuple(path for _, path in ordered[1:])
    scores = [(own, rows.number(record.score)) for record, own in ordered]
    try:
        _take(found, folds.pooled([record for record, _ in ordered]), path, once, scores)
    except rows.MALFORMED as error:
        again = (
            f"Run the same command again; finished folds are kept. {rows.shell(first.environment.get('command') or [])}"
        )
        title = folds.whole(first)[0].title
        found.failures[path] = Failure(path, title, "pooling the folds", str(error), again.strip(), others)


def _share(run: dict[str, Any], once: dict[Any, Any]) -> None:
    """Equal words of all runs, and the facts of a comparison, become one object: here, and on the way to a process."""
    run["facts"] = once.setdefault((run["comparison"],), run["facts"])
    run.update((name, once.setdefault(value, value)) for name, value in run.items() if isinstance(value, str))


def _twice(path: str, first: str) -> Failure:
    message = f"it is the same run as {first}; that one is used"
    return Failure(path, path, "reading the record", message, "Delete one of the two files.")
