"""Who may write: a numbered claim on a run or a phase, held by one process of all machines that share the folder.

A file lock alone is no guard there: on a network file system mounted without locks two nodes hold it at once. A claim
is a folder, which one machine alone can make; its number is above that of every claim before it. The holder's file in
it changes every few seconds. Who sees it unchanged for long enough, by their own clock, makes the next claim. A holder
that was taken for dead finds a higher number when it is about to write, and writes nothing.

``filelock`` has a strict lock that never expires, so that a dead node would block a run for ever, and a lease that
expires but fences nothing, which takes two containers of one host name for one machine.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import platform
import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from atso_bench.benchmark.store import locks

BEAT = 15.0
"""Seconds between two changes of the holder's file."""
SILENCE = 120.0
"""Seconds without a change after which a holder on another machine counts as dead; caches of NFS delay by up to 60."""
POLL = 1.0
"""Seconds between two looks at another machine's claim."""
HOLDER = "holder.json"
Wait = bool | Literal["unless alive"]


class LostError(RuntimeError):
    """Another process took this claim over, because this one seemed to be dead: what it makes is not to be written."""


@dataclass
class Lease:
    """One claim.

    Attributes:
        folder: ``<path>.<number>``.
        token: tells it from any other claim of that number.
        about: what others may read of the holder.
        doing: what it does at the moment, in words; asked for at each beat.
    """

    folder: Path
    token: str
    about: Mapping[str, Any]
    doing: Callable[[], str] = str
    beats: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def number(self) -> int:
        return int(self.folder.suffix[1:])

    @property
    def held(self) -> bool:
        """Whether this is still the claim that counts."""
        own = holder(self.folder)
        return own is not None and own["token"] == self.token and not _next(self.folder).exists()

    @property
    def lost(self) -> bool:
        """Whether it is certain that it is not; a disk that does not answer says nothing."""
        own = holder(self.folder)
        other = own["token"] != self.token if own is not None else not self.folder.exists()
        return other or _next(self.folder).exists()

    def beat(self) -> None:
        """Change the holder's file.

        Raises:
            OSError: if it cannot be written, as when the claim is gone.
        """
        self.beats += 1
        facts = {"token": self.token, "machine": machine(), "beats": self.beats, "doing": self.doing(), **self.about}
        partial = self.folder / f".{self.token}.partial"
        try:
            partial.write_text(json.dumps(facts), encoding="utf-8")
            partial.replace(self.folder / HOLDER)
        finally:
            partial.unlink(missing_ok=True)

    def keep(self) -> None:
        """Beat until the claim has ended or is lost; a disk that does not answer now may do so the next time."""
        while not self.ended.wait(BEAT):
            with contextlib.suppress(OSError):
                if self.lost:
                    return
                self.beat()


_held: dict[Path, Lease] = {}


@contextmanager
def leased(path: Path, *, wait: Wait = True, about: Mapping[str, Any] | None = None) -> Iterator[Lease | None]:
    """Hold the claim on ``path``, beside a file lock of that name where the file system has any.

    Args:
        path: names what is claimed; the claims are folders ``<path>.<number>``.
        wait: for another process that holds it; otherwise the block is told None. With ``"unless alive"`` until that
            process has shown that it lives, or is dead.
        about: what others may read of the holder.

    Raises:
        OSError: if nothing can be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _file_lock(path, wait) as (free, excludes):
        lease = _take(path, wait, excludes, about or {}) if free else None
        if lease is None:
            yield None
            return
        beating = threading.Thread(target=lease.keep, name=f"lease {path.name}", daemon=True)
        beating.start()
        _held[path] = lease
        try:
            yield lease
        finally:
            _held.pop(path, None)
            lease.ended.set()
            beating.join(BEAT)
            if lease.held:
                _remove(lease.folder)
            if excludes:  # while it is locked; without locks another process may have the file as well
                with contextlib.suppress(OSError):
                    path.unlink()


def of_run(results: Path, key: str) -> Path:
    """What a process claims while it has the run of this key."""
    return results / "stages" / "claims" / key


def confirm(path: Path) -> None:
    """Call this before writing what the claim on ``path`` guards; without a claim nothing is looked at.

    Raises:
        LostError: if this process had the claim and another one has it now.
    """
    lease = _held.get(path)
    if lease is not None and not lease.held:
        raise LostError(f"another process took over {path.name}, as this one had not been heard of for {SILENCE:.0f} s")


def holder(claim: Path) -> dict[str, Any] | None:
    """What the holder of a claim says of itself; None where it has said nothing yet, or is gone."""
    try:
        found: dict[str, Any] = json.loads((claim / HOLDER).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and "token" in found else None
    except (OSError, ValueError):
        return None


def claims(path: Path) -> list[Path]:
    """The claims on ``path``, the one that counts last."""
    behind = len(path.name) + 1
    found = [each for each in path.parent.glob(f"{path.name}.*") if each.name[behind:].isdecimal() and each.is_dir()]
    return sorted(found, key=lambda each: int(each.suffix[1:]))


@functools.cache
def machine() -> str:
    """This start of this machine's kernel: containers on it share its file locks."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{platform.node()} {uuid.getnode():x}"


@contextmanager
def _file_lock(path: Path, wait: Wait) -> Iterator[tuple[bool, bool]]:
    """Whether the lock is free for us, and whether it keeps out other processes of this machine."""
    with contextlib.ExitStack() as stack:
        try:
            free = stack.enter_context(locks.locked(path, wait=wait is True))
        except OSError as error:
            if error.errno != errno.ENOLCK:
                raise
            free, excludes = True, False
        else:
            excludes = free and locks.excludes(path)
        yield free, excludes


def _take(path: Path, wait: Wait, excludes: bool, about: Mapping[str, Any]) -> Lease | None:
    """The next claim when the last one's holder is gone; with ``wait`` not before, else None."""
    seen: tuple[Any, ...] = ()
    since = time.monotonic()
    while True:
        last = next(reversed(claims(path)), None)
        if last is not None:
            found = holder(last)
            now = (last.name, found)
            if now != seen:
                if seen and wait == "unless alive":
                    return None
                seen, since = now, time.monotonic()
            died_here = excludes and found is not None and found.get("machine") == machine()
            if not died_here and time.monotonic() - since < SILENCE:
                if wait is False:
                    return None
                time.sleep(POLL)
                continue
        if lease := _make(path, last, about):
            return lease


def _make(path: Path, last: Path | None, about: Mapping[str, Any]) -> Lease | None:
    """The claim after ``last``; None if another process was quicker.

    It gets its number when it names its holder: one without would be that of a process that died just then, on a
    machine that nobody knows.
    """
    folder = path.with_name(f"{path.name}.1") if last is None else _next(last)
    token = secrets.token_hex(8)
    lease = Lease(path.with_name(f".{path.name}.{token}.partial"), token, about)
    try:
        lease.folder.mkdir()
        lease.beat()
        lease.folder.rename(folder)
    except OSError as error:
        _remove(lease.folder)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):  # it has that number; it swept ours away
            return None
        raise
    lease.folder = folder
    for stale in path.parent.glob(f".{path.name}.*.partial"):
        _remove(stale)
    *older, highest = claims(path)
    if highest != folder:  # what this process had seen was long ago
        _remove(folder)
        return None
    for each in older:
        _remove(each)
    return lease


def _next(claim: Path) -> Path:
    return claim.with_suffix(f".{int(claim.suffix[1:]) + 1}")


def _remove(claim: Path) -> None:
    """Another user's may stay: a higher number counts."""
    shutil.rmtree(claim, ignore_errors=True)
