"""Published splits by name: the first cases of a training list are labelled, the others are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atso_bench.benchmark.splits import read_list

FOLDER = Path(__file__).parent / "lists"


@dataclass(frozen=True)
class PublishedSplit:
    """One of a dataset's published splits.

    Attributes:
        files: what the names of its lists begin with.
        labelled: labelled cases.
        validation: whether it has a validation set.
    """

    files: str
    labelled: int
    validation: bool = False

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Cases of ``pool``, ``labelled``, ``test`` and perhaps ``validation``, in the published order."""
        pool = self._list("train")
        rest = {"validation": self._list("validation")} if self.validation else {}
        return {"pool": pool, "labelled": pool[: self.labelled], **rest, "test": self._list("test")}

    def _list(self, part: str) -> tuple[str, ...]:
        return read_list(FOLDER / f"{self.files}-{part}.txt")
