"""The one way to open a file that others made: a printable name, a regular file, JSON that holds an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def file_trouble(path: Path) -> str:
    """What keeps a path from being opened at all, and what to do; empty if nothing does.

    Libraries end the process on a name that is not UTF-8, and a pipe is waited on for ever.
    """
    if trouble := name_trouble(path):
        return trouble
    return "" if path.is_file() else "it is not a regular file (a folder, a pipe, a device, or gone); put a file there"


def name_trouble(path: Path) -> str:
    """Why libraries cannot take this path, and what to do; empty if they can."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    return ""


def legible(path: Path) -> str:
    """The path as a console can show it."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def check_name(path: Path) -> Path:
    """The same path.

    Raises:
        ValueError: if its name is not UTF-8.
    """
    if trouble := name_trouble(path):
        raise ValueError(f"{legible(path)}: {trouble}")
    return path


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds, in UTF-8, UTF-16 or UTF-32, with a byte-order mark or without.

    Raises:
        ValueError: if it is no regular file, no JSON, no object, or names something twice, of which readers take the
            last one.
    """
    if trouble := file_trouble(path):
        raise ValueError(f"{legible(path)} cannot be read: {trouble}")
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(f"{path} is not valid JSON: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object, {{...}}, but holds a {type(content).__name__}")
    return content


def is_printable(text: object) -> bool:
    """Whether it is a text that a table or a page can show: no line breaks, no control characters, no stray halves."""
    return isinstance(text, str) and bool(text.strip()) and text.isprintable()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"{name!r} occurs twice; remove one of them")
        content[name] = value
    return content
