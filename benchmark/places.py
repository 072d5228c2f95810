"""Where data and results lie if nobody says so: in the same folders, wherever one stands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = "ATSO_BENCH_DATA"
RESULTS = ("ATSO_BENCH_RESULTS", "ATSO_BENCH_OUT")
"""The variables that name the folders; of the second the later name goes first."""
HOME = "~/atso-bench"
"""The folder of both, for those who name none."""
_OF_DATA, _OF_RESULTS = ("nnUNet_raw", "prepared"), ("records", "asked", "jobs")


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


def _default(name: str, holds: Sequence[str]) -> Place:
    """Folders that were made when the folder one stands in was the default go on being used there."""
    here, home = Path(name), Path(os.path.expanduser(HOME))  # noqa: PTH111 - a user without a home gets no error
    if any((here / each).is_dir() for each in holds):
        return Place(here, f"./{name} is in use")
    if not home.is_absolute():
        return Place(here, "this user has no home")
    return Place(home / name, "the default")
