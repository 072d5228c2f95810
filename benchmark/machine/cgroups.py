"""The control groups around this process, by which containers and batch systems limit it; Linux has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CGROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def around(kind: str) -> Iterator[tuple[Path, bool]]:
    """Folders of the groups that may limit ``kind`` (``memory``, ``cpu``), and whether they are of version 2.

    This process's own group comes first, then those around it.
    """
    for line in lines(OWN):
        number, kinds, path = line.split(":", 2)
        second = number == "0"
        if not second and kind not in kinds.split(","):
            continue
        root = CGROUPS if second else CGROUPS / kind
        own = root / path.strip("/")
        for folder in dict.fromkeys((own, *own.parents)):
            if folder != root and root not in folder.parents:
                break
            yield folder, second


def lines(path: Path) -> list[str]:
    """Of a file of the system; none where it is not there."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def first(path: Path) -> str:
    """The first line of such a file, or nothing."""
    return next(iter(lines(path)), "")
