"""Frames as a benchmark dataset, in whatever layout: parts, preparation and true labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from atso_bench.benchmark.spec import Budget
from atso_bench.datasets._frames.caveats import empty
from atso_bench.datasets._frames.classes import FrameClasses
from atso_bench.datasets._frames.decoded import Decoded
from atso_bench.datasets._frames.on_disk import Listing, role
from atso_bench.datasets._shared.candidates import check_candidates
from atso_bench.datasets._shared.noted import read_prepared
from atso_bench.datasets._shared.storage import announced, storage

if TYPE_CHECKING:
    from atso_bench.benchmark.task import Reference
    from atso_bench.benchmark.trained import Trained
    from atso_bench.datasets._frames.opened import FrameImages, FrameLabels
    from atso_bench.datasets._frames.task import FramesTask
    from atso_bench.datasets._shared.each import Say

PACKED = (".zip", ".tar", ".gz", ".tgz")


class FramesDataset(ABC):
    """Base of the datasets of frames; one of them says which files there are and what their labels mean.

    ``prepare`` decodes every frame once into a cache that training maps into memory; the identity is the hash of the
    decoded pixels. The original files are not needed afterwards. Frames may differ in size.

    Args:
        configuration: recipe of training and inference, one of ``configurations``; empty for the first.

    Attributes:
        wanted: what ``prepare`` looks for in a folder, in words.
    """

    name: str = ""
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    wanted: ClassVar[str] = ""
    joint = "atso_bench.datasets._frames.joint"
    track = "natural"
    configurations: ClassVar[tuple[str, ...]] = ("512x512",)
    groupings: ClassVar[tuple[str, ...]] = ("frame",)
    default_list: str = ""

    def __init__(self, configuration: str = "") -> None:
        configuration = configuration or self.configurations[0]
        if configuration not in self.configurations:
            raise ValueError(f"--configuration must be one of {', '.join(self.configurations)}, got {configuration!r}")
        self.configuration = configuration

    # -- what is there -----------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def how_to_get(self) -> str:
        """What to do where the data is not there."""

    @abstractmethod
    def holds(self, source: Path) -> bool:
        """Whether a folder is in this layout, by a look at a file or two."""

    @abstractmethod
    def listed(self, source: Path) -> Listing:
        """The frames of a folder that ``holds`` them."""

    @property
    def classes(self) -> FrameClasses:
        """The classes, of a dataset whose data does not name its own."""
        return FrameClasses.from_json(self._content["classes"])

    def find(self) -> Path | None:
        """The folder of the data: what ``prepare --from`` was given last."""
        return Path(kept) if (kept := self._decoded.memory()["source"]) else None

    def is_ready(self) -> tuple[bool, str]:
        """Whether a run can start, and what to do if it cannot. Looks at folders only, not at frames."""
        found = self.find()
        if found is None:
            return False, self.how_to_get
        if str(found) in self._decoded.memory()["prepared"]:
            return True, f"prepared from {found}"
        if not self.holds(found):
            return False, f"{found} holds no {self.wanted}; {self.how_to_get}"
        return True, f"in {found}; the first run prepares it"

    @property
    def pool(self) -> tuple[str, ...]:
        return self._by_part["pool"]

    @property
    def unlabelled(self) -> tuple[str, ...]:
        return self._by_part["unlabelled"]

    @property
    def test(self) -> tuple[str, ...]:
        return self._by_part["test"]

    @property
    def labels_from(self) -> tuple[str, ...]:
        return ()

    @cached_property
    def identity(self) -> str:
        """Hash of the decoded content of all frames; prepares if that has not been done."""
        self.ready()
        return str(self._content["identity"])

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """What the reader of a record has to know about the data; empty before it is prepared."""
        return (*self.caveats_of(self._frames), *self._content["notes"]) if self._found else ()

    def caveats_of(self, frames: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
        """The same from the facts of each frame, as ``write_frame`` gives them."""
        return empty(frames)

    def group(self, case_id: str, by: str = "") -> str:
        """The frame itself; see ``Dataset.group``."""
        if by not in ("", *self.groupings):
            raise ValueError(f"{self.name} can be split by one of {', '.join(self.groupings)}, got {by!r}")
        return case_id

    def content(self, case_id: str) -> str:
        """Hash of the frame's pixels; prepares if that has not been done. See ``Dataset.content``."""
        if "_content" not in self.__dict__:
            self.ready()
        return str(self._frames[case_id]["image"])

    def settled(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """A file of weights by its full path and its hash; see ``Dataset.settled``."""
        weights = recipe.get("weights")
        if not isinstance(weights, str) or weights in ("", "none", "imagenet"):
            return dict(recipe)
        from atso_bench.datasets._frames.network import file_hash

        return {**recipe, "weights": str(Path(weights).absolute()), "weights_sha256": file_hash(weights)}

    def published_parts(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """See ``Dataset.published_parts``; the lists say which frames are labelled, and no more."""
        return {}

    def published(self, name: str, fraction: str) -> tuple[str, ...]:
        """See ``Dataset.published``; there is none."""
        raise LookupError(f"{self.name} has no published list {name!r}; give a file: --split-list labelled=FILE")

    # -- preparation -------------------------------------------------------------------------------------------------

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        """Check every file and decode it, as far as that is not done yet; returns a line for each thing done.

        Args:
            source: folder of the frames; None for the one that ``find`` gives.
            say: called with a line now and then while something takes long.

        Raises:
            ValueError: naming every broken file, what is wrong with it and what to do.
            FileNotFoundError: if there is nothing to prepare.
        """
        self._forget()
        given = None if source is None else Path(source).absolute()
        chosen = given or self.find()
        if chosen is None:
            raise FileNotFoundError(f"there is no {self.name}; {self.how_to_get}")
        notes = []
        found = self._find_prepared(chosen)
        if found is not None and (wrong := self._decoded.doubts(found, chosen, self._listing(chosen), say)):
            notes, found = [f"{wrong}; all frames are checked and decoded again"], None
        if found is None:
            listing = self._list(chosen)
            found = self._decoded.make(chosen, listing, say)
            counts = Counter(frame.part for frame in listing.frames)
            parts = ", ".join(f"{count:,} of {part}" for part, count in counts.items())
            notes += [f"checked {counts.total():,} frames of {chosen}: {parts}", f"decoded into {found}"]
        if given is not None:
            self._decoded.remember(given)
        self._forget()
        notes = notes or [f"{self.name} is prepared in {found}"]
        return [*notes, *(f"note: {caveat}" for caveat in self.caveats)]

    def ready(self, say: Say | None = None) -> list[str]:
        """Prepare if that has not been done; a run begins with this. Returns what was done, line by line."""
        if self._found is not None:
            return []
        return announced(self.prepare(say=say), say)

    def _list(self, source: Path) -> Listing:
        """The frames in ``source``.

        Raises:
            FileNotFoundError: if it does not exist.
            ValueError: if it is not in the layout at all.
        """
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist; {self.if_gone(source)}")
        if not self.holds(source):
            raise ValueError(f"{source} holds no {self.wanted}; {self._hint(source)}")
        return self.listed(source)

    def if_gone(self, source: Path) -> str:
        """What to do where the folder is not there any more."""
        return self.how_to_get

    def _hint(self, source: Path) -> str:
        """Where the frames may be instead."""
        near = (source.parent, *sorted(source.glob("*/")), *sorted(source.glob("*/*/")))
        if found := next((folder for folder in near if self.holds(folder)), None):
            return f"give {found}"
        zips = (
            [source.name]
            if source.suffix in PACKED
            else sorted(path.name for path in source.glob("*") if path.suffix in PACKED)
        )
        return f"unpack {', '.join(zips)} there" if zips else self.how_to_get

    # -- what a run asks for -----------------------------------------------------------------------------------------

    def task(
        self, labelled: Sequence[str], visible: Sequence[str], budget: Budget, overrides: Mapping[str, Any]
    ) -> FramesTask:
        """Make the task that the labelled frames allow; see ``Dataset.task``."""
        from atso_bench.datasets._frames.task import FramesTask

        self.ready()
        check_candidates("labelled frame(s)", labelled, (*self.pool, *self.test), self.name)
        check_candidates("visible frame(s)", visible, self._frames, self.name)
        visible, labelled = sorted(visible), sorted(labelled)
        return FramesTask(
            classes=self.classes,
            configuration=self.configuration,
            budget=budget,
            overrides=overrides,
            images=self.images_of(visible),
            labels=self.labels_of(labelled),
            visible={name: self._frames[name]["image"] for name in visible},
            labelled={name: self.label_hash(name) for name in labelled},
            unlabelled=len(set(visible) - set(labelled)),
            listed=self.is_published(labelled),
        )

    def images_of(self, names: Sequence[str]) -> FrameImages:
        """The images of these frames, and of no other."""
        from atso_bench.datasets._frames.opened import FrameImages

        return FrameImages(self._folder / "images", tuple(names), self.name)

    def labels_of(self, names: Sequence[str]) -> FrameLabels:
        """The true labels of these frames, and of no other."""
        from atso_bench.datasets._frames.opened import FrameLabels

        return FrameLabels(self._folder / "labels", tuple(names), self.name)

    def label_hash(self, name: str) -> str:
        """Hash of a labelled frame's label."""
        return str(self._frames[name]["label"])

    @staticmethod
    def trained(portable: Mapping[str, Any]) -> Trained:
        """What predicts without the data; see ``Reopens``."""
        from atso_bench.datasets._frames.trained import TrainedFrames

        return TrainedFrames(portable)

    def is_published(self, labelled: Sequence[str]) -> bool:
        """Whether these are the frames that a published list of the protocol labels."""
        return False

    def reference(self, case_id: str) -> Reference:
        """True labels in the original geometry; see ``Dataset.reference``."""
        from atso_bench.benchmark.task import Reference

        return Reference(self.hidden_label(case_id), (1.0, 1.0))

    def picture(self, case_id: str) -> np.ndarray:
        """The frame; see ``Dataset.picture``."""
        frame: np.ndarray = self.images_of([case_id])[case_id].array
        return frame.transpose(1, 2, 0)

    def hidden_label(self, case_id: str) -> np.ndarray:
        """True labels in the training geometry, which is the original one; see ``Dataset.hidden_label``."""
        if self._frames.get(case_id, {}).get("label") is None:
            raise KeyError(f"{self.name} has no labelled frame {case_id!r}")
        return np.array(self.labels_of([case_id])[case_id])

    # -- folders -----------------------------------------------------------------------------------------------------

    @cached_property
    def _decoded(self) -> Decoded:
        return Decoded(self.name, storage())

    def _forget(self) -> None:
        for cached in ("_found", "_content", "_by_part", "identity", "caveats"):
            self.__dict__.pop(cached, None)

    @cached_property
    def _found(self) -> Path | None:
        source = self.find()
        return None if source is None else self._find_prepared(source)

    def _find_prepared(self, source: Path) -> Path | None:
        """The folder that was prepared from what is in ``source``, or was there before it was taken away."""
        return self._decoded.find(source, self._listing(source))

    def _listing(self, source: Path) -> Listing | None:
        """The frames in ``source``; None if it was taken away."""
        return self._list(source) if self.holds(source) else None

    @property
    def _folder(self) -> Path:
        if self._found is None:
            raise FileNotFoundError(f"{self.name} is not prepared; run: atso-bench prepare {self.name}")
        return self._found

    @cached_property
    def _content(self) -> dict[str, Any]:
        return read_prepared(self._folder, self.name)

    @property
    def _frames(self) -> dict[str, dict[str, Any]]:
        frames: dict[str, dict[str, Any]] = self._content["frames"]
        return frames

    @cached_property
    def _by_part(self) -> dict[str, tuple[str, ...]]:
        """Frame ids by what they are for, from the prepared data or, before that, from the names of the files."""
        if self._found is not None:
            pairs = [(name, fact["part"]) for name, fact in self._frames.items()]
        else:
            source = self.find()
            if source is None:
                raise FileNotFoundError(f"there is no {self.name}; {self.how_to_get}")
            pairs = [(frame.id, frame.part) for frame in self._list(source).frames]
        parts: dict[str, list[str]] = {"pool": [], "test": [], "unlabelled": []}
        for name, part in pairs:
            parts[role(part)].append(name)
        return {part: tuple(sorted(names)) for part, names in parts.items()}
