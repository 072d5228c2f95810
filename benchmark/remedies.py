"""Error messages with a remedy: what the system says, and what to do about it."""

from __future__ import annotations

import errno
import re
from pathlib import Path

_FILES = {
    errno.ENOSPC: "free some disk space, or set --out, ATSO_BENCH_DATA or ATSO_BENCH_CACHE to a larger disk",
    errno.EDQUOT: "free some of your quota, or set --out, ATSO_BENCH_DATA or ATSO_BENCH_CACHE to a larger disk",
    errno.EFBIG: "raise the limit (ulimit -f), or set --out, ATSO_BENCH_DATA or ATSO_BENCH_CACHE to another disk",
    errno.EROFS: "set --out, ATSO_BENCH_DATA or ATSO_BENCH_CACHE to a writable folder",
    errno.EACCES: "change its permissions, or choose another place (--out, ATSO_BENCH_DATA, ATSO_BENCH_CACHE)",
    errno.ENOENT: "check the spelling, and that its disk is mounted",
    errno.EIO: "the disk or its network does not answer; when it does, give the same command again",
    errno.ESTALE: "the disk or its network does not answer; when it does, give the same command again",
    errno.ENOLCK: (
        "mount it with locks (Lustre: -o flock), or set --out, ATSO_BENCH_DATA or ATSO_BENCH_CACHE to another disk"
    ),
    errno.ENOTDIR: "a part of this path is a file; choose another place",
    errno.EEXIST: "choose another place",
}
_LESS = (
    "use smaller batches or patches (--option recipe.batch=..., recipe.patch=...; this changes the recipe of all "
    "methods), or a --device with more memory"
)
_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\n.*\n(?=\w[\w.]*: )", re.DOTALL)
"""What torch puts in front of an error in a loader's process: all of its traceback."""


class DeviceLostError(RuntimeError):
    """A GPU that answers no more after an error in one of its kernels: this process can do nothing with it."""

    def __init__(self, cause: BaseException) -> None:
        said = str(cause).partition("\n")[0]
        super().__init__(
            f"the device is lost to this process: {said}; the same command goes on with the runs that are left (if it "
            "happens again, look at `nvidia-smi` and the kernel's log for Xid errors)"
        )


def message(error: BaseException) -> str:
    """What ``error`` says, in a line or a few, with the file that it is about and what to do where that is known."""
    said, remedy = _said(error), _remedy(error)
    return f"{said}; {remedy}" if remedy else said


def out_of_memory(error: BaseException) -> bool:
    """Whether the device's or the machine's memory did not suffice."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # torch may not be there
    text = str(error)
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    )


def _remedy(error: BaseException) -> str:
    if out_of_memory(error):
        return _LESS
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader timed out"):
        return (
            "the loader processes hang; give them more shared memory (docker run --shm-size 8g), use fewer of them "
            "(--workers), or look whether the disk of the data answers"
        )
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid"):
        return (
            "a loader process was killed, most likely because the machine ran out of memory; use fewer loader "
            "processes (--workers)"
        )
    return _FILES.get(error.errno or 0, "") if isinstance(error, OSError) else ""


def _said(error: BaseException) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        text = _WORKER.sub("", str(error.args[0] if isinstance(error, KeyError) and error.args else error)).strip()
        return text or type(error).__name__
    path = Path(str(error.filename)) if error.filename else None
    if path is not None and path.name.endswith(".partial"):  # how files are written before they have their name
        path = path.parent
    return f"{path}: {error.strerror}" if path else f"{error.strerror}"
