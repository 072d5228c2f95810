"""nnU-Net's ``dataset.json``, checked before anything relies on it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atso_bench.benchmark.reading.label_names import has_regions, label_values
from atso_bench.benchmark.reading.user_files import is_printable, read_object

READERS = (
    "SimpleITKIO",
    "SimpleITKIOWithReorient",
    "NibabelIO",
    "NibabelIOWithReorient",
    "Tiff3DIO",
    "NaturalImage2DIO",
)
MOST_CLASSES = 254
"""Labels are kept in a byte, and 255 is what does not count."""


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
    for key, kind, example in (
        ("labels", dict, '{"background": 0, "organ": 1}'),
        ("channel_names", dict, '{"0": "MRI"}'),
        ("file_ending", str, '".nii.gz"'),
    ):
        if not isinstance(content[key], kind):
            raise ValueError(f"{path}: {key} must look like {example}, got {content[key]!r}")
    channels = content["channel_names"]
    if list(channels) != [str(number) for number in range(len(channels))] or not all(
        map(is_printable, channels.values())
    ):
        raise ValueError(f'{path}: channel_names must look like {{"0": "T1", "1": "T2"}}, got {channels}')
    if not re.fullmatch(r"(\.[A-Za-z0-9]+)+", content["file_ending"]):
        raise ValueError(f'{path}: file_ending must look like ".nii.gz", got {content["file_ending"]!r}')
    if (reader := content.get("overwrite_image_reader_writer", "None")) not in ("None", *READERS):
        raise ValueError(f"{path}: overwrite_image_reader_writer must be one of {', '.join(READERS)}, got {reader!r}")
    if not isinstance(content.get("ignore_origin", False), bool):
        raise ValueError(f"{path}: ignore_origin must be true or false, got {content['ignore_origin']!r}")
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
    wrong = ValueError(f'{path}: dataset must look like {{"CASE": {{"images": [FILE, ...], "label": FILE}}, ...}}')
    if not isinstance(listed, dict):
        raise wrong
    found, outside = {}, []
    for name, files in sorted(listed.items()):
        images, label = (files.get("images"), files.get("label")) if isinstance(files, dict) else (None, None)
        if not isinstance(images, list) or not all(isinstance(file, str) for file in images):
            raise wrong
        if not images or not isinstance(label, str):
            raise wrong
        outside += [f"{name!a}: {file!a}" for file in [*images, label] if _leads_out(file)]
        found[name] = (tuple(folder / image for image in images), folder / label)
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
