"""Street scenes in the official layout of Cityscapes: its parts, cities, classes and published lists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from atso_bench.datasets._frames.caveats import caveats
from atso_bench.datasets._frames.cityscapes_files import list_frames
from atso_bench.datasets._frames.classes import CITYSCAPES, FrameClasses
from atso_bench.datasets._frames.dataset import FramesDataset
from atso_bench.datasets._frames.on_disk import Listing
from atso_bench.datasets._frames.published import is_published, published_list

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say

VARIABLE = "CITYSCAPES_DATASET"
"""The environment variable of cityscapesscripts."""


class CityscapesDataset(FramesDataset):
    """Base of the street-scene datasets; a named one sets the class attributes."""

    packages: ClassVar[tuple[str, ...]] = ("gtFine_trainvaltest.zip", "leftImg8bit_trainvaltest.zip")
    wanted = "leftImg8bit/train/CITY/*.png with gtFine beside it"
    configurations = ("512x1024", "unimatch-801", "cps-800")
    groupings = ("frame", "city")
    release: ClassVar[Mapping[str, int] | None] = None  # frames by part of the official release; None: any number
    extra: ClassVar[bool] = False  # whether the images of train_extra join the unlabelled

    def find(self) -> Path | None:
        """The folder of the data: ``CITYSCAPES_DATASET``, else what ``prepare --from`` was given last."""
        return _named() or super().find()

    @property
    def how_to_get(self) -> str:
        return (
            f"get it from {self.source} (an account is needed): csDownload -d FOLDER {' '.join(self.packages)}, "
            f"unpack the archives there, then: atso-bench prepare {self.name} --from FOLDER, or set {VARIABLE}=FOLDER"
        )

    def if_gone(self, source: Path) -> str:
        return f"correct or unset {VARIABLE}" if source == _named() else self.how_to_get

    def holds(self, source: Path) -> bool:
        return next(source.glob("leftImg8bit/*/*/*.png"), None) is not None

    def listed(self, source: Path) -> Listing:
        return list_frames(source, ("train", "val", "train_extra") if self.extra else ("train", "val"))

    @property
    def classes(self) -> FrameClasses:
        return CITYSCAPES

    def caveats_of(self, frames: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
        return caveats(frames, self.release)

    @property
    def default_list(self) -> str:  # type: ignore[override]
        """The published list of the configuration's protocol, empty without one."""
        from atso_bench.datasets._frames.recipes import PROTOCOLS

        protocol = PROTOCOLS.get(self.configuration)
        return protocol.labelled if protocol else ""

    def group(self, case_id: str, by: str = "") -> str:
        """The frame itself, or its city; see ``Dataset.group``."""
        frame = super().group(case_id, by)
        return frame.split("_")[0] if by == "city" else frame

    def published(self, name: str, fraction: str) -> tuple[str, ...]:
        """The training frames that a published list labels, in its order; see ``published_list``.

        Raises:
            LookupError: if there is no such list.
            ValueError: if this data does not hold its frames.
        """
        ids = published_list(name, fraction)
        if missing := sorted(set(ids) - set(self.pool)):
            raise ValueError(
                f"{name}'s list of {len(ids)} frames does not fit {self.find()}: {len(missing)} of them are not in its "
                f"train part, as {missing[0]}; the list is for the official Cityscapes"
            )
        return ids

    def is_published(self, labelled: Sequence[str]) -> bool:
        return is_published(labelled)

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        """See ``FramesDataset.prepare``; the environment variable goes first."""
        given = None if source is None else Path(source).absolute()
        named = _named()
        if given is not None and named and named != given:
            raise ValueError(f"{VARIABLE} is {named} and overrides --from {given}; unset it, or set it to {given}")
        return super().prepare(source, say)


def _named() -> Path | None:
    """The folder that the environment names."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else None
