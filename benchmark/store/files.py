"""Writes files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write JSON by rename: NaN becomes null, a reader never sees half a file."""
    write_text(path, json.dumps(jsonable(value), indent=1, allow_nan=False, ensure_ascii=False))


def write_text(path: Path, text: str) -> None:
    """Write by rename: a reader never sees half a file."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write to; it is flushed to disk and renamed to ``path`` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # no process id: two containers on one folder may have the same
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        flush(partial)
        partial.replace(path)
        _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sweep(*paths: Path, older: float = 0.0) -> None:
    """Remove what killed processes left of these files.

    Args:
        paths: files that no other process may write now.
        older: seconds that the rest must be old, where another process may be writing.
    """
    for path in paths:
        for rest in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - rest.stat().st_mtime >= older:
                    rest.unlink()


def flush(path: Path) -> None:
    """See to it that a file's content is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """A file's new name is on disk only when its folder is."""
    with contextlib.suppress(OSError):  # some network file systems refuse it
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def jsonable(value: Any) -> Any:
    """The value as JSON can hold it: null where a number is not jsonable, keys as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value
