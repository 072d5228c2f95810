"""The runs that a command asked for, stored on disk. What became of them is in the records."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson

from atso_bench.benchmark.spec import RunSpec, digest
from atso_bench.benchmark.store.environment import current
from atso_bench.benchmark.store.files import write_json
from atso_bench.benchmark.store.schema import NewerError, check_schema

SCHEMA = 1
FOLDER = "asked"


@dataclass(frozen=True)
class Wanted:
    """A run that was asked for.

    Attributes:
        spec: what to run.
        key: ``spec.key``, kept because it takes a millisecond where a published list is long.
        data: content hash of the dataset as it was then.
    """

    spec: RunSpec
    key: str
    data: str


@dataclass(frozen=True)
class Asked:
    """One command's runs.

    Attributes:
        command: the program and its arguments.
        time: when it began, with its time zone.
        runs: every run, in the command's order.
        generation: what marks the records that count, where only the command's own do; empty where all do, and in
            files from before there was one.
    """

    command: list[str]
    time: datetime
    runs: list[Wanted]
    generation: str = ""

    @property
    def fresh(self) -> bool:
        """Whether nothing from before ``time`` counted as done."""
        return bool(self.generation) or "--fresh" in self.command


def write(results: Path, specs: Sequence[RunSpec], data: Mapping[tuple[str, str], str], generation: str = "") -> Path:
    """Write below ``results/asked``; the same runs always have the same file.

    Args:
        results: the folder that holds ``records/``.
        specs: the runs.
        data: content hash by dataset and configuration.
        generation: what marks the records that count, where only the command's own do.
    """
    # a published list has hundreds of cases, and most fields are the same in the whole grid: each stands here once
    texts = [json.dumps(spec.lists, sort_keys=True) for spec in specs]
    names = {text: digest(text) for text in set(texts)}
    rows: list[dict[str, Any]] = []
    for spec, text in zip(specs, texts, strict=True):
        more = {"key": spec.key, "data": data[spec.dataset, spec.configuration]}
        rows.append({**vars(spec), "budget": asdict(spec.budget), "lists": names[text], **more})
    shared = {name: value for name, value in rows[0].items() if all(row[name] == value for row in rows)} if rows else {}
    content = {
        "schema": SCHEMA,
        "command": current()["command"],
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),  # records are as young
        "generation": generation,
        "lists": {name: json.loads(text) for text, name in names.items()},
        "shared": shared,
        "runs": [{name: value for name, value in row.items() if name not in shared} for row in rows],
    }
    path = results / FOLDER / f"{digest(sorted(row['key'] for row in rows))}.json"
    write_json(path, content)
    return path


def read(path: Path) -> Asked:
    """Read what ``write`` wrote.

    Raises:
        NewerError: if a newer version wrote it.
        ValueError: if the file is something else, or was written by an older version of the schema.
    """
    try:
        raw = orjson.loads(path.read_bytes())
        check_schema(raw, SCHEMA)
        time = datetime.fromisoformat(raw["time"])
        if time.tzinfo is None:
            raise ValueError(f"its time needs a time zone, got {raw['time']}")
        runs = [_wanted({**raw["shared"], **run}, raw["lists"]) for run in raw["runs"]]
        return Asked([str(word) for word in raw["command"]], time, runs, str(raw.get("generation", "")))
    except NewerError as error:
        raise NewerError(f"{path} is not a readable list of requested runs: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable list of requested runs: {error}") from error


def find(results: Path, key: str) -> RunSpec:
    """The run of this key, among all that was asked for here.

    Raises:
        LookupError: if nobody asked for it.
    """
    for path in sorted((results / FOLDER).glob("*.json")):
        content = path.read_bytes()
        if f'"{key}"'.encode() in content:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                raw = orjson.loads(content)
                for row in raw["runs"]:
                    whole = {**raw["shared"], **row}
                    if whole["key"] == key:
                        return _wanted(whole, raw["lists"]).spec
    raise LookupError(f"no command asked for a run {key} in {results}; `atso-bench plan --format jsonl` lists the keys")


def _wanted(row: dict[str, Any], lists: Mapping[str, Any]) -> Wanted:
    key, data = str(row.pop("key")), str(row.pop("data"))
    return Wanted(RunSpec.from_json({**row, "lists": lists[row["lists"]]}), key, data)
