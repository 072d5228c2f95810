"""One reading of a case: what is wrong with it, what it shows, and the numbers that planning needs."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.reading.geometry import Numbers, differences
from atso_bench.benchmark.reading.image_files import file_problem
from atso_bench.benchmark.reading.listed import few
from atso_bench.benchmark.reading.masks import spacing_file
from atso_bench.benchmark.splits import same_images
from atso_bench.datasets._shared.near import Small, thumbnail
from atso_bench.datasets._shared.storage import quiet
from atso_bench.datasets._volumes.placement import is_sheared, orientation, placement
from atso_bench.datasets._volumes.raw import Case

_SIDES = (1e-3, 100.0)
"""Millimetres between which the sides of a voxel lie, of most microscopes too."""
_NO_SIDE = 999.0
"""What nnU-Net's readers say of the third axis of a flat image."""


@dataclass(frozen=True)
class Look:
    """What one reading of a case showed.

    Attributes:
        problems: what is wrong, and what to do.
        shape: voxels by axis after cropping to the nonzero region.
        spacing: millimetres by axis.
        kept: share of the voxels that cropping keeps.
        content: hash of the image's shape and voxels, whatever file they come in.
        values: label values that the mask holds.
        mask: hash of the mask's shape and voxels.
        orientation: how the axes run, as in LPS; empty where the file does not say.
        notes: what may be right but ought to be known, the same words for every such case.
        small: the image's thumbnail, by which near copies are found; None for an image without any contrast.
    """

    problems: tuple[str, ...]
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    kept: float = 1.0
    content: str = ""
    values: tuple[int, ...] = ()
    mask: str = ""
    orientation: str = ""
    notes: tuple[str, ...] = ()
    small: Small | None = field(default=None, compare=False, repr=False)


def examine(
    case: Case,
    channels: int,
    labels: Sequence[int],
    reader: Any,
    reference: str = "imagesUn/",
    ignore_origin: bool = False,
) -> Look:
    """Read a case once: what is wrong with it, and the numbers that planning needs. The label adds problems only."""
    missing = [path for path in case.files if not path.is_file()]
    if case.label in missing:
        return Look((f"no label at {case.label}; add it, or move the image to {reference} if it has none",))
    if missing:
        return Look((f"missing: {', '.join(map(str, missing))}",))
    if broken := [f"{_short(path)}: {problem}" for path in case.files if (problem := file_problem(path))]:
        return Look(tuple(broken))
    try:
        with contextlib.redirect_stdout(io.StringIO()) as heard:
            image, geometry = reader.read_images([str(path) for path in case.images])
        spacing = tuple(float(value) for value in geometry["spacing"])
    except Exception as error:
        names = ", ".join(map(_short, case.images))
        why = f"{_first_line(error)}; replace the file: all channels must have the same geometry"
        return Look((f"cannot read its image {names} ({why})",))
    problems = [*_image_problems(image, spacing, channels, len(case.images))]
    values: tuple[int, ...] = ()
    mask = ""
    placed = placement(geometry)
    direction = placed.get("direction", ())
    notes = [*_notes(case, reader, direction, spacing)]
    if "WARNING! Not all input images have the same" in heard.getvalue() and _apart(case, reader, placed):
        notes.append("have channels of another origin or direction, and are taken voxel by voxel")
    if case.label is not None:
        wrong, values, mask, known = _look_at_label(case.label, image.shape[1:], placed, labels, reader, ignore_origin)
        problems += wrong
        notes += known
    if problems:
        return Look(tuple(problems))
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    cropped = crop_to_nonzero(image)[0]
    return Look(
        (),
        cropped.shape[1:],
        spacing,
        cropped.size / image.size,
        content_of(image),
        values,
        mask,
        orientation(direction, "nibabel_stuff" in geometry),
        tuple(notes),
        thumbnail(image),
    )


def content_of(image: np.ndarray) -> str:
    """Hash of shape and voxels; the same image saved in another way has the same."""
    whole = hashlib.sha256(repr(image.shape).encode())
    for channel in image:
        whole.update(np.ascontiguousarray(channel + 0.0, dtype=np.float32).data)  # -0.0 is 0.0
    return whole.hexdigest()[:32]


def label_notes(looks: Mapping[str, Look], classes: Sequence[str]) -> list[str]:
    """What the masks of the labelled cases lack, which may be right but ought to be known.

    Args:
        looks: of the labelled cases.
        classes: names by label value, background first.
    """
    notes = []
    same = same_images({name: look.mask for name, look in looks.items() if any(look.values)})
    if empty := [name for name, look in looks.items() if not any(0 < value < len(classes) for value in look.values)]:
        notes.append(f"{len(empty)} case(s) have a mask without foreground, as a healthy case may: {few(empty)}")
    held = {value for look in looks.values() for value in look.values}
    if full := [name for name, look in looks.items() if 0 not in look.values]:
        notes.append(f"{len(full)} case(s) have a mask without background: {few(full)}")
    notes += [f"{len(names)} case(s) have the very same mask; are all of them right? {few(names)}" for names in same]
    if absent := [name for value, name in enumerate(classes) if value and value not in held]:
        notes.append(f"no mask holds the class(es) {', '.join(absent)}; their scores are meaningless")
    return notes


