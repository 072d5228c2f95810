"""SIGINT and SIGTERM: work that can be saved stops at its next step and saves; everything else ends at once.

Ctrl-C sends SIGINT; SLURM before a time limit, ``docker stop`` and a machine that shuts down send SIGTERM. A terminal
and SLURM send it to every process of a command, and whoever started one may pass it on as well.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_AND_THE_SAME = 1.0
"""Seconds within which a second signal counts as the first one, passed on by another process."""
GOES_ON = "the same command continues from here"
BEGINS_AGAIN = "the same command starts again"
_last = -math.inf


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end; ``where`` the work stands now, if it was saved."""

    def __init__(self, number: int, where: str = "") -> None:
        super().__init__(where)
        self.number, self.where = number, where

    @property
    def code(self) -> int:
        """The exit code, as shells have it."""
        return 128 + self.number

    def words(self, then: str) -> str:
        """Where the work stands and what the command does when it is given again: ``GOES_ON``, for one."""
        return f"stopped{f' {self.where}' if self.where else ''}; {then}"

    def __str__(self) -> str:
        return self.words(GOES_ON)


class Stop:
    """A stop that may be requested while work goes on."""

    def __init__(self) -> None:
        self.number = 0

    @property
    def asked(self) -> bool:
        return self.number != 0

    def end_if_asked(self, where: str) -> None:
        """Stop here if it was asked for.

        Raises:
            Interrupted: with ``where`` in its message.
        """
        if self.asked:
            raise Interrupted(self.number, where)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """In the block either signal raises ``Interrupted`` at once."""

    def heard(number: int) -> None:
        raise Interrupted(number)

    with _handled(heard):
        yield


@contextlib.contextmanager
def held(end: str) -> Iterator[Stop]:
    """In the block a first signal waits until the work looks at it, at latest until the block has ended well.

    Args:
        end: where the work stands when the block has ended, in words: ``after phase 'M0'``.
    """
    stop = Stop()

    def heard(number: int) -> None:
        if stop.asked:
            raise Interrupted(number)
        stop.number = number
        with contextlib.suppress(OSError):  # print may not be entered twice, which a signal can do
            os.write(2, b"stopping at the next step; a second signal stops at once\n")

    try:
        with _handled(heard):
            yield stop
    except Exception as error:
        if stop.asked:  # what failed fails again when the work goes on
            raise Interrupted(stop.number) from error
        raise
    stop.end_if_asked(end)


@contextlib.contextmanager
def _handled(heard: Callable[[int], None]) -> Iterator[None]:
    """Both signals go to ``heard``, but not those that whoever started this process has ignored; in threads none."""

    def handle(number: int, frame: Any) -> None:
        global _last
        now = time.monotonic()
        if now - _last > ONE_AND_THE_SAME:
            _last = now
            heard(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not one of Python's


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Signals wait until the block has ended; in processes that are started in it, until ``leave_to_parent``."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent(*numbers: int) -> None:
    """In a process that was started while signals were ``postponed``: ignore these, and let the others through.

    The process that started it decides; this one ends when it is told to, or when its parent is gone.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
