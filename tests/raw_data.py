"""A small dataset in nnU-Net's raw layout, to be spoilt in all the ways that users spoil theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

SHAPE = (6, 24, 24)


def voxels(seed: int) -> np.ndarray:
    """An image, float32 ``SHAPE``; each seed has its own."""
    image = np.random.default_rng(seed).normal(100, 10, SHAPE).astype(np.float32)
    image[2:4, 6:16, 6:16] += 50
    return image


def mask(seed: int = 0) -> np.ndarray:
    """The organ; each seed but 0 has a voxel of its own."""
    label = np.zeros(SHAPE, np.uint8)
    label[2:4, 6:16, 6:16] = 1
    label[2, 5, seed % SHAPE[2]] = seed > 0
    return label


def save(path: Path, array: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 2.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(list(spacing))
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def image_file(folder: Path, name: str, part: str = "imagesTr", ending: str = ".nii.gz") -> Path:
    return folder / part / f"{name}_0000{ending}"


def label_file(folder: Path, name: str, part: str = "labelsTr", ending: str = ".nii.gz") -> Path:
    return folder / part / f"{name}{ending}"


def write_case(folder: Path, name: str, seed: int, part: str = "Tr", ending: str = ".nii.gz") -> None:
    """An image and, unless it goes to ``Un``, its mask."""
    save(image_file(folder, name, f"images{part}", ending), voxels(seed))
    if part != "Un":
        save(label_file(folder, name, f"labels{part}", ending), mask(seed))


def describe(folder: Path, **changes: Any) -> None:
    description = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({**description, **changes}), encoding="utf-8")


def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> Path:
    """Where the raw dataset of this name goes, in a data root of one test alone."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "nnUNet_raw" / name


def write_raw(folder: Path, names: Sequence[str], ending: str = ".nii.gz", **changes: Any) -> Path:
    """``names`` as labelled cases; returns the folder."""
    for seed, name in enumerate(names):
        write_case(folder, name, seed, ending=ending)
    describe(folder, file_ending=ending, **changes)
    return folder
