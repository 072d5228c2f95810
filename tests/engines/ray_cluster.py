"""A Ray cluster on this machine, for as long as a block."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTING = 600
"""Seconds in which a cluster has to start; 25 on a core of its own."""


@contextlib.contextmanager
def nodes(cores: list[int], variables: dict[str, str], folder: Path) -> Iterator[dict[str, Any]]:
    """A cluster: its address, the one for drivers outside of it, and the processes of its raylets, the head's first.

    On a busy machine a raylet gives up while it starts, as Ray allows a part of it 15 seconds; then it is tried again.
    """
    said = folder / "nodes.said"
    words = [sys.executable, str(Path(__file__).with_name("ray_nodes.py")), *map(str, cores)]
    last = time.monotonic() + STARTING
    while True:
        with said.open("w") as errors:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=variables,
                text=True,
                start_new_session=True,
            )
        assert process.stdin
        assert process.stdout
        if line := process.stdout.readline():
            break
        end(process)
        if time.monotonic() > last:
            raise AssertionError(f"no cluster in {STARTING} s\n{said.read_text()[-3000:]}")
    try:
        yield json.loads(line)
    finally:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End the process and those that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
