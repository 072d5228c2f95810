"""Which runs are done: a record counts while its data, its metrics and its method are what they are now."""

from __future__ import annotations

import functools
from collections.abc import Callable
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
    results: Path, spec: RunSpec, since: float = 0.0, identity: Callable[[str, str], str] = _identity
) -> Record | None:
    """The run's record if there is one that can be read, made from this data by this method as they are now."""
    return found(results, spec, since, identity)[0]


def found(results: Path, spec: RunSpec, since: float, identity: Callable[[str, str], str]) -> tuple[Record | None, str]:
    """The same, and why a record that is there does not count."""
    from atso_bench.benchmark.scoring import metrics

    path = results / "records" / spec.path
    if not path.exists() or path.stat().st_mtime < since:
        return None, ""
    try:
        record = Record.read(path)
    except NewerError:  # whoever wrote it can read it, and would miss it
        raise
    except ValueError:
        return None, "its record cannot be read"  # torn, or of another schema
    if record.data != identity(spec.dataset, spec.configuration):
        return None, "its data have changed since"
    if record.metrics_version != metrics.VERSION:
        return None, f"it was scored by version {record.metrics_version} of the metrics, now {metrics.VERSION}"
    return (record, "") if _same_method(record, spec) else (None, "the method's code or defaults have changed since")


def _same_method(record: Record, spec: RunSpec) -> bool:
    """Whether the method is still that of the record; those from before there was a hash of its code do not say."""
    method = registry.method(spec.method, spec.options)
    return digest(record.options) == digest(method.model_dump()) and record.code in ("", origin.code(type(method)))
