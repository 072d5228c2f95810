"""Where data are stored, raw and prepared, and how they are written so that a killed process does no damage."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from atso_bench.benchmark import places
from atso_bench.benchmark.store import locks

RAW, PREPROCESSED, RESULTS = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"
"""nnU-Net's environment variables."""
PLANS = "nnUNetPlans.json"
"""The plans that are used, as nnU-Net's default planner calls them."""


@dataclass(frozen=True)
class Storage:
    """Folders, in the order in which they are searched; what is written goes to ``home``.

    Attributes:
        raw: folders that hold ``DatasetXXX_Name`` in nnU-Net's raw layout.
        prepared: folders that hold prepared datasets.
        home: the data root, or the cache where the data root is read-only.
    """

    raw: tuple[Path, ...]
    prepared: tuple[Path, ...]
    home: Path

    @property
    def looked(self) -> str:
        """Where raw datasets are looked for, a line each, and by which variable."""
        named = [f"{RAW} is not set"] if not os.environ.get(RAW) else []
        return "\n  ".join([*(f"{root}{self._named(root)}" for root in self.raw), *named])

    def _named(self, root: Path) -> str:
        place = places.data()
        if os.environ.get(RAW) and root == self.raw[0]:
            return f" ({RAW})"
        return f" ({place.why})" if root == place.path / RAW else ""

    def find_raw(self, folder: str) -> Path | None:
        """The raw dataset of this name, wherever it lies."""
        return next((root / folder for root in self.raw if (root / folder / "dataset.json").is_file()), None)

    @property
    def new_raw(self) -> Path:
        return self.home / "nnUNet_raw"

    @property
    def new_prepared(self) -> Path:
        return self.home / "prepared"


def storage() -> Storage:
    """The folders as the environment has them now.

    The data root is that of `places.data`. Where it cannot be written, as in a container that mounts
    it read-only, new files go to ``ATSO_BENCH_CACHE`` (default ``~/.cache/atso-bench``). nnU-Net's own ``nnUNet_raw``
    is searched first.
    """
    root = places.data().path
    if root.exists() and not root.is_dir():
        raise ValueError(f"ATSO_BENCH_DATA is {root}, which is not a folder; correct or unset it")
    return Storage(places.raw_roots(), places.prepared_roots(), root if _writable(root) else places.cache())


def user_plans(folder: str) -> Path | None:
    """The plans that the user made with nnU-Net, if there are any."""
    own = os.environ.get(PREPROCESSED)
    path = Path(own, folder, PLANS) if own else None
    return path if path and path.is_file() else None


def unused_plans(folder: str) -> list[str]:
    """That plans of another name lie where the user's own are looked for, such as those of nnU-Net's ResEnc presets."""
    own = os.environ.get(PREPROCESSED)
    there = sorted(path.name for path in Path(own, folder).glob("*Plans.json")) if own else []
    others = [name for name in there if name != PLANS]
    if not own or not others:
        return []
    used = PLANS if PLANS in there else "nnU-Net's default plan"
    where = Path(own, folder)
    return [f"{', '.join(others)} in {where} is not used, {used} is; to use it, copy it to {PLANS} there"]


@contextlib.contextmanager
def variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables for a while; None unsets one. nnU-Net reads its paths from there when it uses them."""
    before = {name: os.environ.get(name) for name in values}
    try:
        _set(values)
        yield
    finally:
        _set(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """nnU-Net prints what it does; here the console belongs to the command line."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; a second process waits here until the first one is done, or dead."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # it would wait for its own parent
        raise RuntimeError("a script that prepares data puts its work under `if __name__ == '__main__':`")
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.locked(path):
        yield


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``target`` when the block ends well. Call it under a lock."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir()
    try:
        yield partial
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def vacant(folder: Path) -> Path:
    """The full path of a folder to make; an empty one that is there already is taken away.

    Raises:
        ValueError: if there is something.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists():
        if not folder.is_dir() or any(folder.iterdir()):
            raise ValueError(f"{folder} exists and is not empty; choose another folder")
        folder.rmdir()
    return folder


def announced(notes: list[str], say: Callable[[str], object] | None) -> list[str]:
    """The same notes, each passed to ``say`` if there is one."""
    if say is not None:
        for note in notes:
            say(note)
    return notes


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _writable(folder: Path) -> bool:
    """Whether this folder, or the first of its parents that exists, can be written."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)
