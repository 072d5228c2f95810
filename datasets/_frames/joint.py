"""Frames of two datasets: labels come from the source, unlabelled and test frames from the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from atso_bench.benchmark.spec import Budget, digest
from atso_bench.benchmark.task import Image, Reference
from atso_bench.datasets._frames.classes import FrameClasses
from atso_bench.datasets._frames.dataset import FramesDataset
from atso_bench.datasets._shared.candidates import check_candidates
from atso_bench.datasets._shared.joint import Joint
from atso_bench.datasets._shared.pairing import PREFIX

if TYPE_CHECKING:
    from atso_bench.datasets._frames.task import FramesTask


class JointFrames(Joint[FramesDataset]):
    """See ``Joint``. Frames stay where each dataset keeps them; labels are translated when they are read."""

    @cached_property
    def classes(self) -> FrameClasses:
        """The pair's, in the target's colours."""
        known, pair = self.target_set.classes, self.pairing
        firsts = [merged[0] for merged in pair.target]
        palette = tuple(known.palette[first] for first in firsts) if known.palette else ()
        return FrameClasses(pair.classes, tuple(known.ids[first] for first in firsts), palette)

    def task(
        self, labelled: Sequence[str], visible: Sequence[str], budget: Budget, overrides: Mapping[str, Any]
    ) -> FramesTask:
        """See ``Dataset.task``."""
        from atso_bench.datasets._frames.task import FramesTask

        self.ready()
        check_candidates("labelled frame(s)", labelled, (*self.pool, *self.test), self.name)
        check_candidates("visible frame(s)", visible, (*self.pool, *self.unlabelled, *self.test), self.name)
        visible, labelled = sorted(visible), sorted(labelled)
        table = {name: self.table(name) for name in labelled}
        return FramesTask(
            classes=self.classes,
            configuration=self.configuration,
            budget=budget,
            overrides=overrides,
            images=_Both(self._opened(visible, FramesDataset.images_of), visible, _as_it_is),
            labels=_Both(
                self._opened(labelled, FramesDataset.labels_of), labelled, lambda name, label: table[name][label]
            ),
            visible={name: self.content(name) for name in visible},
            labelled={name: digest([self._label(name), table[name].tolist()]) for name in labelled},
            unlabelled=len(set(visible) - set(labelled)),
            listed=False,
        )

    def reference(self, case_id: str) -> Reference:
        """See ``Dataset.reference``."""
        return Reference(self.hidden_label(case_id), (1.0, 1.0))

    def hidden_label(self, case_id: str) -> np.ndarray:
        """See ``Dataset.hidden_label``."""
        owner, own = self.owner(case_id)
        label: np.ndarray = self.table(case_id)[owner.hidden_label(own)]
        return label

    def _opened(self, names: Sequence[str], of: Callable[..., Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """By side what gives its frames among ``names``."""
        sides: dict[str, list[str]] = {"source": [], "target": []}
        for name in names:
            sides["source" if name.startswith(PREFIX) else "target"].append(self.owner(name)[1])
        owners = {"source": self.source_set, "target": self.target_set}
        return {side: of(owners[side], own) for side, own in sides.items()}

    def _label(self, name: str) -> str:
        owner, own = self.owner(name)
        return owner.label_hash(own)


class _Both(Mapping[str, Any]):
    """Images or labels of both sides by the pair's names, and of these names alone."""

    def __init__(
        self, sides: Mapping[str, Mapping[str, Any]], names: Sequence[str], translated: Callable[[str, Any], Any]
    ) -> None:
        self._sides, self._names, self._translated = sides, dict.fromkeys(names), translated

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(f"{name!r} is not among the {len(self._names)} frames that this task was opened for")
        side, own = ("source", name.removeprefix(PREFIX)) if name.startswith(PREFIX) else ("target", name)
        return self._translated(name, self._sides[side][own])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _as_it_is(name: str, image: Image) -> Image:
    return image


def joined(source: Any, target: FramesDataset) -> JointFrames:
    """See ``Dataset.joint``."""
    if not isinstance(source, FramesDataset):
        raise ValueError(f"{source.name} has volumes and {target.name} has frames: no network learns from both")
    return JointFrames(source, target)
