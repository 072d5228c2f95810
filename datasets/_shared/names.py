"""Which names a case may have: any that a file, a list, a table and a page can hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

LONGEST = 180
"""Bytes. A file system takes 255; ours are up to 50 longer than the case while they are written."""


def name_problems(names: Iterable[str]) -> Iterator[str]:
    """What is wrong with the names of cases, a line each."""
    seen: dict[str, str] = {}
    for name in names:
        if reason := _reason(name):
            yield f"{name!a}: the case's name {reason}; rename its files"
            continue
        plain = unicodedata.normalize("NFC", name)
        if plain in seen:
            yield f"{name!a}: the case's name looks like that of {seen[plain]!a}; rename the files of one of them"
        seen[plain] = name


def _reason(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        return "is empty, or holds a slash"
    if not name.isprintable():
        return "holds a line break, or a character that cannot be shown"
    if name != name.strip():
        return "begins or ends with a blank"
    if name.endswith(".outside"):
        return "ends in .outside, which is reserved"
    length = len(name.encode("utf-8"))
    return f"has {length} bytes, at most {LONGEST} are possible" if length > LONGEST else ""
