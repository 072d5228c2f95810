"""Any folder of images and masks with a ``dataset.json`` that names the classes; see docs/frames.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from atso_bench.benchmark import places
from atso_bench.datasets._frames.any_files import list_folders
from atso_bench.datasets._frames.dataset import FramesDataset
from atso_bench.datasets._frames.description import FILE, read_description
from atso_bench.datasets._frames.on_disk import Listing

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say

PREFIX = "frames-"


class AnyFrames(FramesDataset):
    """A dataset of the user's own, called ``frames-NAME``.

    ``prepare frames --from FOLDER`` takes the name from ``dataset.json``, or else from the folder.

    Args:
        name: ``frames-NAME``; empty for none yet.
        configuration: see ``FramesDataset``.
    """

    summary = "any folder of images and masks with a dataset.json, by name: frames-NAME"
    source = "docs/frames.md has the layout"
    wanted = FILE
    groupings = ("group",)

    def __init__(self, name: str = "", configuration: str = "") -> None:
        super().__init__(configuration)
        self.name = name

    def is_ready(self) -> tuple[bool, str]:
        if self.name:
            return super().is_ready()
        names = places.own_frames()
        there = f"; prepared are {', '.join(names)}" if names else ""
        return False, f"atso-bench prepare frames --from FOLDER, and then by its name, such as frames-polyps{there}"

    @property
    def how_to_get(self) -> str:
        return f"put {FILE} there ({self.source}), then: atso-bench prepare {self.name or 'frames'} --from FOLDER"

    def holds(self, source: Path) -> bool:
        return (source / FILE).is_file()

    def listed(self, source: Path) -> Listing:
        return list_folders(source, read_description(source))

    def group(self, case_id: str, by: str = "") -> str:
        """What ``groups`` in ``dataset.json`` says, else the frame itself."""
        frame = super().group(case_id, by)
        return str(self._frames[frame].get("group", frame))

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        """See ``FramesDataset.prepare``; without a name, that of the data is taken."""
        if self.name:
            return super().prepare(source, say)
        if source is None:
            raise ValueError(f"frames stands for any dataset: {self.is_ready()[1]}")
        self._take_name(Path(source).absolute())
        return [*super().prepare(source, say), f"its name is {self.name}: atso-bench run --dataset {self.name} ..."]

    def _take_name(self, source: Path) -> None:
        """Raises ValueError if another folder has the name already."""
        self._list(source)
        wanted = read_description(source).name or source.name
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")
        own = f"atso-bench prepare {PREFIX}NAME --from {source}"
        if not name:
            raise ValueError(f"{wanted!r} makes no name of a dataset; give it one: {own}")
        named = type(self)(f"{PREFIX}{name}", self.configuration)
        other = named.find()
        if other not in (None, source):
            raise ValueError(f"{named.name} is {other} already; give this one a name of its own: {own}")
        self.name = named.name
