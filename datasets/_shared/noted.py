"""Files that we wrote and must trust later: JSON with its own checksum, and checksums of other files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from atso_bench.benchmark.store.files import atomic

Sums = Mapping[str, str]
"""File name -> SHA-256."""


def write_noted(path: Path, content: Any) -> None:
    """Write JSON with its checksum; the file appears whole or not at all."""
    text = _text(content)
    with atomic(path) as partial:
        partial.write_text(f'{{"sha256": "{_sum(text)}",\n"content": {text}}}\n', encoding="utf-8")


def read_noted(path: Path) -> Any:
    """The content; None if the file is missing or is not as it was written."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["content"] if kept["sha256"] == _sum(_text(kept["content"])) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def read_prepared(folder: Path, name: str) -> dict[str, Any]:
    """What was noted when the dataset ``name`` was prepared in ``folder``.

    Raises:
        OSError: if it is damaged.
    """
    path = folder / "prepared.json"
    content: dict[str, Any] | None = read_noted(path)
    if content is None:
        raise OSError(f"{path} is damaged; `atso-bench prepare {name}` makes it again")
    return content


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        whole = hashlib.sha256()
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()


def sums_of(*paths: Path) -> dict[str, str]:
    """The files' checksums by name."""
    return {path.name: sha256(path) for path in paths}


def note_files(folder: Path, made: Mapping[str, Sums | None]) -> None:
    """Add the files of these cases to what is noted of the folder; call it under a lock.

    Args:
        folder: where the files lie; the note lies beside it, where no case can have its name.
        made: case -> its files, or None to forget them.
    """
    known = {**(read_noted(_note(folder)) or {}), **made}
    write_noted(_note(folder), {case: sums for case, sums in known.items() if sums is not None})


def noted(folder: Path) -> tuple[str, ...]:
    """The cases whose files are noted."""
    return tuple(read_noted(_note(folder)) or ())


def is_whole(folder: Path, sums: Sums) -> bool:
    """Whether these files are as they were written."""
    try:
        return bool(sums) and all(sha256(folder / name) == wanted for name, wanted in sums.items())
    except OSError:
        return False


def damaged(folder: Path, cases: Iterable[str]) -> list[str]:
    """The cases that have a file missing, or one that is not as it was written. Reads every file."""
    known = read_noted(_note(folder)) or {}
    return [case for case in cases if not is_whole(folder, known.get(case, {}))]


def _note(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.files.json")


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
