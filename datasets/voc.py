"""PASCAL VOC 2012 with the masks of SBD, as the literature has it: 10,582 training and 1,449 test frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from atso_bench.benchmark.splits import read_list
from atso_bench.benchmark.task import IGNORE
from atso_bench.datasets._frames.any_reader import AnyReader
from atso_bench.datasets._frames.caveats import empty
from atso_bench.datasets._frames.classes import FrameClasses
from atso_bench.datasets._frames.dataset import FramesDataset
from atso_bench.datasets._frames.on_disk import Frame, Listing, twice

_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_MASKS, _AUGMENTED = "SegmentationClass", "SegmentationClassAug"
_LISTS = "ImageSets/Segmentation"
_TRAINING = ("trainaug.txt", "train_aug.txt")
"""Names under which the list of the augmented training set is passed around."""


class Voc(FramesDataset):
    """PASCAL VOC 2012: the masks of SBD (or else those of VOC alone) but for val's are the pool, val the test set.

    Attributes:
        release: frames by part, of the data that the literature has.
    """

    name = "voc"
    summary = "PASCAL VOC 2012 with SBD's masks: 21 classes, 10,582 training frames, the 1,449 of val as T"
    source = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012 (VOCtrainval_11-May-2012.tar)"
    licence = "images from flickr: research, no redistribution"
    citation = (
        "Everingham et al., The PASCAL Visual Object Classes Challenge: A Retrospective, IJCV 2015; "
        "Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011"
    )
    wanted = f"JPEGImages with ImageSets and {_AUGMENTED} or {_MASKS} beside it"
    configurations = ("321x321", "512x512")
    release: ClassVar[Mapping[str, int]] = {"train": 10582, "val": 1449}

    @property
    def classes(self) -> FrameClasses:
        return FrameClasses(_NAMES, tuple(range(len(_NAMES))), tuple(map(_colour, range(len(_NAMES)))))

    @property
    def how_to_get(self) -> str:
        return (
            f"get it from {self.source} and unpack it, put SBD's masks as class indices into its {_AUGMENTED}, "
            f"then: atso-bench prepare {self.name} --from FOLDER/VOCdevkit/VOC2012"
        )

    def holds(self, source: Path) -> bool:
        folders = (_AUGMENTED, _MASKS)
        return (source / "JPEGImages").is_dir() and any((source / name).is_dir() for name in folders)

    def listed(self, source: Path) -> Listing:
        """Train masks are SBD's where there is a folder of them, those of val VOC's own where they are there."""
        frames: list[Frame] = []
        problems: list[str] = []
        test = _ids(source, "val.txt", problems)
        folders = [name for name in (_AUGMENTED, _MASKS) if (source / name).is_dir()]
        for part, ids, masks in (("train", _training(source, folders[0], test), folders), ("val", test, folders[::-1])):
            for name in ids:
                image = source / "JPEGImages" / f"{name}.jpg"
                mask = next((path for path in _places(source, masks, name) if path.is_file()), None)
                problems += _missing(name, image, mask, masks)
                frames += [Frame(name, part, source, image, mask)] if mask and image.is_file() else []
        problems += twice(frames)
        if not any(frame.part == "train" for frame in frames):
            problems.append(f"{folders[0]}: no mask of a frame that is not in {_LISTS}/val.txt")
        values = {**dict(zip(range(len(_NAMES)), range(len(_NAMES)), strict=True)), 255: IGNORE}
        reader = AnyReader(values, _NAMES, "VOC's table", ("JPEGImages", *folders))
        return Listing(tuple(frames), tuple(problems), reader)

    def caveats_of(self, frames: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
        counts = {part: sum(fact["part"] == part for fact in frames.values()) for part in self.release}
        if counts != dict(self.release):
            have, official = (" + ".join(f"{each:,}" for each in which.values()) for which in (counts, self.release))
            yield f"the data is not the official PASCAL VOC 2012 with SBD's masks: {have} frames instead of {official}"
        yield from empty(frames)


def _ids(source: Path, file: str, problems: list[str]) -> tuple[str, ...]:
    """The frames of a list; adds what is wrong with it."""
    try:
        return read_list(source / _LISTS / file)
    except FileNotFoundError:
        problems.append(f"{_LISTS}/{file} is missing; it comes with VOCtrainval_11-May-2012.tar")
    except ValueError as error:
        problems.append(str(error))
    return ()


def _training(source: Path, masks: str, test: Iterable[str]) -> tuple[str, ...]:
    """The list of the augmented training set if the folder has one, else all frames with a mask that are not in val."""
    lists = (source / _LISTS / name for name in _TRAINING)
    if file := next((path for path in lists if path.is_file()), None):
        return tuple(sorted(read_list(file)))
    held = {*test}
    names = (path.stem for path in (source / masks).glob("*.png") if not path.name.startswith("."))
    return tuple(sorted(name for name in names if name not in held))


def _places(source: Path, folders: Iterable[str], name: str) -> Iterator[Path]:
    return (source / folder / f"{name}.png" for folder in folders)


def _missing(name: str, image: Path, mask: Path | None, folders: Iterable[str]) -> Iterator[str]:
    if not image.is_file():
        yield f"JPEGImages/{name}.jpg is missing; unpack VOCtrainval_11-May-2012.tar again"
    if mask is None:
        yield f"{name}: it has no mask in {' or '.join(folders)}; add {name}.png"


def _colour(label: int) -> tuple[int, int, int]:
    """VOC's own: three bits of the label go to red, green and blue, the highest first, again and again."""
    red, green, blue = (
        sum((label >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue
