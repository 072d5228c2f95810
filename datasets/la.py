"""LA: the 2018 Left Atrial Segmentation Challenge, late gadolinium-enhanced MR."""

from __future__ import annotations

from pathlib import Path

from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.incoming import write_description


class La(NnunetDataset):
    """The challenge's 100 training volumes with the left atrial cavity, which the papers split into 80 and 20.

    ``--from`` takes the original folder of NRRD files (``Training Set/PATIENT/lgemri.nrrd`` and ``laendo.nrrd``). The
    cropped HDF5 files that come with UA-MT have lost their geometry and are not read. Case ids are the patients' folder
    names, which the published lists use too.
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

    def convert(self, source: Path, target: Path) -> None:
        import SimpleITK as sitk

        root = source / "Training Set" if (source / "Training Set").is_dir() else source
        folders = sorted(path.parent for path in root.glob("*/lgemri.nrrd") if (path.parent / "laendo.nrrd").is_file())
        if not folders:
            hint = "; UA-MT's .h5 files are not read, get the original NRRD files" if list(root.rglob("*.h5")) else ""
            raise ValueError(f"{source} holds no PATIENT/lgemri.nrrd with laendo.nrrd{hint}")
        for name in ("imagesTr", "labelsTr"):
            (target / name).mkdir()
        for folder in folders:
            image = sitk.ReadImage(str(folder / "lgemri.nrrd"))
            label = sitk.Cast(sitk.ReadImage(str(folder / "laendo.nrrd")) > 0, sitk.sitkUInt8)  # 0 and 255
            sitk.WriteImage(image, str(target / "imagesTr" / f"{folder.name}_0000.nii.gz"), useCompression=True)
            sitk.WriteImage(label, str(target / "labelsTr" / f"{folder.name}.nii.gz"), useCompression=True)
        write_description(target, "LeftAtrium", {"0": "LGE MRI"}, {"background": 0, "left atrium": 1}, len(folders))
