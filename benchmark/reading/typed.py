"""Content of a user's file held against types, by pydantic: where it is wrong, and its value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""For what a program acts on: no unknown entry, and ``true`` is no number."""


class Wrong(NamedTuple):
    """One thing that is wrong.

    Attributes:
        place: keys down to the entry, joined by dots; a list is one entry.
        value: what stands there; of an entry that is missing, what it is missing from.
        kind: pydantic's word for it, such as ``missing`` or ``extra_forbidden``.
        words: pydantic's sentence.
    """

    place: str
    value: Any
    kind: str
    words: str


def wrongs(kind: TypeAdapter[Any], content: Any) -> Iterator[Wrong]:
    """What keeps the content from being of this kind; nothing if it is one."""
    try:
        kind.validate_python(content)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=False):
            keys, value = _entry(each["loc"], content)
            missing = each["loc"][-1:] if each["type"] == "missing" else ()
            yield Wrong(".".join(map(str, (*keys, *missing))), value, each["type"], each["msg"])


def _entry(location: tuple[int | str, ...], value: Any) -> tuple[list[str], Any]:
    """The keys, without the types that pydantic names where it has tried several, and what stands there."""
    keys = []
    for key in location:
        if isinstance(value, dict) and key in value:
            keys.append(str(key))
            value = value[key]
    return keys, value
