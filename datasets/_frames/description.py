"""The ``dataset.json`` of a folder of images and masks, checked before anything believes it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atso_bench.benchmark.reading.label_names import LabelValues, label_values
from atso_bench.benchmark.reading.user_files import read_object
from atso_bench.benchmark.task import IGNORE
from atso_bench.datasets._frames.classes import FrameClasses

FILE = "dataset.json"
IGNORED = "ignore"
"""The name of the labels that neither train nor count, as in nnU-Net."""
MOST_CLASSES = 254
"""Labels are kept in a byte, and 255 is what does not count."""
MOST = 65535
"""The highest value of a mask."""
_ABOUT = {"description", "licence", "license", "source", "reference", "citation"}

Byte = Annotated[int, Field(ge=0, le=255)]
Group = Annotated[str, Field(min_length=1)] | int


class _Written(BaseModel):
    """The file's content, by type alone."""

    model_config = ConfigDict(extra="allow", strict=True)

    labels: dict[str, Any]
    name: str = ""
    palette: dict[str, Annotated[list[Byte], Len(3, 3)]] = {}
    images: str = "images"
    masks: str = "masks"
    mask_suffix: str = ""
    test_images: str = "test_images"
    test_masks: str = "test_masks"
    unlabelled_images: str = "unlabelled_images"
    groups: dict[str, Group] = {}


@dataclass(frozen=True)
class Description:
    """What a folder of images and masks says of itself.

    Attributes:
        name: empty if it has none.
        classes: in the order of their values.
        values: value in a mask -> class, or ``IGNORE``.
        folders: part -> the folders of its images and masks, below the dataset's own; no masks for the unlabelled.
        mask_suffix: what stands behind a frame's name in the name of its mask.
        groups: frame -> what a split does not divide.
        told: the file's content.
        notes: what may be right but ought to be known.
    """

    name: str
    classes: FrameClasses
    values: Mapping[int, int]
    folders: Mapping[str, tuple[str, str]]
    mask_suffix: str
    groups: Mapping[str, str]
    told: Mapping[str, Any]
    notes: tuple[str, ...]


def read_description(folder: Path) -> Description:
    """What ``dataset.json`` in the folder says.

    Raises:
        ValueError: naming all that is wrong with it.
    """
    path = folder / FILE
    content = read_object(path)
    try:
        written = _Written.model_validate(content)
    except ValidationError as error:
        raise _wrong(path, [f"{_place(each['loc'])}: {each['msg']}" for each in error.errors()]) from None
    named = label_values(written.labels, path)
    folders = _folders(folder, written, content)
    problems = [*_label_problems(named), *_palette_problems(named, written.palette), *_folder_problems(folder, folders)]
    if problems:
        raise _wrong(path, problems)
    ignored = named.pop(IGNORED, ())
    names = sorted(named, key=lambda name: min(named[name]))
    values = {value: index for index, name in enumerate(names) for value in named[name]}
    palette = tuple(
        (red, green, blue) for red, green, blue in (written.palette[name] for name in names if written.palette)
    )
    unread = sorted({*(written.model_extra or {})} - _ABOUT)
    return Description(
        written.name.strip(),
        FrameClasses(tuple(names), tuple(named[name][0] for name in names), palette),
        {**values, **dict.fromkeys(ignored, IGNORE)},
        folders,
        written.mask_suffix,
        {frame: str(group) for frame, group in written.groups.items()},
        content,
        (f"{FILE} says {', '.join(unread)}, which nothing reads",) if unread else (),
    )


def _folders(folder: Path, written: _Written, content: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """By part; a test set and unlabelled images are there if they are named, or have the usual names."""
    found = {"train": (written.images, written.masks)}
    if {"test_images", "test_masks"} & content.keys() or (folder / written.test_images).is_dir():
        found["test"] = (written.test_images, written.test_masks)
    if "unlabelled_images" in content or (folder / written.unlabelled_images).is_dir():
        found["unlabelled"] = (written.unlabelled_images, "")
    return found


def _label_problems(named: LabelValues) -> Iterator[str]:
    owner: dict[int, str] = {}
    for name, values in named.items():
        for value in values:
            if not 0 <= value <= MOST:
                yield f"labels: {name} is {value}; values are from 0 to {MOST}"
            if value in owner:
                yield f"labels: {owner[value]} and {name} are both {value}; a value belongs to one"
            owner[value] = name
    classes = len(named.keys() - {IGNORED})
    if not 2 <= classes <= MOST_CLASSES:
        yield f"labels: there are {classes} class(es), from 2 to {MOST_CLASSES} are possible; name the background too"


def _palette_problems(named: LabelValues, palette: Mapping[str, Any]) -> Iterator[str]:
    classes = named.keys() - {IGNORED}
    if unknown := sorted(palette.keys() - classes):
        yield f"palette: {', '.join(unknown)} is not among the labels"
    if palette and (bare := sorted(classes - palette.keys())):
        yield f"palette: there is no colour for {', '.join(bare)}; give each class one, or none at all"


def _folder_problems(folder: Path, folders: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    for name in (name for pair in folders.values() for name in pair if name):
        inside = Path(os.path.normpath(name))
        if not name.isprintable() or inside.is_absolute() or inside.parts[:1] == ("..",):
            yield f"{name!a} leads out of {folder}; put the files, or a link to them, into it"
        elif not (folder / name).is_dir():
            yield f"there is no folder {name}; add it, or name another one"


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(each) for each in location)


def _wrong(path: Path, problems: list[str]) -> ValueError:
    listed = "\n  ".join(problems)
    return ValueError(f"{path} has {len(problems)} problem(s):\n  {listed}")
