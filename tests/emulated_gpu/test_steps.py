"""Waits in the steps of every method; see ``on_steps.py``, which runs on an emulated GPU."""

from __future__ import annotations

from pathlib import Path

import emulated


def test_no_step_of_any_method_waits_for_the_device(library: Path) -> None:
    emulated.passes(library, "on_steps.py")
