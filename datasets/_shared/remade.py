"""Datasets that are made when first used, and again where another release lies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from atso_bench.datasets._shared.storage import locked, new_folder


def release(facts: Path) -> str | None:
    """What a made folder's JSON says of its release; None where there is none."""
    return json.loads(facts.read_text(encoding="utf-8")).get("release") if facts.is_file() else None


def make(folder: Path, facts: str, wanted: str, write: Callable[[Path], None]) -> Path:
    """``folder``, written by ``write`` unless its file ``facts`` is of the release that is wanted."""
    with locked(folder.with_name(f".{folder.name}.lock")):
        if release(folder / facts) != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            with new_folder(folder) as partial:
                write(partial)
    return folder
