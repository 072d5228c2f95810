"""Waits in the steps of every method; see ``on_steps.py``, which runs on an emulated GPU."""

from __future__ import annotations

from pathlib import Path

import emulated
import pytest

pytestmark = pytest.mark.timeout(900)  # most of it is one process, of many tests


def test_no_step_of_any_method_waits_for_the_device(library: Path) -> None:
    emulated.passes(library, "on_steps.py")
