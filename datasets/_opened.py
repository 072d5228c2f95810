"""What a task was opened for: a mapping by case id that holds these cases and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Opened(Mapping[str, Any]):
    """Base of images and labels that are read from a folder when they are asked for.

    Attributes:
        what: the cases in words, for the error that names them.
    """

    what = "cases that this task was opened for"

    def __init__(self, folder: Path, ids: tuple[str, ...]) -> None:
        self._folder = folder
        self.ids = dict.fromkeys(ids)

    def check(self, case_id: str) -> None:
        """Raise a ``KeyError`` for a case that is not open here."""
        if case_id not in self.ids:
            raise KeyError(f"{case_id!r} is not among the {len(self.ids)} {self.what}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self.ids
