"""JSON that somebody else wrote: read as an object, or refused in words that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        ValueError: if it is no JSON, no object, or names something twice; nnU-Net would take the last one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(f"{path} is no valid JSON: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} has to hold an object, {{...}}; it holds a {type(content).__name__}")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"{name!r} is there twice; remove one of the two")
        content[name] = value
    return content


def is_printable(text: object) -> bool:
    """Whether it is a text that a table or a page can show: no line breaks, no control characters, no stray halves."""
    return isinstance(text, str) and bool(text.strip()) and text.isprintable()
