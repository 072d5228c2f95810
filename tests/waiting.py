"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest


def until(true: Callable[[], object], seconds: float = 60, *, every: float = 0.01, logs: Path | None = None) -> None:
    """Wait until it is true, but not for ever: then the test fails, and shows the logs below a folder if there is one.

    Args:
        true: is asked.
        seconds: after which it is too late.
        every: so many seconds it is asked.
        logs: where files ``*.log`` say what went on.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            said = [f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs.rglob("*.log")] if logs else []
            pytest.fail("\n".join([f"it did not come in {seconds:.0f} s", *said]))
        time.sleep(every)
