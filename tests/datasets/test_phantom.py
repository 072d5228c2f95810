"""The embedded dataset is always the same, and what it promises."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from atso_bench.datasets._drawn.body import ORGANS, SCANNERS
from atso_bench.datasets.phantom import Phantom

SMALL = (10, 24, 24)


def make_volume(number, size=(10, 36, 36)):
    return Phantom(size=size).volume(number)


def test_a_case_is_the_same_each_time_and_differs_from_the_next() -> None:
    one, again, other = make_volume(1, SMALL), make_volume(1, SMALL), make_volume(2, SMALL)
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.label, again.label)
    assert one.spacing == again.spacing
    assert one.image.shape != other.image.shape or not np.array_equal(one.image, other.image)


def test_cases_vary_as_promised() -> None:
    volumes = [make_volume(number) for number in range(1, 13)]
    sizes = [(volume.label == 1).sum() for volume in volumes]
    lesions = [(volume.label == 2).sum() for volume in volumes]
    assert min(sizes) > 500
    assert max(sizes) > 2 * min(sizes)
    assert 0 in lesions
    assert sum(size > 0 for size in lesions) > 6
    assert len({volume.spacing for volume in volumes}) == 12
    assert all(volume.spacing[2] > 2 * volume.spacing[0] for volume in volumes)  # anisotropic
    assert len({volume.direction for volume in volumes}) > 1
    assert all(volume.image.min() > 0 for volume in volumes)  # nothing is cropped away


def test_five_labelled_cases_lack_most_of_the_kinds_that_the_others_hold() -> None:
    kinds = [make_volume(number).kinds for number in range(1, 97)]
    assert len({scanner for scanner, _ in kinds}) == len(SCANNERS)
    assert len({organ for _, organ in kinds}) == len(ORGANS)
    assert len(set(kinds)) > 0.8 * len(SCANNERS) * len(ORGANS)
    few = [len({scanner for scanner, _ in kinds[start : start + 5]}) for start in range(0, 90, 5)]
    assert np.mean(few) < 0.7 * len(SCANNERS)


def test_parts_and_files(tiny: Any) -> None:
    assert (len(tiny.pool), len(tiny.test), len(tiny.unlabelled)) == (8, 2, 2)
    assert not set(tiny.pool) & set(tiny.test)
    folder = tiny.raw.folder
    image = sitk.ReadImage(str(folder / "imagesTr" / "phantom_001_0000.nii.gz"))
    made = make_volume(1, SMALL)
    assert np.array_equal(sitk.GetArrayFromImage(image), made.image)
    assert image.GetSpacing() == pytest.approx(made.spacing, rel=1e-6)
    assert image.GetDirection() == pytest.approx(made.direction)
    assert sorted(path.name for path in (folder / "imagesUn").iterdir()) == [
        "phantom_011_0000.nii.gz",
        "phantom_012_0000.nii.gz",
    ]


def test_the_standard_phantom_needs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path))
    dataset = Phantom()
    assert dataset.is_ready() == (True, "made when first used")
    assert dataset.folder == "Dataset900_Phantom"
    with pytest.raises(ValueError, match="takes no --from"):
        dataset.prepare(tmp_path)


def test_volumes_of_another_release_are_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path))
    folder = Phantom(cases=2, unlabelled=0, size=SMALL).raw.folder
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**description, "release": "0"}))
    (folder / "imagesTr" / "phantom_001_0000.nii.gz").write_bytes(b"old")
    assert Phantom(cases=2, unlabelled=0, size=SMALL).raw.folder == folder
    assert json.loads((folder / "dataset.json").read_text()) == description
    assert len((folder / "imagesTr" / "phantom_001_0000.nii.gz").read_bytes()) > 100
    assert not list(folder.parent.glob(".*.partial"))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cases and 8 voxels"):
        Phantom(cases=1)
