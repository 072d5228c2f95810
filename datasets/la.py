"""LA: the 2018 Left Atrial Segmentation Challenge, late gadolinium-enhanced MR."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.hdf5 import NO_SPACING, write_cases
from atso_bench.datasets._volumes.incoming import write_description
from atso_bench.datasets._volumes.published import PublishedSplit

_CROPPED = (
    "UA-MT's script cropped every case, those without labels and the test set too, around its true label plus 10 to 20 "
    "voxels: the field of view knows the labels, and scores are not those of whole scans"
)


class La(NnunetDataset):
    """The challenge's 100 training volumes with the left atrial cavity, which the papers split into 80 and 20.

    ``--from`` takes the original folder of NRRD files (``Training Set/PATIENT/lgemri.nrrd`` and ``laendo.nrrd``), or
    UA-MT's cropped HDF5 files (``PATIENT/mri_norm2.h5``), which have lost their geometry. Case ids are the patients'
    folder names, which the published lists use too.
    """

    name = "la"
    folder = "Dataset218_LeftAtrium"
    summary = "100 late gadolinium-enhanced MR volumes, left atrium (2018 challenge)"
    source = "https://www.cardiacatlas.org/atriaseg2018-challenge (Training Set, NRRD)"
    licence = "for research, after registration with the challenge"
    citation = (
        "Z. Xiong et al., A Global Benchmark of Algorithms for Segmenting the Left Atrium from Late "
        "Gadolinium-Enhanced Cardiac Magnetic Resonance Imaging, Medical Image Analysis 67 (2021)"
    )

    published_splits: ClassVar[Mapping[str, PublishedSplit]] = {
        f"ua-mt-{labelled}": PublishedSplit("la-ua-mt", labelled) for labelled in (4, 8, 16)
    }

    def convert(self, source: Path, target: Path) -> None:
        import SimpleITK as sitk

        root = source / "Training Set" if (source / "Training Set").is_dir() else source
        folders = sorted(path.parent for path in root.glob("*/lgemri.nrrd") if (path.parent / "laendo.nrrd").is_file())
        if not folders:
            self._from_hdf5(source, target)
            return
        for name in ("imagesTr", "labelsTr"):
            (target / name).mkdir()
        for folder in folders:
            image = sitk.ReadImage(str(folder / "lgemri.nrrd"))
            label = sitk.Cast(sitk.ReadImage(str(folder / "laendo.nrrd")) > 0, sitk.sitkUInt8)  # 0 and 255
            sitk.WriteImage(image, str(target / "imagesTr" / f"{folder.name}_0000.nii.gz"), useCompression=True)
            sitk.WriteImage(label, str(target / "labelsTr" / f"{folder.name}.nii.gz"), useCompression=True)
        write_description(target, "LeftAtrium", {"0": "LGE MRI"}, {"background": 0, "left atrium": 1}, len(folders))

    def _from_hdf5(self, source: Path, target: Path) -> None:
        cases = {path.parent.name: [path] for path in sorted(source.rglob("mri_norm2.h5"))}
        if not cases:
            raise ValueError(
                f"{source} holds neither PATIENT/lgemri.nrrd with laendo.nrrd nor UA-MT's PATIENT/mri_norm2.h5"
            )
        write_cases(cases, target, planes_first=False)
        labels, caveats = {"background": 0, "left atrium": 1}, (NO_SPACING, _CROPPED)
        write_description(target, "LeftAtrium", {"0": "LGE MRI"}, labels, len(cases), caveats)
