"""NIH Pancreas-CT, from The Cancer Imaging Archive."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from atso_bench.datasets._shared.archive import unpack
from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.hdf5 import NO_SPACING, write_cases
from atso_bench.datasets._volumes.incoming import write_description

_CROPPED = (
    "CoraNet's script resampled every case, clipped it to -125 to 275 HU, and cropped it around its true label plus 25 "
    "voxels, those without labels and the test set too: the field of view knows the labels"
)


class PancreasCt(NnunetDataset):
    """82 portal-venous CT volumes of healthy pancreas, 80 in TCIA's present release (25 and 70 were withdrawn).

    ``--from`` takes a folder that holds TCIA's DICOM folders (``PANCREAS_0001/...``) and the labels, zipped
    (``TCIA_pancreas_labels-02-05-2017.zip``) or unpacked (``label0001.nii.gz`` ...); or CoraNet's HDF5 files
    (``image0001_norm.h5`` ...).
    """

    name = "pancreas-ct"
    folder = "Dataset282_PancreasCT"
    summary = "80 CT volumes, pancreas (NIH, TCIA)"
    source = "https://doi.org/10.7937/K9/TCIA.2016.tNB1kqBU (DICOM images and the zip of labels)"
    licence = "CC-BY 3.0"
    citation = (
        "H. Roth et al., DeepOrgan: Multi-level Deep Convolutional Networks for Automated Pancreas Segmentation, "
        "MICCAI 2015"
    )

    def convert(self, source: Path, target: Path) -> None:
        if files := sorted(source.rglob("image????_norm.h5")):
            self._from_hdf5(files, target)
            return
        series = {match[1]: path for path in sorted(source.rglob("*")) if (match := _patient(path))}
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            for place, archive in enumerate(sorted(source.rglob("*labels*.zip"))):
                unpack(archive, Path(scratch, str(place)))
            found = sorted((*source.rglob("label*.nii.gz"), *Path(scratch).rglob("label*.nii.gz")))
            labels = {path.name[5:9]: path for path in found}
            both = sorted(set(series) & set(labels))
            if not both:
                raise ValueError(
                    f"{source} holds no case with both: {len(series)} DICOM folders PANCREAS_XXXX, {len(labels)} "
                    "labels labelXXXX.nii.gz"
                )
            for name in ("imagesTr", "labelsTr"):
                (target / name).mkdir()
            for number in both:
                _convert_case(series[number], labels[number], target, f"pancreas_{number}")
        write_description(target, "PancreasCT", {"0": "CT"}, {"background": 0, "pancreas": 1}, len(both))

    @staticmethod
    def _from_hdf5(files: Sequence[Path], target: Path) -> None:
        write_cases({f"pancreas_{file.stem[5:9]}": [file] for file in files}, target, planes_first=False)
        channels, labels = {"0": "CT, clipped and rescaled"}, {"background": 0, "pancreas": 1}  # it is in no unit
        write_description(target, "PancreasCT", channels, labels, len(files), (NO_SPACING, _CROPPED))


def _patient(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"PANCREAS_(\d{4})", path.name) if path.is_dir() else None


def _convert_case(folder: Path, label_file: Path, target: Path, name: str) -> None:
    """Bring image and label into one orientation; the label's header gives directions, its origin is not reliable.

    Raises:
        ValueError: if there is no series, or image and label differ in size.
    """
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    slices: tuple[str, ...] = ()
    for place in sorted({path.parent for path in folder.rglob("*.dcm")}):
        for series in reader.GetGDCMSeriesIDs(str(place)):
            slices = max(slices, reader.GetGDCMSeriesFileNames(str(place), series), key=len)
    if not slices:
        raise ValueError(f"{folder} holds no DICOM series")
    reader.SetFileNames(slices)
    image = sitk.DICOMOrient(reader.Execute(), "LPS")
    label = sitk.DICOMOrient(sitk.ReadImage(str(label_file)), "LPS")
    if image.GetSize() != label.GetSize():
        raise ValueError(f"{label_file} has size {label.GetSize()}, the image in {folder} {image.GetSize()}")
    label = sitk.Cast(label > 0, sitk.sitkUInt8)
    label.CopyInformation(image)
    sitk.WriteImage(image, str(target / "imagesTr" / f"{name}_0000.nii.gz"), useCompression=True)
    sitk.WriteImage(label, str(target / "labelsTr" / f"{name}.nii.gz"), useCompression=True)