def case_notes(looks: Mapping[str, Look]) -> list[str]:
    """What single cases show that ought to be known, and whether their axes run in different ways."""
    by_note: dict[str, list[str]] = {}
    ways: dict[str, list[str]] = {}
    for name, look in looks.items():
        for note in look.notes:
            by_note.setdefault(note, []).append(name)
        ways.setdefault(look.orientation, []).append(name)
    notes = [f"{len(names)} case(s) {note}: {few(names)}" for note, names in by_note.items()]
    ways.pop("", None)
    if len(ways) > 1:
        shown = "; ".join(f"{way} in {len(names)} case(s), {few(names, 2)}" for way, names in sorted(ways.items()))
        notes.append(
            f"the images' axes run in {len(ways)} ways ({shown}), and are used as they are stored; "
            '"overwrite_image_reader_writer": "SimpleITKIOWithReorient" in dataset.json turns them all the same way'
        )
    return notes


def _notes(case: Case, reader: Any, direction: Sequence[float], spacing: Sequence[float]) -> Iterator[str]:
    sides = [side for side in spacing if side != _NO_SIDE]
    if min(sides) < _SIDES[0] or max(sides) > _SIDES[1]:
        yield "have voxels smaller than 0.001 mm or larger than 100 mm; is the millimetre the unit of their headers?"
    if len(direction) and is_sheared(direction):
        yield "have axes that are not at right angles, and are taken as if they were"
    if type(reader).__name__ == "Tiff3DIO" and not spacing_file(case.images[0], images=True).is_file():
        yield "have no file with their spacing (CASE.json beside the TIFF), so voxels count as 1 mm"


def _apart(case: Case, reader: Any, placed: Mapping[str, Numbers]) -> bool:
    """Whether a channel lies elsewhere than the first, by more than rounding, which is all that nnU-Net may mean."""
    with quiet():
        others = [placement(reader.read_images([str(path)])[1]) for path in case.images[1:]]
    return any(list(differences(placed, other, ("", ""))) for other in others)


def _image_problems(image: np.ndarray, spacing: Sequence[float], channels: int, files: int) -> Iterator[str]:
    finite = np.isfinite(image)
    if not finite.all():
        yield f"{int((~finite).sum())} voxels of the image are NaN or infinite; replace them"
    elif not image.any():
        yield "the image is zero everywhere; replace the file"
    elif (image == image.flat[0]).all():
        yield f"the image has the value {image.flat[0]:g} everywhere; replace the file"
    if len(image) != channels:
        held = "" if len(image) == files else f" with {len(image)} channels"
        wanted = f"_0000 to _{channels - 1:04d}" if channels > 1 else "_0000"
        yield f"{files} channel file(s){held}; dataset.json names {channels} channel(s), expected {wanted}"
    if not all(np.isfinite(spacing)) or min(spacing) <= 0:
        yield f"its spacing is {spacing}; correct the header"


def _look_at_label(
    path: Path,
    shape: tuple[int, ...],
    placed: Mapping[str, Numbers],
    labels: Sequence[int],
    reader: Any,
    ignore_origin: bool,
) -> tuple[list[str], tuple[int, ...], str, list[str]]:
    """What is wrong with a label, the values that it holds, its voxels' hash, and what ought to be known of it."""
    try:
        with quiet():
            label, label_geometry = reader.read_seg(str(path))
    except Exception as error:
        return [f"cannot read its label {_short(path)} ({_first_line(error)}); replace the file"], (), "", []
    problems, notes = [], []
    if label.shape[1:] != shape:
        problems.append(f"the label has shape {label.shape[1:]}, the image {shape}; resample one of them")
    elif len(label) != 1:
        problems.append(f"the label has {len(label)} channels; it needs one")
    elif wrong := list(differences(placed, placement(label_geometry), ("the image's", "the label's"))):
        sized = any(" spacing " in one for one in wrong)
        if ignore_origin and not sized:
            notes.append("have a label of another origin or direction, which dataset.json says to ignore")
        else:
            way = "" if sized else ', or write "ignore_origin": true into dataset.json to go by the voxels alone'
            problems.append(f"image and label differ: {'; '.join(wrong)}; correct the header that is wrong{way}")
    values = np.unique(label).tolist()
    unknown = sorted(set(values) - set(labels))
    if unknown:
        shown = few([np.format_float_positional(np.float32(value), trim="-") for value in unknown], 6)
        way = "" if all(float(value).is_integer() for value in unknown) else "; labels are integers, round the values"
        problems.append(
            f"label values {shown} are not in dataset.json, which names {list(labels)}; correct one of the two{way}"
        )
    return problems, tuple(int(value) for value in values if value in labels), content_of(label), notes


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
