"""What a task was opened for: a mapping by case id that holds these cases and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Opened(Mapping[str, Any]):
    """Base of images and labels that are read from a folder when they are asked for.

    Attributes:
        what: the cases in words, for the error that names them.
        dataset: the name by which ``prepare`` makes them anew.
    """

    what = "cases that this task was opened for"

    def __init__(self, folder: Path, ids: tuple[str, ...], dataset: str) -> None:
        self._folder, self.dataset = folder, dataset
        self.ids = dict.fromkeys(ids)

    def must_hold(self, case_id: str) -> None:
        """Raise a ``KeyError`` for a case that is not open here."""
        if case_id not in self.ids:
            raise KeyError(f"{case_id!r} is not among the {len(self.ids)} {self.what}")

    @contextmanager
    def whole(self, case_id: str) -> Iterator[None]:
        """Read a file of a case in here: one that is missing or damaged is named with the remedy, as an ``OSError``."""
        try:
            yield
        except (OSError, ValueError, RuntimeError, LookupError) as error:
            raise OSError(
                f"{case_id}: its prepared file is missing or damaged ({error}, in {self._folder}); "
                f"`atso-bench prepare {self.dataset}` makes it again"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self.ids
