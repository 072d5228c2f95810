"""Street scenes in the official layout of Cityscapes as a benchmark dataset: parts, preparation and true labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from atso_bench.benchmark.spec import Budget
from atso_bench.datasets._frames.caveats import caveats
from atso_bench.datasets._frames.decoded import Decoded
from atso_bench.datasets._frames.on_disk import Listing, list_frames
from atso_bench.datasets._frames.published import is_published, published_list
from atso_bench.datasets._shared.noted import read_prepared
from atso_bench.datasets._shared.storage import storage, told

if TYPE_CHECKING:
    from atso_bench.benchmark.task import Reference
    from atso_bench.datasets._frames.task import CityscapesTask
    from atso_bench.datasets._shared.each import Say

VARIABLE = "CITYSCAPES_DATASET"
"""The environment variable of cityscapesscripts."""
PARTS = ("train", "val")


class CityscapesDataset:
    """Base of the street-scene datasets; a named one sets the class attributes.

    ``prepare`` decodes every frame once into a cache that training maps into memory; the identity is the hash of the
    decoded pixels. The original files are not needed afterwards.

    Args:
        configuration: protocol of training and inference, one of ``configurations``.
    """

    name: str = ""
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ("gtFine_trainvaltest.zip", "leftImg8bit_trainvaltest.zip")
    track: Literal["medical", "natural"] = "natural"
    configurations: ClassVar[tuple[str, ...]] = ("512x1024", "unimatch-801", "cps-800")
    groupings: ClassVar[tuple[str, ...]] = ("frame", "city")
    release: ClassVar[Mapping[str, int] | None] = None  # frames by part of the official release; None: any number
    extra: ClassVar[bool] = False  # whether the images of train_extra join R

    def __init__(self, configuration: str = "512x1024") -> None:
        if configuration not in self.configurations:
            raise ValueError(f"--configuration must be one of {', '.join(self.configurations)}, got {configuration!r}")
        self.configuration = configuration

    # -- what is there -----------------------------------------------------------------------------------------------

    def find(self) -> Path | None:
        """The folder of the data: ``CITYSCAPES_DATASET``, else what ``prepare --from`` was given last."""
        return _named() or (Path(kept) if (kept := self._decoded.memory()["source"]) else None)

    def is_ready(self) -> tuple[bool, str]:
        """Whether a run can start, and what to do if it cannot. Looks at folders only, not at frames."""
        found = self.find()
        if found is None:
            return False, self._how_to_get
        if str(found) in self._decoded.memory()["prepared"]:
            return True, f"prepared from {found}"
        if not _is_there(found):
            return False, f"{found} holds no leftImg8bit; {self._how_to_get}"
        return True, f"in {found}; the first run prepares it"

    @property
    def pool(self) -> tuple[str, ...]:
        return self._parts["train"]

    @property
    def unlabelled(self) -> tuple[str, ...]:
        return self._parts.get("train_extra", ())

    @property
    def test(self) -> tuple[str, ...]:
        return self._parts["val"]

    @cached_property
    def identity(self) -> str:
        """Hash of the decoded content of all frames; prepares if that has not been done."""
        self.ready()
        return str(self._content["identity"])

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """What the reader of a record has to know about the data; empty before it is prepared."""
        return (*caveats(self._frames, self.release), *self._content["notes"]) if self._found else ()

    @property
    def default_list(self) -> str:
        """The published list of the configuration's protocol, empty without one."""
        from atso_bench.datasets._frames.recipes import PROTOCOLS

        protocol = PROTOCOLS.get(self.configuration)
        return protocol.labelled if protocol else ""

    def group(self, case_id: str, by: str = "") -> str:
        """The frame itself, or its city; see ``Dataset.group``."""
        if by not in ("", *self.groupings):
            raise ValueError(f"{self.name} can be split by one of {', '.join(self.groupings)}, got {by!r}")
        return case_id.split("_")[0] if by == "city" else case_id

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

    # -- preparation -------------------------------------------------------------------------------------------------

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        """Check every file and decode it, as far as that is not done yet; returns a line for each thing done.

        Args:
            source: folder with ``leftImg8bit`` and ``gtFine``; None for the one that ``find`` gives.
            say: called with a line now and then while something takes long.

        Raises:
            ValueError: naming every broken file, what is wrong with it and what to do.
            FileNotFoundError: if there is nothing to prepare.
        """
        self._forget()
        given = None if source is None else Path(source).absolute()
        named = _named()
        if given is not None and named and named != given:
            raise ValueError(f"{VARIABLE} is {named} and overrides --from {given}; unset it, or set it to {given}")
        chosen = given or self.find()
        if chosen is None:
            raise FileNotFoundError(f"there is no {self.name}; {self._how_to_get}")
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
        return told(self.prepare(say=say), say)

    def _list(self, source: Path) -> Listing:
        """The frames in ``source``.

        Raises:
            FileNotFoundError: if it does not exist.
            ValueError: if it is not in the official layout at all.
        """
        if not source.exists():
            hint = f"correct or unset {VARIABLE}" if source == _named() else self._how_to_get
            raise FileNotFoundError(f"{source} does not exist; {hint}")
        if not _is_there(source):
            near = next((folder for folder in (source.parent, *sorted(source.glob("*/"))) if _is_there(folder)), None)
            zips = [source.name] if source.suffix == ".zip" else sorted(path.name for path in source.glob("*.zip"))
            hint = f"give {near}" if near else f"unpack {', '.join(zips)} there" if zips else self._how_to_get
            raise ValueError(f"{source} holds no leftImg8bit/train/CITY/*.png with gtFine beside it; {hint}")
        return list_frames(source, self._wanted)

    # -- what a run asks for -----------------------------------------------------------------------------------------

    def task(
        self, labelled: Sequence[str], visible: Sequence[str], budget: Budget, overrides: Mapping[str, Any]
    ) -> CityscapesTask:
        """Make the task that S allows; see ``Dataset.task``."""
        from atso_bench.datasets._frames.opened import FrameLabels, Frames
        from atso_bench.datasets._frames.task import CityscapesTask

        self.ready()
        self._known(labelled, (*self.pool, *self.test), "labelled")
        self._known(visible, self._frames, "visible")
        visible, labelled = sorted(visible), sorted(labelled)
        return CityscapesTask(
            configuration=self.configuration,
            budget=budget,
            overrides=overrides,
            images=Frames(self._folder / "images", tuple(visible), self.name),
            labels=FrameLabels(self._folder / "labels", tuple(labelled), self.name),
            visible={name: self._frames[name]["image"] for name in visible},
            labelled={name: self._frames[name]["label"] for name in labelled},
            unlabelled=len(set(visible) - set(labelled)),
            listed=is_published(labelled),
        )

    def reference(self, case_id: str) -> Reference:
        """True labels in the original geometry; see ``Dataset.reference``."""
        from atso_bench.benchmark.task import Reference

        return Reference(self.hidden_label(case_id), (1.0, 1.0))

    def picture(self, case_id: str) -> np.ndarray:
        """The frame; see ``Dataset.picture``."""
        from atso_bench.datasets._frames.opened import Frames

        frame: np.ndarray = Frames(self._folder / "images", (case_id,), self.name)[case_id].array
        return frame.transpose(1, 2, 0)

    def hidden_label(self, case_id: str) -> np.ndarray:
        """True labels in the training geometry, which is the original one; see ``Dataset.hidden_label``."""
        if self._frames.get(case_id, {}).get("label") is None:
            raise KeyError(f"{self.name} has no labelled frame {case_id!r}")
        from atso_bench.datasets._frames.opened import FrameLabels

        return np.array(FrameLabels(self._folder / "labels", (case_id,), self.name)[case_id])

    # -- folders -----------------------------------------------------------------------------------------------------

    @cached_property
    def _decoded(self) -> Decoded:
        return Decoded(self.name, storage())

    @property
    def _wanted(self) -> tuple[str, ...]:
        return (*PARTS, "train_extra") if self.extra else PARTS

    @property
    def _how_to_get(self) -> str:
        return (
            f"get it from {self.source} (an account is needed): csDownload -d FOLDER {' '.join(self.packages)}, "
            f"unpack the archives there, then: atso-bench prepare {self.name} --from FOLDER, or set {VARIABLE}=FOLDER"
        )

    def _forget(self) -> None:
        for cached in ("_found", "_content", "_parts", "identity", "caveats"):
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
        return self._list(source) if _is_there(source) else None

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
    def _parts(self) -> dict[str, tuple[str, ...]]:
        """Frame ids by part, from the prepared data or, before that, from the names of the files."""
        if self._found is not None:
            pairs = [(name, fact["part"]) for name, fact in self._frames.items()]
        else:
            source = self.find()
            if source is None:
                raise FileNotFoundError(f"there is no {self.name}; {self._how_to_get}")
            pairs = [(frame.id, frame.part) for frame in self._list(source).frames]
        parts: dict[str, list[str]] = {part: [] for part in self._wanted}
        for name, part in pairs:
            parts[part].append(name)
        return {part: tuple(sorted(names)) for part, names in parts.items()}

    def _known(self, names: Sequence[str], among: Iterable[str], what: str) -> None:
        candidates = set(among)
        if unknown := sorted(set(names) - candidates):
            shown = ", ".join(unknown[:8])
            raise ValueError(f"{what} frame(s) {shown} are not among {self.name}'s {len(candidates)} candidates")


def _named() -> Path | None:
    """The folder that the environment names."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def _is_there(source: Path) -> bool:
    return next(source.glob("leftImg8bit/*/*/*.png"), None) is not None
