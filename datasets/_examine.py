"""One reading of a case: what is wrong with it, what it shows, and the numbers that planning needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.datasets._image_files import file_problem
from atso_bench.datasets._near import Small, thumbnail
from atso_bench.datasets._raw import Case
from atso_bench.datasets._storage import quiet


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
        small: the image's thumbnail, by which near copies are found; None for an image without any contrast.
    """

    problems: tuple[str, ...]
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    kept: float = 1.0
    content: str = ""
    values: tuple[int, ...] = ()
    small: Small | None = field(default=None, compare=False, repr=False)


def examine(case: Case, channels: int, labels: Sequence[int], reader: Any, reference: str = "imagesUn/") -> Look:
    """Read a case once: what is wrong with it, and the numbers that planning needs. The label adds problems only."""
    missing = [path for path in case.files if not path.is_file()]
    if case.label in missing:
        return Look((f"no label at {case.label}; add it, or move the image to {reference} if it has none",))
    if missing:
        return Look((f"missing: {', '.join(map(str, missing))}",))
    if len(case.images) != channels:
        wanted = f"_0000 to _{channels - 1:04d}" if channels > 1 else "_0000"
        return Look(
            (f"{len(case.images)} channel file(s); dataset.json names {channels} channel(s), expected {wanted}",)
        )
    if broken := [f"{_short(path)}: {problem}" for path in case.files if (problem := file_problem(path))]:
        return Look(tuple(broken))
    try:
        with quiet():
            image, geometry = reader.read_images([str(path) for path in case.images])
        spacing = tuple(float(value) for value in geometry["spacing"])
    except Exception as error:
        names = ", ".join(map(_short, case.images))
        why = f"{_first_line(error)}; replace the file, its channels must share one geometry"
        return Look((f"cannot read its image {names} ({why})",))
    problems = [*_image_problems(image, spacing, channels)]
    values: tuple[int, ...] = ()
    if case.label is not None:
        wrong, values = _look_at_label(case.label, image.shape[1:], geometry, labels, reader)
        problems += wrong
    if problems:
        return Look(tuple(problems))
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    cropped = crop_to_nonzero(image)[0]
    return Look((), cropped.shape[1:], spacing, cropped.size / image.size, content_of(image), values, thumbnail(image))


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
    if empty := [name for name, look in looks.items() if not any(0 < value < len(classes) for value in look.values)]:
        shown = ", ".join(empty[:5]) + (" ..." if len(empty) > 5 else "")
        notes.append(f"{len(empty)} case(s) have a mask without foreground, as a healthy case may: {shown}")
    held = {value for look in looks.values() for value in look.values}
    if absent := [name for value, name in enumerate(classes) if value and value not in held]:
        notes.append(f"no mask holds the class(es) {', '.join(absent)}; their scores mean nothing")
    return notes


def _image_problems(image: np.ndarray, spacing: Sequence[float], channels: int) -> Iterator[str]:
    finite = np.isfinite(image)
    if not finite.all():
        yield f"{int((~finite).sum())} voxels of the image are NaN or infinite; replace them"
    elif not image.any():
        yield "the image is zero everywhere; replace the file"
    elif (image == image.flat[0]).all():
        yield f"the image has the value {image.flat[0]:g} everywhere; replace the file"
    if len(image) != channels:
        yield f"{len(image)} channels, but dataset.json names {channels}"
    if not all(np.isfinite(spacing)) or min(spacing) <= 0:
        yield f"its spacing is {spacing}; correct the header"


def _look_at_label(
    path: Path, shape: tuple[int, ...], geometry: Any, labels: Sequence[int], reader: Any
) -> tuple[list[str], tuple[int, ...]]:
    """What is wrong with a label, and the values that it holds."""
    try:
        with quiet():
            label, label_geometry = reader.read_seg(str(path))
    except Exception as error:
        return [f"cannot read its label {_short(path)} ({_first_line(error)}); replace the file"], ()
    problems = []
    if label.shape[1:] != shape:
        problems.append(f"the label has shape {label.shape[1:]}, the image {shape}; resample one of them")
    elif len(label) != 1:
        problems.append(f"the label has {len(label)} channels; it needs one")
    elif names := _geometry_differences(geometry, label_geometry):
        problems.append(f"image and label differ in {', '.join(names)}; correct the header that is wrong")
    values = np.unique(label).tolist()
    unknown = sorted(set(values) - set(labels))
    if unknown:
        shown = ", ".join(f"{value:g}" for value in unknown[:6]) + (" ..." if len(unknown) > 6 else "")
        problems.append(
            f"label values {shown} are not in dataset.json, which names {list(labels)}; correct one of the two"
        )
    return problems, tuple(int(value) for value in values if value in labels)


def _geometry_differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of the entries (spacing, origin, direction, affine) in which two readers' properties differ."""
    if isinstance(one, dict):
        parts = (_geometry_differences(one[key], other.get(key), key) for key in one)
        return list(dict.fromkeys(difference for part in parts for difference in part))
    if one is None or isinstance(one, str):
        return [] if one == other else [name]
    same = np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=1e-3, atol=1e-3)
    return [] if same else [name]


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
