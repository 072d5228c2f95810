"""JSON for strangers' eyes: without the paths of machines, and a check that neither paths nor users are left."""

from __future__ import annotations

import contextlib
import getpass
import re
from collections.abc import Iterator
from typing import Any

_WORDS = ("command", "warnings", "message", "traceback")
"""Fields of free words, in which a path may be shortened; a path in any other field says what was run."""
_PATH = re.compile(r"(?<![\w.~:/<-])/(?:[\w.+@-]+/)+([\w.+@-]+)")
_ARGUMENT = re.compile(r"^((?:[^/]*=)?)/(?:.*/)?([^/]+)/?$")
_ANYBODY = {"root", "user", "admin", "ubuntu", "docker", "nobody", "runner", "app"}


def cleaned(content: Any) -> Any:
    """The same JSON, in which free words name ``.../results`` where they named ``/data/somebody/results``."""
    return _cleaned(content, free=False, word=False)


def _cleaned(value: Any, *, free: bool, word: bool) -> Any:
    if isinstance(value, dict):
        return {
            name: _cleaned(inner, free=free or name in _WORDS, word=name == "command") for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_cleaned(inner, free=free, word=word) for inner in value]
    if not free or not isinstance(value, str):
        return value
    return _PATH.sub(r".../\1", _ARGUMENT.sub(r"\1.../\2", value) if word else value)


def told(content: Any) -> list[str]:
    """What nobody else should read: ``spec.recipe.weights: /data/weights.pt``; the user's name in free words."""
    names = {_user()} - _ANYBODY - {""}
    return [*_told(content, "", names - _own_words(content))]


def _told(value: Any, place: str, names: set[str]) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if _PATH.search(name):
                yield f"{place}: {name}"
            yield from _told(inner, f"{place}.{name}".lstrip("."), names)
    elif isinstance(value, list):
        for inner in value:
            yield from _told(inner, place, names)
    elif isinstance(value, str):
        free = not {*_WORDS}.isdisjoint(place.split("."))
        if _PATH.search(value) or (free and any(re.search(rf"\b{re.escape(name)}\b", value) for name in names)):
            yield f"{place}: {value.splitlines()[0]}"


def _own_words(content: Any) -> set[str]:
    """Words that a command has to say, whoever gives it."""
    spec = content.get("spec") if isinstance(content, dict) else None
    return {str(spec.get(name)) for name in ("dataset", "method", "configuration")} if isinstance(spec, dict) else set()


def _user() -> str:
    with contextlib.suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        return getpass.getuser()
    return ""
