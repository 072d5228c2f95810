"""Methods and datasets from outside: folders (``--plugins``, ``ATSO_BENCH_PLUGINS``), and other packages' entry points.

A plug-in folder joins this package's own path. Python then takes ``FOLDER/methods`` for a part of
``atso_bench.methods``: names, imports, pickles and the hash of the code are as those of our own files, in every process
that has the variable.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import atso_bench

VARIABLE = "ATSO_BENCH_PLUGINS"
KINDS = ("methods", "datasets")
"""Folders of a plug-in folder, and with ``atso_bench.`` before them the groups of entry points."""
_ROOMS = (*KINDS, "benchmark", "reports")
_OURS = Path(atso_bench.__file__).resolve().parent


def folders() -> list[Path]:
    """The plug-in folders of this process, in order."""
    return [Path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]


def join(more: Sequence[Path | str] = ()) -> None:
    """Take these plug-in folders too, here and in processes that begin from here; `check` looks at them."""
    known = dict.fromkeys(str(Path(folder).expanduser().absolute()) for folder in (*folders(), *more))
    if known:
        os.environ[VARIABLE] = os.pathsep.join(known)
    sound = [folder for folder in known if not list(_in_the_way(Path(folder)))]
    atso_bench.__path__ += [folder for folder in sound if folder not in atso_bench.__path__]


def check() -> None:
    """Look at the plug-in folders.

    Raises:
        ValueError: if one is not there, holds nothing, or something that Python would take for a file of ours.
    """
    taken: dict[Path, Path] = {}
    for folder in folders():
        if not folder.is_dir():
            raise ValueError(f"--plugins {folder}: there is no such folder")
        if blocking := next(_in_the_way(folder), None):
            raise ValueError(f"--plugins {folder}: remove {blocking}; it would take the place of our own files")
        if not any(found.suffix == ".py" for kind in KINDS for found in _public(folder / kind)):
            hint = f"; did you mean {folder.parent}?" if folder.name in KINDS else ""
            raise ValueError(f"--plugins {folder}: it holds neither methods/NAME.py nor datasets/NAME.py{hint}")
        for file in files(folder):
            _check_name(file, file.relative_to(folder), taken)


def _check_name(file: Path, name: Path, taken: dict[Path, Path]) -> None:
    if not file.stem.isidentifier():
        raise ValueError(f"{file}: a file's name is a Python name; call it {file.stem.replace('-', '_')}.py")
    if (_OURS / name).exists():
        raise ValueError(f"{file}: there is a built-in {name} already; give the file another name")
    if name in taken:
        raise ValueError(f"{file}: {taken[name]} has the same name; rename one of them")
    taken[name] = file


def files(folder: Path) -> list[Path]:
    """The Python files of a plug-in folder."""
    return sorted(file for kind in KINDS for file in (folder / kind).rglob("*.py"))


def hashes() -> dict[str, str]:
    """SHA-256 of each Python file in the plug-in folders, by its name there."""
    found = [(folder, file) for folder in folders() for file in files(folder)]
    return {file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest() for folder, file in found}


def _public(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if not file.name.startswith("_")] if folder.is_dir() else []


def _in_the_way(folder: Path) -> Iterator[Path]:
    """Files by which Python would take something else for the package's folders."""
    for name in _ROOMS:
        yield from (file for file in (folder / name / "__init__.py", folder / f"{name}.py") if file.exists())


@functools.cache
def entries(kind: str) -> dict[str, EntryPoint]:
    """The entry points of other packages for ``methods`` or ``datasets``, by their names."""
    return {found.name: found for found in entry_points(group=f"atso_bench.{kind}")}


def entered(kind: type) -> str:
    """The name by which an entry point brings this class; empty for a class of ours or of a folder."""
    if kind.__module__.partition(".")[0] == "atso_bench":
        return ""
    here = (kind.__module__, kind.__qualname__)
    points = [found for room in KINDS for found in entries(room).values()]
    return next((found.name for found in points if here in ((found.module, found.attr), (found.module, here[1]))), "")


def is_built_in(kind: str, name: str) -> bool:
    """Whether we have a file of that name ourselves."""
    return (_OURS / kind / f"{name.replace('-', '_').replace('.', '/')}.py").exists()


def used(*kinds: type) -> list[str]:
    """What of these classes is not ours, for a record: files as they lie in plug-in folders, or packages' modules."""
    return [name for name in map(_brought, kinds) if name]


def _brought(kind: type) -> str:
    if kind.__module__.partition(".")[0] != "atso_bench":
        return kind.__module__
    _, room, name = (*kind.__module__.split(".", 2), "")[:3]
    return "" if is_built_in(room, name) else f"{room}/{name}.py"
