"""Reads segmentations from any source as nnU-Net's readers do, completely or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.reading.image_files import file_problem
from atso_bench.benchmark.reading.user_files import legible, read_object
from atso_bench.benchmark.reading.voxels import blocks

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl")
DETACHED = (".mhd",)
PICTURES = (".png", ".bmp")
TIFFS = (".tif", ".tiff")
ENDINGS = (*VOLUMES, *PICTURES, *TIFFS, *DETACHED)
"""Of the files that are read, in small letters or capitals: those that nnU-Net has a reader for. A header with its
voxels in another file, ``DETACHED``, is scored too, but nothing learns from it: a change there would not be seen."""
_ONE_CHANNEL = {"1", "L", "P", "I", "I;16", "I;16B", "F"}  # Pillow's modes; P: the indices, not their colours


class _RefusedError(Exception):
    """A file that was read, and is no segmentation; the message names it."""


@dataclass(frozen=True)
class Mask:
    """A segmentation.

    Attributes:
        array: ``(*spatial)``, 2 or 3 axes, with the numbers of the file.
        spacing: millimetres by axis of ``array``; of pictures 1, as their pixels have no size.
        origin: in mm, and
        direction: cosines, both as ITK gives them; empty where the format has none.
        note: what had to be assumed.
    """

    path: Path
    array: NDArray
    spacing: tuple[float, ...]
    origin: tuple[float, ...] = ()
    direction: tuple[float, ...] = ()
    note: str = ""

    def labels(self) -> Iterator[tuple[slice, NDArray[np.int64]]]:
        """The labels ``(*spatial)``, some planes at a time, and where they are.

        Raises:
            ValueError: for a value that is no whole number.
        """
        for block in blocks(self.array.shape):
            stored = self.array[block]
            with np.errstate(invalid="ignore"):  # NaN, of which the next lines speak
                labels = stored.astype(np.int64)
            if stored.dtype.kind == "f" and (odd := stored[labels != stored]).size:
                raise ValueError(
                    f"{self.path} holds {', '.join(map(str, np.unique(odd)[:3]))}; a segmentation holds class indices, "
                    "which are integers: round the values, if that is what they mean"
                )
            yield block, labels


def ending_of(path: Path) -> str:
    """The ending in small letters; empty for what is no segmentation, and for hidden files."""
    name = path.name.lower()
    return "" if name.startswith(".") else next((ending for ending in ENDINGS if name.endswith(ending)), "")


def read_mask(path: Path) -> Mask:
    """Read a segmentation.

    Raises:
        ValueError: if the file is damaged or unreadable, or holds colours, several frames, or what is no number.
    """
    if problem := file_problem(path, beside=ending_of(path) in DETACHED):
        raise ValueError(f"{legible(path)} is not readable: {problem}")
    readers: dict[str, Callable[[Path], Mask]] = {
        **dict.fromkeys(PICTURES, _picture),
        **dict.fromkeys(TIFFS, _tiff),
    }
    try:
        mask = readers.get(ending_of(path), _volume)(path)
    except _RefusedError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # each reader has its own
        said = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ValueError(f"{path} is not readable: {said[-1]}; write or copy it again") from error
    if mask.array.dtype.kind not in "biuf":
        raise ValueError(f"{path} holds {mask.array.dtype}; a segmentation holds class indices")
    return _of_few_axes(mask)


def _of_few_axes(mask: Mask) -> Mask:
    """Without the frames of a file that has one."""
    array = mask.array
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim in (2, 3):
        kept = range(array.ndim)
        several = math.isqrt(len(mask.direction))
        direction = tuple(mask.direction[row * several + column] for row in kept for column in kept if several)
        spacing = mask.spacing[len(mask.spacing) - array.ndim :]
        return Mask(mask.path, array, spacing, mask.origin[: array.ndim], direction, mask.note)
    size = " x ".join(map(str, array.shape[::-1]))
    raise ValueError(
        f"{mask.path} has {array.ndim} axes ({size}); a segmentation has 2 or 3: write each frame to its own file"
    )


def _volume(path: Path) -> Mask:
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError:
        if not path.name.lower().endswith((".nii", ".nii.gz")):
            raise
        return _by_nibabel(path)
    if (values := image.GetNumberOfComponentsPerPixel()) != 1:
        raise _RefusedError(_colours(path, values))
    spacing = image.GetSpacing()[::-1]  # SimpleITK's axes are the array's backwards
    return Mask(path, SimpleITK.GetArrayFromImage(image), spacing, image.GetOrigin(), image.GetDirection())


def _by_nibabel(path: Path) -> Mask:
    """What ITK does not read and nnU-Net's second reader does: NIfTI-2, and axes that are not at right angles."""
    import nibabel

    stored: Any = nibabel.load(path)
    array = np.asanyarray(stored.dataobj).T
    zooms = tuple(float(zoom) for zoom in stored.header.get_zooms()[::-1])
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ stored.affine  # to ITK's directions
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    direction = (affine[:3, :3] / np.where(lengths > 0, lengths, 1)).ravel().tolist()
    return Mask(path, array, zooms, tuple(affine[:3, 3].tolist()), tuple(direction))


def _picture(path: Path) -> Mask:
    """The same pixels as nnU-Net's reader has, which has no indices of colours and no alpha."""
    from PIL import Image

    with Image.open(path) as opened:
        if opened.mode not in (*_ONE_CHANNEL, "LA"):
            raise _RefusedError(_colours(path, len(opened.getbands())))
        array = np.asarray(opened)
    return Mask(path, array[..., 0] if array.ndim > 2 else array, (1.0, 1.0))


def _tiff(path: Path) -> Mask:
    import tifffile

    with tifffile.TiffFile(path) as opened:
        if (values := opened.pages.first.samplesperpixel) > 1:
            raise _RefusedError(_colours(path, values))
        array = opened.asarray()
    if array.ndim < 3:
        return Mask(path, array, (1.0, 1.0))
    beside = spacing_file(path)
    if not beside.exists():
        return Mask(path, array, (1.0,) * array.ndim, note=f"no {beside.name}, so its voxels count as 1 mm")
    return Mask(path, array, _read_spacing(beside))


def _read_spacing(path: Path) -> tuple[float, ...]:
    try:
        spacing: Any = read_object(path).get("spacing")
    except ValueError as error:
        raise _RefusedError(str(error)) from error
    if not _is_spacing(spacing):
        raise _RefusedError(f'{path} must look like {{"spacing": [3.0, 1.0, 1.0]}}, got {spacing!r}')
    return tuple(map(float, spacing))


def spacing_file(path: Path, images: bool = False) -> Path:
    """Where nnU-Net looks for the spacing of a TIFF volume; an image's is named without its channel, ``_0000``."""
    stem = path.name[: -len(path.suffix)]
    return path.with_name(f"{stem[:-5] if images else stem}.json")


def _is_spacing(spacing: Any) -> bool:
    def is_length(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf

    return isinstance(spacing, Sequence) and len(spacing) == 3 and all(map(is_length, spacing))


def _colours(path: Path, values: int) -> str:
    return f"{path} has {values} values per voxel; a segmentation has one: write class indices, not colours"
