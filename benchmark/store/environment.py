"""The machine, versions and commit for a record, without secrets or user names."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from atso_bench.benchmark.machine.processor import cores, kind

_LIBRARIES = (
    *("torch", "numpy", "scipy"),
    *("nnunetv2", "batchgeneratorsv2", "dynamic-network-architectures", "blosc2"),
    *("batchgenerators", "acvl-utils", "scikit-image", "SimpleITK", "nibabel"),  # what nnU-Net computes and reads with
    *("segmentation-models-pytorch", "timm", "pillow", "cityscapesscripts"),
)


def current() -> dict[str, Any]:
    """Versions, machine, commit and command line; nothing from the process's environment variables."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else None
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": kind(),
        "processor_count": cores(),
        "threads": torch.get_num_threads() if torch else None,
        "gpu": gpu,
        "cuda": torch.version.cuda if torch and gpu else None,
        "versions": versions(),
        "commit": commit(),
        "command": [Path(sys.argv[0]).name, *map(discreet, sys.argv[1:])],
    }


def discreet(text: str) -> str:
    """Text for a record: ``~`` for the user's home, which has their name in it, and URLs without user and password."""
    text = re.sub(r"(\w://)[^/\s?#]*@", r"\1", text)
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    for folder in {home.rstrip("/"), os.path.realpath(home)}:
        if folder.count("/") and folder.startswith("/") and folder != "/":
            text = re.sub(rf"(?<![\w.-]){re.escape(folder)}(?![\w-])", "~", text)
    return text


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of this project and of the libraries that determine results."""
    installed = {name: _version(name) for name in ("atso-bench", *_LIBRARIES)}
    return {name: version for name, version in installed.items() if version}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the checkout that this file lies in, with ``+`` where files differ from it."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
