"""A card without bfloat16, and on it the tests that are marked for GPUs; see ``on_old_card.py``."""

from __future__ import annotations

import re
from pathlib import Path

import emulated
import pytest
from emulated import HERE, ROOT

MARKED = re.compile(r"^@pytest\.mark\.gpu\n(?:@.*\n)*def (\w+)", re.MULTILINE)

pytestmark = pytest.mark.timeout(900)  # most of it is one process, of many tests


def test_a_card_without_bfloat16_and_the_tests_that_are_marked_for_gpus(library: Path) -> None:
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent != HERE]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    marked = [f"{path}::{name}" for path, text in texts.items() for name in MARKED.findall(text)]
    assert len(marked) == sum(text.count("\n@pytest.mark.gpu\n") for text in texts.values()) > 1
    emulated.passes(library, "on_old_card.py", *marked, capability=75)
