"""Is this machine ready? What is there, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from atso_bench.benchmark import places
from atso_bench.benchmark.machine.energy import UnmeasuredError, meter
from atso_bench.benchmark.machine.gpus import driver, driver_trouble, gpus
from atso_bench.benchmark.machine.processor import cores

if TYPE_CHECKING:
    import torch

PYTHON = ((3, 10), (3, 14))
NNUNET = ((2, 8), (2, 9))
TORCH = ((2, 10), None)
"""Supported versions: from the first to below the second; a test holds them to pyproject.toml."""
ROOM_GB = 5.0
SHARED_GB = 1.0
_SHARED = Path("/dev/shm")
_DRIVER = Path("/dev/nvidiactl")

Versions = tuple[tuple[int, int], tuple[int, int] | None]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        status: ``problem`` - a run cannot work; ``warning`` - it may work badly, or something is set wrongly.
        found: what is there.
        remedy: what to do; empty where nothing is to be done.
    """

    name: str
    status: Literal["ok", "warning", "problem"]
    found: str
    remedy: str = ""


def checks(results: Path = Path("results")) -> list[Check]:
    """Look at Python, the libraries, the devices, the folders and the room that is left; changes nothing.

    Args:
        results: the folder that runs write to; it need not exist.
    """
    place = places.data()
    data = place.path
    nnunet = (_folder(f"nnUNet_{part}", "to use nnU-Net's own folders") for part in ("raw", "preprocessed"))
    folders = (*nnunet, _folder("CITYSCAPES_DATASET", "to use Cityscapes without copying it", "leftImg8bit"))
    room = (_room("disk space for results", results), _room("disk space for data", data))
    last = (*_shared_memory(), *_energy())
    return [_python(), *_torch(), _nnunet(), _data(place), *folders, _results(results), *room, *last]


def _python() -> Check:
    found = sys.version.split()[0]
    if _within(found, PYTHON):
        return Check("Python", "ok", found)
    return Check("Python", "problem", found, f"use Python {_range(PYTHON)}")


def _torch() -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        yield Check("torch", "problem", f"cannot be imported: {error}", "install the requirements: make setup")
        return
    good = _within(torch.__version__, TORCH)
    remedy = "" if good else f"install torch {_range(TORCH)}"
    yield Check("torch", "ok" if good else "problem", torch.__version__, remedy)
    yield _devices()
    usable, threads = cores(), torch.get_num_threads()
    found = f"{usable} usable cores, {threads} torch threads"
    if threads > usable:
        yield Check("CPU", "warning", found, f"set OMP_NUM_THREADS={usable}")
    else:
        yield Check("CPU", "ok", found)


def _devices() -> Check:
    import torch

    if found := gpus():
        trouble = "; ".join(filter(None, (gpu.trouble for gpu in found)))
        newest = f"; driver for CUDA {'{}.{}'.format(*can)}" if (can := driver()) else ""
        return Check("GPU", "problem" if trouble else "ok", ", ".join(map(str, found)) + newest, trouble)
    if trouble := driver_trouble():
        what, _, remedy = trouble.partition("; ")
        return Check("GPU", "problem", what, remedy)
    if shutil.which("nvidia-smi") or _DRIVER.exists():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        remedy = "check that the driver (`nvidia-smi`) supports that CUDA version; start a container with --gpus all"
        return Check("GPU", "warning", f"there is an NVIDIA driver, but torch ({built}) finds no GPU", remedy)
    return Check("GPU", "ok", "none; runs use the CPU")


def _nnunet() -> Check:
    remedy = f"install nnunetv2 {_range(NNUNET)}"
    try:
        found = importlib.metadata.version("nnunetv2")
    except importlib.metadata.PackageNotFoundError:
        return Check("nnU-Net", "problem", "not installed", remedy)
    return Check("nnU-Net", "ok", found) if _within(found, NNUNET) else Check("nnU-Net", "problem", found, remedy)


def _data(place: places.Place) -> Check:
    folder, name, variable = place.path, "data", places.DATA
    if not folder.exists():
        if _writable(_existing(folder)):
            remedy = f"`atso-bench prepare` creates it; if your data are elsewhere, set {variable}"
            return Check(name, "warning", f"{folder.resolve()} ({place.why}) does not exist", remedy)
        return Check(name, "problem", f"{folder} does not exist and cannot be created", f"set {variable} to a folder")
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        return Check(name, "problem", f"{folder} is not a readable folder", f"set {variable} to a readable folder")
    readable = "" if _writable(folder) else " (read-only: enough for runs on prepared data, but not for `prepare`)"
    return Check(name, "ok", f"{folder.resolve()} ({place.why}){readable}")


def _folder(variable: str, purpose: str, holds: str = "") -> Check:
    value = os.environ.get(variable)
    if not value:
        return Check(variable, "ok", f"not set; needed only {purpose}")
    wanted = Path(value).expanduser() / holds
    if wanted.is_dir():
        return Check(variable, "ok", value)
    return Check(variable, "warning", f"{wanted} is not a folder", f"correct or unset {variable}")


def _results(folder: Path) -> Check:
    if _writable(_existing(folder)):
        default = places.results()
        why = f" ({default.why})" if folder == default.path else ""
        return Check("results", "ok", f"{folder.resolve()}{why} is writable")
    who = f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
    remedy = f"choose another folder with --out, or make this one writable for {who}"
    return Check("results", "problem", f"{folder.resolve()} is not writable", remedy)


def _room(name: str, folder: Path) -> Check:
    free = shutil.disk_usage(_existing(folder)).free / 1e9
    if free >= ROOM_GB:
        return Check(name, "ok", f"{free:.0f} GB free")
    remedy = f"make at least {ROOM_GB:.0f} GB free; stages/ may be deleted once the records exist"
    return Check(name, "warning", f"{free:.1f} GB free", remedy)


def _shared_memory() -> Iterator[Check]:
    if not _SHARED.is_dir():  # only Linux has it
        return
    size = shutil.disk_usage(_SHARED).total / 1e9
    if size >= SHARED_GB:
        yield Check("shared memory", "ok", f"{size:.0f} GB")
    else:
        yield Check("shared memory", "warning", f"{size:.2f} GB", "start the container with --shm-size 8g")


def _energy() -> Iterator[Check]:
    """Which devices' joules the records will hold, and why not of the others; runs do not need them."""
    try:
        import torch
    except (ImportError, OSError):  # a problem of its own
        return
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [f"{name}: {_counter(torch.device(name))}" for name in ("cpu", *(f"cuda:{k}" for k in range(gpus)))]
    yield Check("energy", "ok", "; ".join(found))


def _counter(device: torch.device) -> str:
    try:
        return f"measured ({meter(device).source})"
    except UnmeasuredError as reason:
        return f"not measured ({reason})"


def _existing(path: Path) -> Path:
    """The path itself, or its nearest parent that exists."""
    return next(parent for parent in (path.resolve(), *path.resolve().parents) if parent.exists())


def _writable(folder: Path) -> bool:
    """Try it: permissions alone do not tell on every file system."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _within(version: str, versions: Versions) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    found = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    first, below = versions
    return first <= found and (below is None or found < below)


def _range(versions: Versions) -> str:
    first, below = ("{}.{}".format(*version) if version else "" for version in versions)
    return f">={first}" + (f",<{below}" if below else "")
