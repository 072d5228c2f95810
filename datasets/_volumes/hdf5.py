"""The HDF5 files that papers pass around: an image and its label as arrays, and no geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NO_SPACING = (
    "imported from HDF5 files, which hold no voxel size: every distance (HD95, ASSD, NSD's tolerance) is in voxels, "
    "not in mm, and every volume in thousands of voxels, not in ml"
)


def write_cases(
    cases: Mapping[str, Sequence[Path]], target: Path, *, planes_first: bool, ending: str = ".nii.gz"
) -> None:
    """Write ``imagesTr`` and ``labelsTr`` with voxels of size 1.

    Args:
        cases: the file of each case, or those of its slices in their order.
        target: the raw dataset's folder.
        planes_first: whether arrays are ``(planes, rows, columns)``; otherwise ``(x, y, z)``.
        ending: of the files to write.

    Raises:
        ValueError: naming a file that cannot be read, or one whose image and label differ in shape.
    """
    import SimpleITK as sitk

    for name in ("imagesTr", "labelsTr"):
        (target / name).mkdir()
    for case, files in cases.items():
        image, label = _stacked(files)
        if not planes_first:
            image, label = image.transpose(2, 1, 0), label.transpose(2, 1, 0)
        places = (target / "imagesTr" / f"{case}_0000{ending}", target / "labelsTr" / f"{case}{ending}")
        for place, array in zip(places, (image.astype(np.float32), label.astype(np.uint8)), strict=True):
            sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(array)), str(place), useCompression=True)


def _stacked(files: Sequence[Path]) -> tuple[NDArray, NDArray]:
    """Image and label of a case with three axes; slices become planes."""
    read = [_read(file) for file in files]
    if len(read) == 1 and read[0][0].ndim == 3:
        return read[0]
    shapes = {image.shape for image, _ in read}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"{files[0]}: slices of one volume must be flat and alike, got shapes {sorted(shapes)}")
    return np.stack([image for image, _ in read]), np.stack([label for _, label in read])


def _read(file: Path) -> tuple[NDArray, NDArray]:
    try:
        h5py = import_module("h5py")
    except ImportError as error:
        raise ValueError(f"{file} is an HDF5 file; install h5py: pip install 'atso-bench[h5]'") from error
    try:
        with h5py.File(file, "r") as opened:
            image, label = np.asarray(opened["image"]), np.asarray(opened["label"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no HDF5 file with an image and a label: {error}") from error
    if image.shape != label.shape:
        raise ValueError(f"{file}: the image has shape {image.shape}, the label {label.shape}")
    return image, label
