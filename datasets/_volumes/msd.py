"""The Medical Segmentation Decathlon's folders and tars, converted by nnU-Net's own converter."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from atso_bench.benchmark.reading.user_files import read_object
from atso_bench.datasets._shared.archive import unpack
from atso_bench.datasets._shared.storage import PREPROCESSED, RAW, RESULTS, quiet, variables
from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.incoming import write_description

CITATION = "M. Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13, 4128 (2022)"


class MsdDataset(NnunetDataset):
    """Base of the decathlon's tasks; ``--from`` takes the folder ``TaskNN_Name`` or the tar."""

    licence = "CC-BY-SA 4.0"
    citation = CITATION
    md5: ClassVar[str] = ""
    """Of the tar, as MONAI publishes it (monai/apps/datasets.py)."""

    def convert(self, source: Path, target: Path) -> None:
        convert_msd(source, target, self.md5)


def convert_msd(source: Path, target: Path, md5: str = "") -> None:
    """Convert a decathlon folder or archive into the empty folder ``target``.

    Raises:
        ValueError: if the archive's checksum differs from the published one, if it is not one to unpack, or if this is
            no decathlon task.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        if source.is_file():
            if md5 and (found := _md5(source)) != md5:
                raise ValueError(
                    f"{source} has MD5 {found}, published is {md5}: the download is damaged or of another release; "
                    "fetch it again, or unpack it yourself and give the folder"
                )
            source = unpack(source, Path(scratch, "unpacked"))
        _convert_folder(source, target, Path(scratch))


def find_task(folder: Path) -> Path:
    """The folder with ``dataset.json``, ``imagesTr`` and ``labelsTr``: this one or one in it."""
    for candidate in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if all((candidate / name).exists() for name in ("dataset.json", "imagesTr", "labelsTr")):
            return candidate
    raise ValueError(
        f"{folder} is no task of the Medical Segmentation Decathlon: it needs dataset.json, imagesTr and labelsTr"
    )


def _convert_folder(source: Path, target: Path, scratch: Path) -> None:
    """nnU-Net's converter wants a folder called ``TaskNN_Name`` with imagesTs and 'test'; give it one made of links."""
    from nnunetv2.dataset_conversion.convert_MSD_dataset import convert_msd_dataset

    source = find_task(source)
    description = _description(source / "dataset.json")
    if _is_version_1(source):
        _copy_version_1(source, target, description)
        return
    staged = scratch / "Task999_Staged"
    staged.mkdir(parents=True)
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        if (source / name).is_dir():
            (staged / name).symlink_to((source / name).absolute())
        else:
            (staged / name).mkdir()
    whole = {"training": [], "test": [], **description, "numTraining": len(list((staged / "imagesTr").glob("[!._]*")))}
    (staged / "dataset.json").write_text(json.dumps(whole), encoding="utf-8")
    large = sum(path.stat().st_size for path in (staged / "imagesTr").iterdir()) > 256 << 20
    raw = scratch / "raw"
    with variables({RAW: str(raw), PREPROCESSED: None, RESULTS: None}), quiet():
        convert_msd_dataset(str(staged), num_processes=4 if large else 1)
    for path in (raw / "Dataset999_Staged").iterdir():
        path.rename(target / path.name)


def _is_version_1(source: Path) -> bool:
    """Whether this is a raw dataset of nnU-Net 1: the decathlon's ``dataset.json``, and images named with a channel."""
    images, labels = ({path.name for path in (source / name).glob("[!.]*.nii.gz")} for name in ("imagesTr", "labelsTr"))
    named = {re.sub(r"_\d{4}(?=\.nii\.gz$)", "", name) for name in images}
    return bool(images) and named <= labels and not images & labels


def _copy_version_1(source: Path, target: Path, description: Mapping[str, Any]) -> None:
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns(".*"))
    labels = {name: int(value) for value, name in description["labels"].items()}
    count = len(list((target / "labelsTr").glob("*.nii.gz")))
    write_description(target, source.name, description["modality"], labels, count)


def _description(path: Path) -> dict[str, Any]:
    """The decathlon's ``dataset.json``.

    Raises:
        ValueError: if it is none; nnU-Net's own layout has labels the other way round.
    """
    content = read_object(path)
    labels, modality = (
        {} if not isinstance(content.get(key), dict) else content[key] for key in ("labels", "modality")
    )
    names = [*labels.values(), *modality.values()]
    if not labels or not modality or not all(number.isdecimal() for number in labels) or not all(map(_is_name, names)):
        form = '{"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "organ"}}'
        raise ValueError(f"{path} is not as the decathlon writes it; it must look like {form}")
    if len(set(labels.values())) < len(labels):
        raise ValueError(f"{path} gives two labels one name: {labels}")
    return content


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
