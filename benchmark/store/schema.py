"""The version of a stored file's layout: what a newer program wrote is kept, and never written over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class NewerError(ValueError):
    """A file was written by a newer version, which reads it; nothing is wrong with it."""


def check_schema(content: Mapping[str, Any], known: int) -> None:
    """Refuse a file of another layout.

    Args:
        content: the file's.
        known: the ``schema`` that this version reads.

    Raises:
        NewerError: if a newer version wrote it.
        ValueError: if an older one did.
    """
    schema = content["schema"]
    if schema == known:
        return
    told = f"it has schema {schema}, this version reads {known}"
    if isinstance(schema, int) and schema > known:
        raise NewerError(f"{told}; a newer atso-bench wrote it; read it with that")
    raise ValueError(f"{told}; run it again")
