"""nnU-Net's ``dataset.json``, checked before anything relies on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from atso_bench.benchmark.reading.label_names import has_regions, label_values
from atso_bench.benchmark.reading.typed import wrongs
from atso_bench.benchmark.reading.user_files import is_printable, read_object

Reader = Literal[
    "SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient", "Tiff3DIO", "NaturalImage2DIO"
]
MOST_CLASSES = 254
"""Labels are kept in a byte, and 255 is what does not count."""


def _printable(name: str) -> str:
    if not is_printable(name):
        raise ValueError("a name needs letters that can be displayed")
    return name


@with_config(ConfigDict(strict=True))
class _Files(TypedDict):
    """Of a case; nnU-Net passes over what else stands there."""

    images: Annotated[list[str], Field(min_length=1)]
    label: str


@with_config(ConfigDict(strict=True))
class _Description(TypedDict, total=False):
    """What is read of it, beside much that others may write there."""

    labels: dict[str, Any]
    channel_names: dict[str, Annotated[str, AfterValidator(_printable)]]
    file_ending: Annotated[str, Field(pattern=r"^(\.[A-Za-z0-9]+)+$")]
    overwrite_image_reader_writer: Literal["None"] | Reader
    ignore_origin: bool


_DESCRIPTION = TypeAdapter(_Description)
_LISTED = TypeAdapter(dict[str, _Files])
_WANTED = {
    "labels": 'look like {"background": 0, "organ": 1}',
    "channel_names": 'look like {"0": "T1", "1": "T2"}',
    "file_ending": 'look like ".nii.gz"',
    "overwrite_image_reader_writer": f"be one of {', '.join(get_args(Reader))}",
    "ignore_origin": "be true or false",
}


def read_description(path: Path) -> dict[str, Any]:
    """What ``dataset.json`` says.

    Raises:
        ValueError: if it is no JSON, or says something of the wrong form.
    """
    content = read_object(path)
    content.setdefault("channel_names", content.get("modality"))
    missing = [key for key in ("labels", "channel_names", "file_ending") if not content.get(key)]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; nnU-Net's documentation/dataset_format.md describes them")
    wrong = [each.place.partition(".")[0] for each in wrongs(_DESCRIPTION, content)]
    channels = content["channel_names"]
    if not wrong and list(channels) != [str(number) for number in range(len(channels))]:
        wrong = ["channel_names"]
    for key in wrong:
        raise ValueError(f"{path}: {key} must {_WANTED[key]}, got {content[key]!r}")
    return content


def class_names(labels: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Names in the order of the label values, background first, without nnU-Net's ignore label.

    Raises:
        ValueError: if the values are not 0, 1, 2 ... with background first and ``ignore`` last, or for regions.
    """
    if labels and all(name.isdecimal() for name in labels):
        raise ValueError(f"{path}: labels must give each name a number, got {labels}")
    found = label_values(labels, path)
    if has_regions(found):
        raise ValueError(
            f"{path} defines regions (lists of labels), which `evaluate` can score, but no method can learn: give each "
            "class one label"
        )
    values = {name: own[0] for name, own in found.items()}
    if values.get("background") != 0:
        raise ValueError(f"{path}: label 0 must be called 'background', got {labels}")
    names = sorted(values, key=lambda name: values[name])
    if [values[name] for name in names] != list(range(len(names))) or names.index("background"):
        raise ValueError(f"{path}: labels must be 0, 1, 2 ... without a gap, got {labels}")
    if "ignore" in names and names[-1] != "ignore":
        raise ValueError(f"{path}: the ignore label must be the highest, got {labels}")
    classes = tuple(name for name in names if name != "ignore")
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise ValueError(f"{path}: labels has {len(classes)} class(es), but must have 2 to {MOST_CLASSES}")
    return classes


def listed_files(listed: Any, folder: Path) -> dict[str, tuple[tuple[Path, ...], Path]]:
    """The images and the label of each case that ``dataset.json`` lists under ``dataset``.

    Raises:
        ValueError: if the list has another form, or names files outside of the folder; nnU-Net would follow it.
    """
    path = folder / "dataset.json"
    if any(wrongs(_LISTED, listed)):
        raise ValueError(f'{path}: dataset must look like {{"CASE": {{"images": [FILE, ...], "label": FILE}}, ...}}')
    found, outside = {}, []
    for name, files in sorted(listed.items()):
        outside += [f"{name!a}: {file!a}" for file in [*files["images"], files["label"]] if _leads_out(file)]
        found[name] = (tuple(folder / image for image in files["images"]), folder / files["label"])
    if outside:
        listing = "\n  ".join(outside)
        raise ValueError(
            f"{path} names {len(outside)} file(s) outside its folder, or by an environment variable:\n  {listing}\n"
            f"put the files, or links to them, into {folder} and name them by their paths in it"
        )
    return found


def _leads_out(file: str) -> bool:
    """Whether a path leaves the folder that it starts from; links in the folder are the user's own."""
    path = Path(os.path.normpath(file))
    return not file.isprintable() or path.is_absolute() or path.parts[:1] == ("..",) or os.path.expandvars(file) != file
