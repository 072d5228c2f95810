"""docs/trust.md names the test of each promise: the tests are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TRUST = Path("docs/trust.md").read_text(encoding="utf-8")
PROMISED = TRUST.partition("## What was tried")[0]
ROWS = [
    line for line in PROMISED.splitlines() if line.startswith("| ") and not line.startswith(("| Guarantee", "|---"))
]
NAMED = re.compile(r"(test_\w+\.py)(?:::(test_\w+))?")


def test_every_promise_names_a_test() -> None:
    assert len(ROWS) > 60
    for row in ROWS:
        assert NAMED.search(row) or "image_test.sh" in row, row


def test_every_test_that_is_named_is_there() -> None:
    there: dict[str, set[str]] = {}
    for file, name in NAMED.findall(TRUST):
        if file not in there:
            (place,) = Path("tests").rglob(file)
            tree = ast.parse(place.read_text(encoding="utf-8"))
            there[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not name or name in there[file], f"{file}::{name}"
