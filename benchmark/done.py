"""Which runs are done: a record counts while its data, its metrics and its method are what they are now."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import RunSpec, digest
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.schema import NewerError
from atso_bench.benchmark.training import origin


def _identity(dataset: str, configuration: str) -> str:
    """The content hash of a dataset as it is now."""
    return registry.dataset(dataset, configuration).identity


def remembered() -> Callable[[str, str], str]:
    """The content hash of a dataset as it was at first: one look at all files for a grid, not one for each run."""
    return functools.cache(_identity)


def finished(
    results: Path, spec: RunSpec, fresh: str = "", identity: Callable[[str, str], str] = _identity
) -> Record | None:
    """The run's record if there is one that can be read, made from this data by this method as they are now.

    With ``fresh``, the name of a command that began with ``--fresh``, those of other commands do not count.
    """
    return found(results, spec, fresh, identity)[0]


def found(results: Path, spec: RunSpec, fresh: str, identity: Callable[[str, str], str]) -> tuple[Record | None, str]:
    """The same, and why a record that is there does not count."""
    path = results / "records" / spec.path
    if not path.exists():
        return None, ""
    try:
        record = Record.read(path)
    except NewerError:  # whoever wrote it can read it, and would miss it
        raise
    except ValueError:
        return None, "its record cannot be read"  # torn, or of another schema
    why = _why_not(_facts(record), spec, fresh, identity, _methods)
    return (record, "") if why is None else (None, why)


def outdated(record: Record) -> str:
    """Why a record does not stand for its run as that would be made now; empty where it does."""
    return _why_not(_facts(record), record.spec, "", _identity, _methods) or ""


Methods = Callable[[RunSpec], tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Facts:
    """What decides whether a record counts."""

    data: str
    metrics_version: int
    options: str
    code: str
    fresh: str


def _facts(record: Record) -> Facts:
    fresh = record.environment.get("fresh", "")
    return Facts(record.data, record.metrics_version, digest(record.options), record.code, fresh)


def _why_not(
    found: Facts, spec: RunSpec, fresh: str, identity: Callable[[str, str], str], methods: Methods
) -> str | None:
    """Why a record does not count; None if it does. Nothing has to be said of one that is to be made afresh."""
    from atso_bench.benchmark.scoring import metrics

    if fresh and found.fresh != fresh:
        return ""
    if found.data != identity(spec.dataset, spec.configuration):
        return "its data have changed since"
    if found.metrics_version != metrics.VERSION:
        return f"it was scored by version {found.metrics_version} of the metrics, now {metrics.VERSION}"
    if (found.options, found.code) not in methods(spec):
        return "the method's code or defaults have changed since"
    return None


def _methods(spec: RunSpec) -> tuple[tuple[str, str], ...]:
    """Hashes of all options and of the code, as the method is now; records from before there was a code have none."""
    method = registry.method(spec.method, spec.options)
    options = digest(method.model_dump())
    return (options, ""), (options, origin.code(type(method)))


class Index:
    """Which runs are done, for very many at once: few records are opened, none of which has not changed."""

    def __init__(self, results: Path, fresh: str, identity: Callable[[str, str], str]) -> None:
        from atso_bench.benchmark.store import index

        rows = index.table(results).select(["path", "status", "seconds", *(one.name for one in fields(Facts))])
        self._rows = {row["path"]: row for row in rows.to_pylist()}
        self.results, self.fresh, self.identity = results, fresh, identity
        self._known: dict[str, tuple[tuple[str, str], ...]] = {}

    def seconds(self, spec: RunSpec) -> float | None:
        """Of the run's record, as `finished` would find it; None where the run is not done.

        Raises:
            NewerError: if a newer version wrote it.
        """
        row = self._rows.get(spec.path.as_posix())
        if row is None:
            return None
        if row["status"] != "done":
            record = finished(self.results, spec, self.fresh, self.identity)
            return None if record is None else sum(record.seconds.values())
        found = Facts(**{one.name: row[one.name] for one in fields(Facts)})
        why = _why_not(found, spec, self.fresh, self.identity, self._once)
        return row["seconds"] if why is None else None

    def _once(self, spec: RunSpec) -> tuple[tuple[str, str], ...]:
        """The method's hashes, which are the same for most runs of a grid."""
        name = spec.method + repr(spec.options)
        if name not in self._known:
            self._known[name] = _methods(spec)
        return self._known[name]
