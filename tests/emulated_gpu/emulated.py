"""Runs Python with CUDA on a machine that has none: builds the emulator once, and says what its processes need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = HERE / "emulator"
LIBRARY = "libcuda.so.1"


def missing() -> str:
    """Why the emulator cannot be built here; empty if it can."""
    if sys.platform != "linux":
        return "the emulator preloads a library, as Linux alone can"
    if shutil.which(_compiler()) is None:
        return f"the emulator needs a C compiler, and there is no {_compiler()}"
    return "" if _headers() else "the emulator needs the headers that torch's CUDA wheels bring"


def build(folder: Path) -> Path:
    """Compile the library that stands in for CUDA's runtime and driver.

    Args:
        folder: where the library goes.
    """
    library = folder / LIBRARY
    partial = folder / f"{LIBRARY}.{os.getpid()}"
    sources = [str(path) for path in sorted(SOURCE.glob("*.c"))]
    named = [f"-Wl,-soname,{LIBRARY}", *(argument for path in _headers() for argument in ("-idirafter", str(path)))]
    flags = ["-O1", "-w", "-shared", "-fPIC", "-pthread", *named]
    subprocess.run([_compiler(), *flags, *sources, "-o", str(partial)], check=True)
    partial.replace(library)
    return library


def environment(library: Path, **settings: object) -> dict[str, str]:
    """Variables of a process that is to have emulated GPUs.

    Args:
        library: what ``build`` made.
        settings: what the emulator pretends, by the end of its variables' names: ``devices``, ``memory`` (bytes),
            ``capability`` (90 for 9.0), ``driver`` (13020 for CUDA 13.2).
    """
    pretended = {f"FAKE_CUDA_{name.upper()}": str(value) for name, value in settings.items()}
    paths = (SOURCE, HERE, ROOT / "tests", ROOT / "src")
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "FAKE_CUDA": "1",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTEST_ADDOPTS": "",
        **pretended,
    }


def run(library: Path, *arguments: str, timeout: float = 840, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, in the project's root, on emulated GPUs."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(library, **settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """All output of a process that has ended."""
    return done.stdout + done.stderr


def _compiler() -> str:
    return os.environ.get("CC") or "cc"


def _headers() -> list[Path]:
    """Folders of CUDA's headers, of the runtime and of the driver."""
    site = Path(sysconfig.get_paths()["purelib"])
    runtime = sorted(site.glob("nvidia/cu*/include/cuda_runtime_api.h"))
    driver = site / "triton" / "backends" / "nvidia" / "include" / "cuda.h"
    return [path.parent for path in (*runtime, driver)] if runtime and driver.is_file() else []


def passes(library: Path, file: str, *options: str, **settings: object) -> None:
    """All tests of a file of this folder pass in a process with emulated GPUs."""
    asked = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", str(HERE / file), *options]
    done = run(library, *asked, **settings)
    assert done.returncode == 0, said(done)


if __name__ == "__main__":  # python emulated.py -m atso_bench.benchmark.cli run ... --device cuda
    with tempfile.TemporaryDirectory() as place:
        sys.exit(
            subprocess.run([sys.executable, *sys.argv[1:]], env=environment(build(Path(place))), check=False).returncode
        )
