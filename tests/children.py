"""Processes of tests. None is a fork of a process that has computed: its first convolution could wait for ever.

They come from a server that has imported the libraries and has computed nothing. A child gets the test's environment,
one thread for torch, and the toy as a dataset; what a test has patched in its own process is not patched there.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

SERVER = multiprocessing.get_context("forkserver")
SECONDS = 60.0
"""After which a child hangs, and is killed."""


def _start_server() -> None:
    """It is to import this file, and not another copy of the project; before Python 3.13 it knows no ``sys.path``."""
    SERVER.set_forkserver_preload([__name__])
    with pytest.MonkeyPatch.context() as patch:
        here = Path(__file__).resolve().parent
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent / "src")]))
        patch.setenv("ATSO_BENCH_TEST_SERVER", "1")
        forkserver.ensure_running()


if "ATSO_BENCH_TEST_SERVER" in os.environ:  # all that children may need, once
    import fitting
    import torch._dynamo  # noqa: F401 - torch's optimisers import it with their first step, which takes seconds

    import atso_bench.benchmark.cli  # noqa: F401
    import atso_bench.benchmark.run  # noqa: F401

    for method in fitting.METHODS:
        fitting.registry.method(method, {})
else:
    _start_server()


class Child(ForkServerProcess):
    """``do(*given)`` in a process of its own; what it prints goes to the end of the file ``said``, if there is one.

    It leads a group of processes. ``do`` may be a function inside a test.
    """

    def __init__(
        self, do: Callable[..., object], *given: Any, said: Path | None = None, lines: Sequence[Connection] = ()
    ) -> None:
        """``lines`` are further arguments, of the kind that only a process that begins can be given."""
        sent = cloudpickle.dumps((do, given))
        super().__init__(target=_carry_out, args=(sent, dict(os.environ), said, lines))

    def end(self, seconds: float = SECONDS) -> int:
        """The exit code; one that hangs is killed with all of its group, and fails the test."""
        self.join(seconds)
        if self.exitcode is None:
            self.destroy()
            pytest.fail(f"a child still ran after {seconds:.0f} s")
        return self.exitcode

    def destroy(self) -> None:
        """Kill it, and all of its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.kill()  # it may not lead its group yet
        self.join(10)


def _carry_out(sent: bytes, environment: dict[str, str], said: Path | None, lines: Sequence[Connection]) -> None:
    import torch
    from toy import known

    os.setpgid(0, 0)
    multiprocessing.set_start_method(None, force=True)  # the system's own way, as in the test's process
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background shell has ignored
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    if said is not None:
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
    known()
    do, given = cloudpickle.loads(sent)
    try:
        do(*given, *lines)
    finally:
        sys.stdout.flush()


@contextlib.contextmanager
def started(do: Callable[..., object], *given: Any, said: Path | None = None) -> Iterator[Child]:
    """A child that does this meanwhile; it does not outlive the block."""
    child = Child(do, *given, said=said)
    child.start()
    try:
        yield child
    finally:
        child.destroy()


def ended(do: Callable[..., object], *given: Any, said: Path | None = None, seconds: float = SECONDS) -> int:
    """The exit code of a child that does this."""
    with started(do, *given, said=said) as child:
        return child.end(seconds)


class Context:
    """In place of one of ``multiprocessing``'s: the processes are children, in which ``prepare`` is done first."""

    def __init__(self, prepare: Callable[[], object] = lambda: None, said: Path | None = None) -> None:
        self.prepare, self.said = prepare, said

    def Process(self, target: Callable[..., object], args: tuple[Any, ...] = ()) -> Child:  # noqa: N802 - its name there
        prepare = self.prepare
        lines = [each for each in args if isinstance(each, Connection)]  # the last ones

        def do(*lines: Connection) -> None:
            prepare()
            target(*others, *lines)

        others = args[: len(args) - len(lines)]
        return Child(do, said=self.said, lines=lines)
