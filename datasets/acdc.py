"""ACDC: cine MR of the heart at end-diastole and end-systole (MICCAI 2017 challenge)."""

from __future__ import annotations

import shutil
from pathlib import Path

from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.incoming import write_description


class Acdc(NnunetDataset):
    """100 training patients with two labelled frames each, and 50 test patients where the archive holds them.

    Both frames are cases, and a patient is a group. ``--from`` takes the folder with ``training/`` and perhaps
    ``testing/``, or the folder of the patients itself.
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

    def group(self, case_id: str, by: str = "") -> str:
        return case_id.split("_")[0]

    def convert(self, source: Path, target: Path) -> None:
        training = source / "training" if (source / "training").is_dir() else source
        count = self._copy(training, target / "imagesTr", target / "labelsTr")
        if not count:
            raise ValueError(f"{source} holds no patientXXX/patientXXX_frameYY.nii.gz with its _gt.nii.gz")
        if (source / "testing").is_dir():
            self._copy(source / "testing", target / "imagesTs", target / "labelsTs")
        labels = {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
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
