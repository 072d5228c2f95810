"""Files that are left out because their names begin with a dot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SHOWN = 5


def hidden(folders: Iterable[Path], ending: str) -> list[str]:
    """A note on the hidden files of these folders; none on ``._NAME``, which a Mac adds to archives."""
    found = [
        f"{folder.name}/{path.name}"
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.glob(f".*{ending}"))
        if not path.name.startswith("._")
    ]
    if not found:
        return []
    shown = ", ".join(found[:SHOWN]) + (" ..." if len(found) > SHOWN else "")
    return [f"{len(found)} file(s) are ignored, because their names begin with a dot; rename them to use them: {shown}"]
