"""The same image once more, as nobody would notice it: said where a split could put the two into different parts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from raw_data import write_raw
from test_cityscapes import TRAIN, VAL, Streets, image_path, save, source, write_image  # noqa: F401 - a fixture
from test_cityscapes import root as root  # the fixture that every dataset here needs

from atso_bench.datasets._shared import near
from atso_bench.datasets._shared.near import near_copies, thumbnail
from atso_bench.datasets.nnunet import Nnunet

SHAPES = [(1, 40, 48), (3, 32, 64), (1, 12, 30, 34), (2, 9, 17, 23), (1, 1, 40, 48)]
CHANGES = {
    "twice": lambda image, rng: 2 * image,
    "more": lambda image, rng: image + 100,
    "negative": lambda image, rng: 10 * image - 1000,
    "noise": lambda image, rng: image + 1e-3 * image.std() * rng.standard_normal(image.shape),
    "more noise": lambda image, rng: image + 1e-2 * image.std() * rng.standard_normal(image.shape),
    "rounded": lambda image, rng: (100 * image).round(),
}


def picture(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Smooth shapes and grain, as in a photograph or a scan: cases differ, and none is symmetric."""
    rng = np.random.default_rng([*shape, seed])
    grid = np.meshgrid(*[np.linspace(0, 1, size) for size in shape[1:]], indexing="ij")
    image = np.zeros(shape)
    for _ in range(5):
        centre, width = rng.uniform(0, 1, len(grid)), rng.uniform(0.05, 0.3)
        blob = np.exp(-sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) / width**2)
        image += rng.uniform(0.5, 1, (shape[0], *[1] * len(grid))) * blob
    return image + 0.1 * rng.standard_normal(shape)


def noted(*images: np.ndarray, divisible: Any = lambda one, other: True) -> list[str]:
    return near_copies({f"c{place}": thumbnail(image) for place, image in enumerate(images)}, divisible)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_mirrored_or_not(change: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    image, other = picture(shape, 0), picture(shape, 1)
    axes = range(1, len(shape))
    for flip in itertools.chain.from_iterable(itertools.combinations(axes, count) for count in range(len(shape))):
        copied = CHANGES[change](np.flip(image, flip), rng)
        (note,) = noted(image, other, copied)
        assert note.startswith("1 pair(s) look like one image (scaled, shifted, mirrored or with noise)")
        assert note.endswith("c0 and c2")


@pytest.mark.parametrize("shape", SHAPES)
def test_different_images_are_none(shape: tuple[int, ...]) -> None:
    assert noted(*(picture(shape, seed) for seed in range(60))) == []


def test_a_blank_image_is_like_no_other() -> None:
    blank = np.zeros((1, 20, 20))
    assert thumbnail(blank) is None
    assert thumbnail(blank + 7) is None
    assert noted(blank, blank + 1) == []


def test_cases_that_no_split_divides_are_not_named() -> None:
    image = picture((1, 40, 48), 0)
    assert noted(image, 2 * image, divisible=lambda one, other: False) == []
    assert near_copies({}, lambda one, other: True) == []


def test_many_pairs_are_counted_and_some_named() -> None:
    image = picture((1, 40, 48), 0)
    (note,) = noted(*(image + number for number in range(6)))
    assert note.startswith("15 pair(s)")
    assert note.count(" and c") == near.SHOWN


def test_ten_thousand_images_take_seconds() -> None:
    import time

    rng = np.random.default_rng(0)
    smalls = {f"c{n:05}": thumbnail(rng.standard_normal((1, 16, 16)) ** 3) for n in range(10_000)}
    smalls["copy"] = np.flip(smalls["c00007"], 2)  # type: ignore[arg-type]
    began = time.monotonic()
    (note,) = near_copies(smalls, lambda one, other: True)
    assert time.monotonic() - began < 60  # mostly 3
    assert note.endswith("c00007 and copy")


# From `prepare` on


def test_prepare_says_it_of_volumes_and_so_does_the_record(tmp_path: Path, root: Path) -> None:
    raw = write_raw(root / "nnUNet_raw" / "Dataset101_Near", [f"c{number}" for number in range(6)])
    for number in range(6):
        path = raw / "imagesTr" / f"c{number}_0000.nii.gz"
        old = sitk.ReadImage(str(path))
        shape = sitk.GetArrayFromImage(old).shape
        seed = 0 if number == 3 else number
        image = picture((1, *shape), seed)[0]
        new = sitk.GetImageFromArray((2 * image[:, ::-1] + 100 if number == 3 else image).astype(np.float32))
        new.CopyInformation(old)
        sitk.WriteImage(new, str(path))
    dataset = Nnunet("Dataset101_Near")
    (note,) = [line for line in dataset.prepare() if "look like one image" in line]
    assert note.startswith("note: 1 pair(s)")
    assert note.endswith("c0 and c3")
    assert any("c0 and c3" in text for text in dataset.caveats)


def test_prepare_says_it_of_frames_and_they_are_the_same_data(source: Path) -> None:  # noqa: F811
    size = (32, 64)
    image = (picture((3, *size), 0).transpose(1, 2, 0) * 60).clip(0, 200).astype(np.uint8)
    from test_cityscapes import write_label

    for part, names in (("train", TRAIN), ("val", VAL)):
        for name in names:
            write_image(source, part, name, 5 + len(name) + ord(name[-8]) * 7 + ord(name[0]), size)
            write_label(source, part, name, np.full(size, 26))
    save(image_path(source, "train", TRAIN[0]), image)
    save(image_path(source, "val", VAL[0]), image[:, ::-1] + np.uint8(20))
    (note,) = [line for line in Streets().prepare(source) if "look like one image" in line]
    assert note.endswith(f"{TRAIN[0]} and {VAL[0]}")
    assert "small" not in str(Streets()._frames)


# Hidden files


def test_hidden_files_are_said_and_those_of_a_mac_are_not(source: Path, root: Path) -> None:  # noqa: F811
    raw = write_raw(root / "nnUNet_raw" / "Dataset101_Near", [f"c{number}" for number in range(4)])
    for name in (".hid", "...", "._c0"):
        (raw / "imagesTr" / f"{name}_0000.nii.gz").write_bytes(b"x")
    (note,) = [line for line in Nnunet("Dataset101_Near").prepare() if "are ignored" in line]
    assert note == (
        "note: 2 file(s) are ignored, because their names begin with a dot; rename them to use them: "
        "imagesTr/..._0000.nii.gz, imagesTr/.hid_0000.nii.gz"
    )
    hid = image_path(source, "train", TRAIN[0])
    hid.with_name(f".{hid.name}").write_bytes(hid.read_bytes())
    assert any(f"aachen/.{hid.name}" in line for line in Streets().prepare(source) if "are ignored" in line)
