"""Exclusive locks on files, and what to say where a file system has none."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: there is no lock, so two processes should not share a folder at once
    fcntl = None  # type: ignore[assignment]

_WITHOUT = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What Lustre mounted without ``flock``, some FUSE and some network file systems answer."""


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock; the kernel releases it when the process ends, however it ends.

    Another user's file will do: a lock takes no right to write.

    Args:
        path: of the file, which is made.
        wait: for another process that holds it; otherwise the block is told False.

    Raises:
        OSError: with the file's name, and with ``ENOLCK`` where the file system has no locks.
    """
    file, held = -1, False
    try:
        while not held:
            file = _opened(path)
            held = _take(file, path, wait)
            if not held:
                break
            if not _is(file, path):  # whoever held it took it away; the next one has a file of its own
                os.close(file)
                file, held = -1, False
        yield held
    finally:
        if held and fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough while a loader's process has the file too
        if file >= 0:
            os.close(file)


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def excludes(path: Path) -> bool:
    """Whether a lock on ``path``, which this process holds, keeps out others; on some file systems it does not."""
    with locked(path, wait=False) as again:
        return fcntl is not None and not again


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _take(file: int, path: Path, wait: bool) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise OSError(errno.ENOLCK, "files cannot be locked on this file system", str(path)) from error
    return True
