"""Two datasets as one: labels come from the source; unlabelled, validation and test cases from the target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from atso_bench.benchmark.spec import digest
from atso_bench.datasets._shared.pairing import PREFIX, Pairing, pairing
from atso_bench.datasets._shared.storage import storage

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say

D = TypeVar("D", bound=Any)


class Joint(ABC, Generic[D]):
    """A dataset ``A-to-B``. Ids of A's cases begin with ``source_``; with all labels (100 %) those of B are meant.

    Args:
        source_set: whose labels are learnt from.
        target_set: which is adapted to and scored; its configuration, classes and geometry are the pair's.
    """

    summary = "labels of one dataset, unlabelled and test cases of another: --source A --dataset B"
    source = "made of both when first used"
    default_list = ""

    def __init__(self, source_set: D, target_set: D) -> None:
        self.source_set, self.target_set = source_set, target_set
        self.name = f"{source_set.name}-to-{target_set.name}"
        self.configuration: str = target_set.configuration
        self.configurations: tuple[str, ...] = target_set.configurations
        self.track: str = target_set.track
        self.groupings: tuple[str, ...] = target_set.groupings[:1]

    # -- whose case it is ---------------------------------------------------------------------------------------------

    def owner(self, case_id: str) -> tuple[D, str]:
        """The dataset that a case comes from, and its id there."""
        if case_id.startswith(PREFIX):
            return self.source_set, case_id.removeprefix(PREFIX)
        return self.target_set, case_id

    @cached_property
    def pairing(self) -> Pairing:
        """Which class is which."""
        source, target = class_names(self.source_set), class_names(self.target_set)
        return pairing(self.name, source, target, [storage().home / "pairs"])

    def table(self, case_id: str) -> np.ndarray:
        """uint8 ``(256)``: what becomes of a label of this case."""
        return self.pairing.table("source" if case_id.startswith(PREFIX) else "target")

    # -- the parts ----------------------------------------------------------------------------------------------------

    @property
    def labels_from(self) -> tuple[str, ...]:
        """All labelled cases of the source, its test set too; see ``Dataset.labels_from``."""
        return tuple(sorted(f"{PREFIX}{name}" for name in (*self.source_set.pool, *self.source_set.test)))

    @property
    def pool(self) -> tuple[str, ...]:
        return (*self.labels_from, *self.target_set.pool)

    @property
    def unlabelled(self) -> tuple[str, ...]:
        return tuple(self.target_set.unlabelled)

    @property
    def test(self) -> tuple[str, ...]:
        return tuple(self.target_set.test)

    def group(self, case_id: str, by: str = "") -> str:
        """The group within its own dataset; see ``Dataset.group``."""
        owner, own = self.owner(case_id)
        return f"{PREFIX if owner is self.source_set else ''}{owner.group(own, by)}"

    def content(self, case_id: str) -> str:
        """See ``Dataset.content``."""
        owner, own = self.owner(case_id)
        return str(owner.content(own))

    @property
    def identity(self) -> str:
        """Hash of both datasets and of the class map."""
        return digest([self.source_set.identity, self.target_set.identity, self.pairing.classes, *self._tables])

    @property
    def _tables(self) -> list[list[int]]:
        return [self.pairing.table(side).tolist() for side in ("source", "target")]

    @property
    def caveats(self) -> tuple[str, ...]:
        """Those of both, and what a reader of a transfer's record has to know."""
        a, b = self.source_set.name, self.target_set.name
        both = [f"{each.name}: {caveat}" for each in (self.source_set, self.target_set) for caveat in each.caveats]
        own = [
            f"labels come from {a}, unlabelled and test cases from {b}; at 100 % the labels are those of {b} (oracle)"
        ]
        if self.pairing.note:
            own.append(f"classes: {self.pairing.note}")
        return (*own, *both)

    # -- preparation --------------------------------------------------------------------------------------------------

    def is_ready(self) -> tuple[bool, str]:
        """Whether a run can start, and what to do if it cannot."""
        for each in (self.source_set, self.target_set):
            there, hint = each.is_ready()
            if not there:
                return False, f"{each.name}: {hint}"
        return True, f"made of {self.source_set.name} and {self.target_set.name}"

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        """Prepare both; see ``Dataset.prepare``."""
        if source is not None:
            raise ValueError(f"{self.name} takes no --from; prepare {self.source_set.name} and {self.target_set.name}")
        self.pairing  # noqa: B018 - a wrong class map shows before hours of work
        return [note for each in (self.source_set, self.target_set) for note in each.prepare(say=say)]

    def ready(self, say: Say | None = None) -> list[str]:
        """Prepare what has not been; see ``Dataset.ready``."""
        return [note for each in (self.source_set, self.target_set) for note in each.ready(say)]

    def settled(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Dataset.settled``."""
        settled: dict[str, Any] = self.target_set.settled(recipe)
        return settled

    def published(self, name: str, fraction: str) -> tuple[str, ...]:
        """See ``Dataset.published``; there is none."""
        raise LookupError(f"{self.name} has no published list {name!r}; give a file: --split-list labelled=FILE")

    def picture(self, case_id: str) -> np.ndarray:
        """See ``Dataset.picture``."""
        owner, own = self.owner(case_id)
        picture: np.ndarray = owner.picture(own)
        return picture

    @abstractmethod
    def hidden_label(self, case_id: str) -> np.ndarray:
        """See ``Dataset.hidden_label``."""


def class_names(dataset: Any) -> Sequence[str]:
    """A dataset's classes in the order of its labels."""
    names: Sequence[str] = getattr(dataset.classes, "names", dataset.classes)
    return names
