"""The files that a report is made from. Nothing is imported for it that would take long."""

from __future__ import annotations

from pathlib import Path


def record_files(results: Path) -> list[Path]:
    """The files of all runs, finished or failed, in the order of their paths."""
    return sorted((results / "records").rglob("seed*.json"))


def size(file: Path) -> int:
    """Bytes; 0 of a file that cannot be looked at, of which the one who reads it says why."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
