"""An index of the records: what is asked of all of them at once, so that few of very many are opened.

The records stay the truth. The index is made from them, and brought up to date whenever it is used: files are listed,
and only those are read that are new or have another size or time than when they were read last. It is a Parquet dataset
in folders by dataset and method, which pandas, DuckDB and others read as it is; it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from atso_bench.benchmark.spec import digest
from atso_bench.benchmark.store.files import atomic
from atso_bench.benchmark.store.record import SCHEMA
from atso_bench.benchmark.store.schema import check_schema

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "index"
VERSION = "2"
FAILED = ".failed.json"
_PLAIN = {
    "path": "string", "size": "int64", "time": "int64", "key": "string", "status": "string", "dataset": "string",
    "configuration": "string", "method": "string", "fraction": "string", "seed": "int64", "budget": "string",
    "steps": "int64", "parity": "string", "folds": "int64", "fold": "int64", "scored": "string", "track": "string",
    "metric": "string", "score": "float64", "seconds": "float64", "data": "string", "metrics_version": "int64",
    "options": "string", "code": "string", "fresh": "string", "said": "string",
}  # fmt: skip
"""The columns. ``path`` is below ``records``; ``size`` and ``time`` (nanoseconds) are those that the file had when it
was read; ``status`` is ``done``, ``failed`` or ``unreadable``; ``options`` is a hash of all of the method's options;
``said`` is what went wrong."""


@dataclass(frozen=True)
class File:
    """A record's file as it is listed."""

    path: str
    size: int
    time: int


def listed(results: Path) -> dict[str, File]:
    """The files of all records and failures, by their paths below ``records``; none is opened."""
    root = results / "records"
    return {file.path: file for file in _walk(str(root), "")} if root.is_dir() else {}


def _walk(folder: str, below: str) -> Iterator[File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{below}{entry.name}/")
            elif entry.name.startswith("seed") and entry.name.endswith(".json"):
                with contextlib.suppress(OSError):  # it was taken away just now
                    if entry.is_file(follow_symlinks=False):  # a link may lead anywhere
                        facts = entry.stat()
                        yield File(below + entry.name, facts.st_size, facts.st_mtime_ns)


def table(results: Path) -> pa.Table:
    """A row for each record and failure, as they are now; the index on disk is brought up to date where it can be.

    The columns are those of ``_PLAIN``.
    """
    import pyarrow as pa

    there, known = listed(results), _stored(results)
    paths, sizes, times = (known.column(name).to_pylist() for name in ("path", "size", "time"))
    good = [there.get(path) == File(path, size, time) for path, size, time in zip(paths, sizes, times, strict=True)]
    kept = known.filter(pa.array(good, pa.bool_()))
    have = {path for path, same in zip(paths, good, strict=True) if same}
    rows = [_indexed(results, file) for file in there.values() if file.path not in have]
    if not rows and len(kept) == len(known):
        return known
    found = pa.concat_tables([kept, *_tables(rows)])
    gone = (path for path, same in zip(paths, good, strict=True) if not same)
    with contextlib.suppress(OSError):  # a folder that may only be read has no index, and needs more time
        _write(results, found, {*map(_part, gone), *(_part(row["path"]) for row in rows)})
    return found


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, getattr(pa, kind)()) for name, kind in _PLAIN.items()])


def _tables(rows: Sequence[dict[str, Any]]) -> Iterator[pa.Table]:
    """The rows as tables. What has values of another kind is no record; a name that is no text has no row."""
    import pyarrow as pa

    try:
        yield pa.Table.from_pylist(rows, _schema())
    except (*_WRONG, pa.ArrowException):
        if len(rows) > 1:
            for row in rows:
                yield from _tables([row])
        elif rows[0]["status"] != "unreadable":
            known = {name: rows[0][name] for name in ("path", "size", "time", "key")}
            yield from _tables([{**known, "status": "unreadable", "said": "it holds values of another kind"}])


_WRONG = (ArithmeticError, TypeError, ValueError)


def _stored(results: Path) -> pa.Table:
    """What the index holds; nothing where there is none, or one of another version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for file in sorted((results / FOLDER).glob("*/*.parquet")):
        with contextlib.suppress(OSError, ValueError, KeyError, pa.ArrowException):
            each = pq.ParquetFile(file).read()
            if (each.schema.metadata or {}).get(b"index") == VERSION.encode():
                found.append(each.select(list(_PLAIN)).cast(_schema()))
    return pa.concat_tables(found) if found else _schema().empty_table()


def _part(path: str) -> str:
    """The part of the index that a record belongs to: dataset and method, as its folders are called."""
    folders = path.split("/")[:-1]
    return "/".join((*folders, "other", "other")[:2])


def _write(results: Path, rows: pa.Table, parts: Set[str]) -> None:
    """Write the parts that changed, each by rename, and nothing through a link that leads elsewhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    places: dict[str, list[int]] = {part: [] for part in parts}
    for place, path in enumerate(rows.column("path").to_pylist()):
        if (part := _part(path)) in places:
            places[part].append(place)
    for part, own in places.items():
        target = results / FOLDER / f"{part}.parquet"
        if not target.parent.resolve().is_relative_to(results.resolve()):
            continue
        mine = rows.take(pa.array(own, pa.int64())).replace_schema_metadata({"index": VERSION})
        with atomic(target) as partial:
            pq.write_table(mine, partial, compression="zstd")


def _indexed(results: Path, file: File) -> dict[str, Any]:
    """What the index says of a file. One that is no record is said to be so, and is read again when it has changed."""
    path = results / "records" / file.path
    known = {**dict.fromkeys(_PLAIN), "path": file.path, "size": file.size, "time": file.time}
    known["key"] = _key(file.path)
    known |= dict(zip(("dataset", "method"), file.path.split("/"), strict=False))
    try:
        raw = orjson.loads(path.read_bytes())
        return known | (_failure(raw) if file.path.endswith(FAILED) else _record(raw))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return known | {"status": "unreadable", "said": str(error)[:200]}


def _key(path: str) -> str:
    return path.rpartition("/")[2].partition("-")[2].partition(".")[0].partition("-")[0]


def _spec(raw: Mapping[str, Any]) -> dict[str, Any]:
    spec, budget = raw["spec"], raw["spec"]["budget"]
    plain = {name: spec[name] for name in ("dataset", "method", "configuration", "seed", "scored")}
    return {
        **plain,
        "fraction": str(spec["fraction"]),
        "budget": str(budget["name"]),
        "steps": int(budget["steps"]),
        "parity": budget["parity"],
        "folds": int(spec.get("folds", 0)),  # of before there were any
        "fold": int(spec.get("fold", 0)),
    }


def _record(raw: Mapping[str, Any]) -> dict[str, Any]:
    check_schema(raw, SCHEMA)
    return {
        **_spec(raw),
        "status": "done",
        "track": raw["track"],
        "metric": raw["metric"],
        "score": raw["score"],
        "seconds": float(sum(phase["seconds"] for phase in raw["phases"])),
        "data": raw["data"],
        "metrics_version": int(raw["metrics_version"]),
        "options": digest(raw["options"]),
        "code": raw.get("code", ""),
        "fresh": raw.get("environment", {}).get("fresh", ""),
    }


def _failure(raw: Mapping[str, Any]) -> dict[str, Any]:
    said = f"{raw['phase']}: {raw['error']}: {raw['message']}".splitlines()[0]
    return {**_spec(raw), "status": "failed", "said": said[:200], "fresh": raw["environment"].get("fresh", "")}
