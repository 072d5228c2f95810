"""Every file below a folder, also behind links, which often join data of several disks."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """The files in it and in its folders, sorted; a link to a folder is followed, and no folder is entered twice."""
    found: list[Path] = []
    seen = {_place(folder)} if folder.is_dir() else set()
    for place, folders, files in os.walk(folder, followlinks=True):
        fresh = []
        for name in sorted(folders):
            if (own := _place(Path(place) / name)) not in seen:
                seen.add(own)
                fresh.append(name)
        folders[:] = fresh
        found += [Path(place) / name for name in files]
    return sorted(found)


def _place(folder: Path) -> tuple[int, int]:
    """Where a folder is on its disk, whatever it is called."""
    status = folder.stat()
    return status.st_dev, status.st_ino
