"""Cards without bfloat16; see ``on_old_card.py``, which runs on an emulated one."""

from __future__ import annotations

from pathlib import Path

import emulated


def test_a_card_without_bfloat16(library: Path) -> None:
    emulated.passes(library, "on_old_card.py", capability=75)
