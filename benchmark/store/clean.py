"""Removes what finished runs no longer need."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from atso_bench.benchmark.store import asked, index, leases
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.trained import portable_file

KEEP = ("records", "models", "all")
"""``models``: records and final models stay; ``all``: phases too."""
BEGINNING = 2
"""Phases of a run that others may share: M0 and its labels."""


@dataclass
class Freed:
    """What was removed, or would be."""

    files: int = 0
    bytes: int = 0

    def add(self, path: Path) -> None:
        """Count a file, or all files of a folder."""
        for file in path.rglob("*") if path.is_dir() else [path]:
            with suppress(OSError):
                if file.is_file():
                    self.files, self.bytes = self.files + 1, self.bytes + file.stat().st_size


def clean(results: Path, keep: str, *, dry: bool = False) -> Freed:
    """Remove the phases of finished runs, and with ``keep="records"`` their models too.

    Beginnings stay that a run of the same cases and seed may share which was asked for and is not finished. What a
    process is at stays too.

    Raises:
        ValueError: if there is no such way to keep.
    """
    if keep not in KEEP:
        raise ValueError(f"--keep must be {', '.join(KEEP)}, got {keep!r}")
    freed = Freed()
    if keep == "all":
        return freed
    rows = [row for row in index.table(results).to_pylist() if row["status"] == "done"]
    needed = _unfinished(results, {row["key"] for row in rows})
    stages = Stages(results / "stages")
    for row in rows:
        cell = row["dataset"], row["configuration"], row["fraction"], row["seed"]
        for key in _phases(results / "records" / row["path"], BEGINNING if cell in needed else 0):
            _remove_phase(stages.folder(key), freed, dry)
        model = results / "stages" / "models" / f"{row['key']}.pt"
        for file in (model, portable_file(model)) if keep == "records" else ():
            if file.is_file():
                freed.add(file)
                if not dry:
                    file.unlink()
    return freed


def _unfinished(results: Path, done: set[str]) -> set[tuple[Any, ...]]:
    """Cells of runs that were asked for and are not done."""
    found = set()
    for file in (results / asked.FOLDER).glob("*.json"):
        with suppress(ValueError):
            specs = [run.spec for run in asked.read(file).runs if run.key not in done]
            found |= {(spec.dataset, spec.configuration, str(spec.fraction), spec.seed) for spec in specs}
    return found


def _phases(record: Path, but: int) -> Iterator[str]:
    """Keys of a record's phases behind the first ones; what is no key names no folder."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        for phase in orjson.loads(record.read_bytes())["phases"][but:]:
            if re.fullmatch(r"[0-9a-f]{24}", str(phase["key"])):
                yield phase["key"]


def _remove_phase(folder: Path, freed: Freed, dry: bool) -> None:
    if folder.is_symlink() or not folder.is_dir():
        return
    freed.add(folder)
    if dry:
        return
    with leases.leased(folder / "lock", wait=False) as lease:
        if lease is not None:
            shutil.rmtree(folder, ignore_errors=True)
