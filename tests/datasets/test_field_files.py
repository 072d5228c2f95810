"""LA, ACDC and Pancreas-CT in the HDF5 files that papers pass around, and published splits by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from atso_bench.benchmark import registry
from atso_bench.benchmark.grid import Options, make_specs
from atso_bench.benchmark.options import GridOptions
from atso_bench.benchmark.spec import Budget

h5py = pytest.importorskip("h5py")


def volume(shape, seed=0):
    """An image, and a label of a box in it."""
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(2 + seed % 2, size - 3) for size in shape)] = 1
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) + label, label


def write(file: Path, image, label, key="label"):
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as opened:
        opened["image"], opened[key] = image, label


def converted(name: str, source: Path, target: Path):
    """Arrays ``(z, y, x)`` of image and label by case, and what dataset.json says."""
    target.mkdir()
    registry.dataset(name).convert(source, target)
    read = lambda path: sitk.GetArrayFromImage(sitk.ReadImage(str(path)))  # noqa: E731
    labels = sorted((target / "labelsTr").iterdir())
    cases = {
        path.name.removesuffix(".nii.gz"): (
            read(target / "imagesTr" / path.name.replace(".nii.gz", "_0000.nii.gz")),
            read(path),
        )
        for path in labels
    }
    return cases, json.loads((target / "dataset.json").read_text())


def test_la_as_ua_mt_has_it_becomes_cases_that_say_what_is_lost(tmp_path, monkeypatch):
    for seed, name in enumerate(("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")):
        write(tmp_path / "2018LA" / name / "mri_norm2.h5", *volume((14, 12, 10), seed))
    cases, description = converted("la", tmp_path / "2018LA", tmp_path / "raw")
    image, label = volume((14, 12, 10), 1)
    assert np.array_equal(cases["BBB"][0], image.transpose(2, 1, 0))
    assert np.array_equal(cases["BBB"][1], label.transpose(2, 1, 0))
    assert description["numTraining"] == 6
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(variable, raising=False)
    dataset = registry.dataset("la")
    said = "\n".join(dataset.prepare(tmp_path / "2018LA"))
    for words in (
        "every distance (HD95, ASSD, NSD's tolerance) is in voxels",
        "around its true label plus 10 to 20",
    ):
        assert words in said
        assert words in "\n".join(registry.dataset("la").caveats)  # and so in every record's warnings


def test_acdc_as_ssl4mis_has_it_volumes_before_slices(tmp_path):
    for case in ("patient001_frame01", "patient002_frame01"):
        image, label = volume((11, 16, 15), int(case[9]))
        for plane in range(11):
            write(tmp_path / "data" / "slices" / f"{case}_slice_{plane + 1}.h5", image[plane], label[plane])
    write(tmp_path / "data" / "patient001_frame01.h5", *volume((4, 16, 15)))
    cases, description = converted("acdc", tmp_path, tmp_path / "raw")
    assert cases["patient001_frame01"][0].shape == (4, 16, 15)
    image, label = volume((11, 16, 15), 2)
    assert np.array_equal(cases["patient002_frame01"][0], image)  # slice 10 behind slice 9
    assert np.array_equal(cases["patient002_frame01"][1], label)
    (caveat,) = description["atso_bench_caveats"]
    assert "is in voxels" in caveat


def test_pancreas_ct_as_coranet_has_it(tmp_path):
    write(tmp_path / "Pancreas_h5" / "image0007_norm.h5", *volume((9, 8, 7)))
    cases, description = converted("pancreas-ct", tmp_path, tmp_path / "raw")
    assert cases["pancreas_0007"][0].shape == (7, 8, 9)
    assert description["channel_names"] == {"0": "CT, clipped and rescaled"}  # nnU-Net must not take it for HU
    assert "plus 25 voxels" in "".join(description["atso_bench_caveats"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"key": "mask"}, "no HDF5 file with an image and a label"),
        ({"shape": (4, 4)}, "has shape"),
        ({"text": "nothing"}, "no HDF5 file"),
    ],
)
def test_a_file_that_is_something_else_is_named(given, said, tmp_path):
    file = tmp_path / "in" / "AAA" / "mri_norm2.h5"
    image, label = volume((8, 8, 8))
    write(file, image, label[given["shape"][0] :] if "shape" in given else label, key=given.get("key", "label"))
    if "text" in given:
        file.write_text(given["text"])
    with pytest.raises(ValueError, match=said) as refused:
        converted("la", tmp_path / "in", tmp_path / "raw")
    assert str(file) in str(refused.value)


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    write(tmp_path / "in" / "AAA" / "mri_norm2.h5", *volume((8, 8, 8)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install 'atso-bench\[h5\]'"):
        converted("la", tmp_path / "in", tmp_path / "raw")


@pytest.mark.parametrize(
    ("dataset", "name", "amounts"),
    [
        ("la", "ua-mt-8", {"pool": 80, "labelled": 8, "test": 20}),
        ("acdc", "ssl4mis-3", {"pool": 140, "labelled": 6, "validation": 20, "test": 40}),
    ],
)
def test_a_published_list_brings_the_whole_split(dataset, name, amounts):
    parts = registry.dataset(dataset).published_parts(name)
    assert {part: len(cases) for part, cases in parts.items()} == amounts
    assert set(parts["labelled"]) <= set(parts["pool"])
    others = [set(parts[part]) for part in amounts if part != "labelled"]
    assert len(set().union(*others)) == sum(map(len, others))
    lists = GridOptions(split_list=[f"labelled={name}"])._lists()
    words = ([dataset], ["supervised"], [f"{amounts['labelled']}cases"], [0], Budget.parse("smoke"), Options({}, {}))
    (spec, bound) = make_specs(*words, upper_bound=True, lists=lists)
    assert spec.lists == {part: list(cases) for part, cases in parts.items()}
    assert bound.lists == {part: list(cases) for part, cases in parts.items() if part != "labelled"}


def test_published_lists_of_fewer_patients_are_the_first_of_those_of_more():
    of = registry.dataset("acdc").published_parts
    assert of("ssl4mis-3")["labelled"] == of("ssl4mis-7")["labelled"][:6]
    assert {case.split("_")[0] for case in of("ssl4mis-3")["labelled"]} == {"patient038", "patient050", "patient099"}


def test_a_list_that_a_dataset_lacks_is_answered_with_those_that_it_has():
    with pytest.raises(LookupError, match="la has no published list 'ua-mt-9'; it has ua-mt-4, ua-mt-8, ua-mt-16"):
        registry.dataset("la").published("ua-mt-9", "10")
    with pytest.raises(LookupError, match="hippocampus has no published list 'ua-mt-8'; give a file"):
        registry.dataset("hippocampus").published_parts("ua-mt-8")
