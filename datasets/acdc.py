"""ACDC: cine MR of the heart at end-diastole and end-systole (MICCAI 2017 challenge)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.hdf5 import NO_SPACING, write_cases
from atso_bench.datasets._volumes.incoming import write_description
from atso_bench.datasets._volumes.published import PublishedSplit


class Acdc(NnunetDataset):
    """100 training patients with two labelled frames each, and 50 test patients where the archive holds them.

    Both frames are cases, and a patient is a group. ``--from`` takes the folder with ``training/`` and perhaps
    ``testing/``, or the folder of the patients itself; or SSL4MIS's HDF5 files, ``patientXXX_frameYY.h5`` and
    ``slices/patientXXX_frameYY_slice_Z.h5``, of which volumes are taken before slices.
    """

    name = "acdc"
    folder = "Dataset027_ACDC"
    summary = "cine MR of 100 patients, right ventricle, myocardium and left ventricle (ACDC 2017)"
    source = "https://www.creatis.insa-lyon.fr/Challenge/acdc (folders training and testing)"
    licence = "for research, after registration with the challenge"
    citation = (
        "O. Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation and "
        "Diagnosis: Is the Problem Solved?, IEEE Transactions on Medical Imaging 37 (2018)"
    )

    published_splits: ClassVar[Mapping[str, PublishedSplit]] = {
        f"ssl4mis-{patients}": PublishedSplit("acdc-ssl4mis", 2 * patients, validation=True) for patients in (1, 3, 7)
    }

    def group(self, case_id: str, by: str = "") -> str:
        return case_id.split("_")[0]

    def convert(self, source: Path, target: Path) -> None:
        training = source / "training" if (source / "training").is_dir() else source
        count = self._copy(training, target / "imagesTr", target / "labelsTr")
        labels = {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
        if not count:
            cases = _of_hdf5(source)
            write_cases(cases, target, planes_first=True)
            write_description(target, "ACDC", {"0": "cine MRI"}, labels, len(cases), [NO_SPACING])
            return
        if (source / "testing").is_dir():
            self._copy(source / "testing", target / "imagesTs", target / "labelsTs")
        write_description(target, "ACDC", {"0": "cine MRI"}, labels, count)

    @staticmethod
    def _copy(source: Path, images: Path, labels: Path) -> int:
        """Copy every frame that has a label; returns how many."""
        pairs = [(path.with_name(path.name.replace("_gt", "")), path) for path in sorted(source.glob("*/*_gt.nii.gz"))]
        for image, label in pairs:
            images.mkdir(exist_ok=True)
            labels.mkdir(exist_ok=True)
            shutil.copy(image, images / f"{image.name.removesuffix('.nii.gz')}_0000.nii.gz")
            shutil.copy(label, labels / image.name)
        return len(pairs)


def _of_hdf5(source: Path) -> dict[str, list[Path]]:
    """The files of each case: its volume, or else its slices in their order.

    Raises:
        ValueError: if there is none.
    """
    volumes: dict[str, list[Path]] = {}
    slices: dict[str, dict[int, Path]] = {}
    for path in sorted(source.rglob("*.h5")):
        if found := re.fullmatch(r"(patient\d{3}_frame\d{2})(?:_slice_(\d+))?", path.stem):
            case, number = found.groups()
            volumes.update({} if number else {case: [path]})
            slices.setdefault(case, {}).update({int(number): path} if number else {})
    if not slices:
        raise ValueError(
            f"{source} holds neither patientXXX/patientXXX_frameYY.nii.gz with its _gt.nii.gz nor SSL4MIS's "
            "patientXXX_frameYY.h5 or patientXXX_frameYY_slice_Z.h5"
        )
    return {case: volumes.get(case) or [files[number] for number in sorted(files)] for case, files in slices.items()}
