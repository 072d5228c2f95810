"""Where data and results lie if nobody says so: in the same folders, wherever one stands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = "ATSO_BENCH_DATA"
RESULTS = ("ATSO_BENCH_RESULTS", "ATSO_BENCH_OUT")
"""The variables that name the folders; of the second the later name goes first."""
RAW = "nnUNet_raw"
"""nnU-Net's variable, and the folder of raw datasets below a root of ours."""
HOME = "~/atso-bench"
"""The folder of both, for those who name none."""
_OF_DATA, _OF_RESULTS = (RAW, "prepared"), ("records", "asked", "jobs")


@dataclass(frozen=True)
class Place:
    """A folder, and why it is this one."""

    path: Path
    why: str


def data() -> Place:
    """The data root: ``ATSO_BENCH_DATA``, or ``./data`` where it is one already, or ``~/atso-bench/data``."""
    if named := os.environ.get(DATA):
        return Place(Path(named).expanduser().absolute(), DATA)
    found = _default("data", _OF_DATA)
    return Place(found.path.absolute(), found.why)


def results() -> Place:
    """The results folder: ``ATSO_BENCH_RESULTS``, or ``./results`` where it is one, or ``~/atso-bench/results``."""
    for name in RESULTS:
        if named := os.environ.get(name):
            return Place(Path(named), name)
    return _default("results", _OF_RESULTS)


def cache() -> Path:
    """Where new data go if the data root is read-only."""
    return Path(os.environ.get("ATSO_BENCH_CACHE") or "~/.cache/atso-bench").expanduser().absolute()


def raw_roots() -> tuple[Path, ...]:
    """Folders that hold ``DatasetXXX_Name`` in nnU-Net's raw layout, in the order in which they are searched."""
    own = os.environ.get(RAW)
    return (*([Path(own).absolute()] if own else []), data().path / RAW, cache() / RAW)


def prepared_roots() -> tuple[Path, ...]:
    """Folders that hold prepared datasets, in the order in which they are searched."""
    return data().path / "prepared", cache() / "prepared"


def own_volumes() -> list[str]:
    """The datasets in nnU-Net's raw layout that there are."""
    found = (path.parent.name for root in raw_roots() for path in root.glob("Dataset[0-9][0-9][0-9]_*/dataset.json"))
    return sorted(set(found))


def own_frames() -> list[str]:
    """The datasets of frames of one's own that there are."""
    return sorted({path.name for root in prepared_roots() for path in root.glob("frames-*") if path.is_dir()})


def _default(name: str, holds: Sequence[str]) -> Place:
    """Folders that were made when the folder one stands in was the default go on being used there."""
    here, home = Path(name), Path(os.path.expanduser(HOME))  # noqa: PTH111 - a user without a home gets no error
    if any((here / each).is_dir() for each in holds):
        return Place(here, f"./{name} is in use")
    if not home.is_absolute():
        return Place(here, "this user has no home")
    return Place(home / name, "the default")
