"""The files that a report is made from. Nothing is imported for it that would take long."""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path

from atso_bench.benchmark.store import index


def record_files(results: Path) -> list[Path]:
    """The files of all runs, finished or failed, in the order of their paths."""
    return sorted((results / "records").rglob("seed*.json"))


def matching(results: Path, where: str) -> list[Path]:
    """Those of the runs whose row in the index fulfils ``where``, an expression of pandas: ``dataset=='la'``.

    Raises:
        ValueError: if it is no such expression, or no run fulfils it.
    """
    rows = index.table(results).to_pandas()
    try:
        found = rows.query(where)["path"]
    except Exception as error:
        raise ValueError(f"--where {where}: {error}; the columns are {', '.join(rows.columns)}") from error
    if found.empty:
        raise ValueError(f"--where {where}: none of {len(rows)} runs in {results} is so")
    return sorted(results / "records" / path for path in found)


def results_of(results: Path, kinds: Set[tuple[str, str, str]]) -> list[Path]:
    """Records of runs scored on the test set whose dataset, configuration and parity are among ``kinds``."""
    rows = index.table(results).select(["path", "status", "scored", "dataset", "configuration", "parity"]).to_pylist()
    scored = [row for row in rows if (row["status"], row["scored"]) == ("done", "test")]
    found = [row["path"] for row in scored if (row["dataset"], row["configuration"], row["parity"]) in kinds]
    return sorted(results / "records" / path for path in found)


def named(file: Path, results: Path) -> str:
    """The file's path below the results folder, for people and links; what is no UTF-8 in it is replaced."""
    return os.fsencode(file.relative_to(results).as_posix()).decode("utf-8", "replace")


def check_file(file: Path, results: Path) -> None:
    """Refuse what is no plain file below the results folder: a pipe never ends, and a link may lead anywhere.

    Raises:
        ValueError: saying which.
    """
    if not file.is_file():
        raise ValueError(f"{file} is no file that can be read")
    if file.is_symlink() and not file.resolve().is_relative_to(results.resolve()):
        raise ValueError(f"{file} is a link that leads out of the results folder; put a copy in its place")


def size(file: Path) -> int:
    """Bytes; 0 of a file that cannot be looked at, of which the one who reads it says why."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
