"""What people met in the field with volumes and images, through `prepare`: valid files are taken, odd ones are said."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image
from raw_data import describe, image_file, label_file, mask, save, voxels, write_raw

from atso_bench.datasets.nnunet import Nnunet

NAME = "Dataset705_Field"
NAMES = ["c0", "c1", "c2", "c3"]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def folder(data: Path) -> Path:
    return data / "nnUNet_raw" / NAME


def refused(source: Path | None = None) -> str:
    with pytest.raises(ValueError, match=NAME) as error:
        Nnunet(NAME).prepare(source)
    return str(error.value)


def rewrite(path: Path, **changes: Any) -> None:
    """Write an ITK file again with another ``Origin``, ``Direction``, ``Spacing``."""
    image = sitk.ReadImage(str(path))
    for what, value in changes.items():
        getattr(image, f"Set{what}")(value)
    sitk.WriteImage(image, str(path), True)


def pictures(folder: Path, array: np.ndarray, label: np.ndarray, channels: Sequence[str]) -> None:
    """Pictures ``(H, W)`` or ``(H, W, 3)`` with their masks, each case with its own noise."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        for path, content in (
            (image_file(folder, name, ending=".png"), array + rng.integers(0, 9, array.shape)),
            (label_file(folder, name, ending=".png"), label),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content.astype(np.uint8)).save(path)
    describe(folder, channel_names={str(place): name for place, name in enumerate(channels)}, file_ending=".png")


def test_scaled_images_are_taken(folder: Path) -> None:
    write_raw(folder, NAMES)
    for name in NAMES:
        image = nibabel.load(image_file(folder, name))
        header = image.header.copy()
        header.set_data_dtype(np.int16)
        nibabel.save(nibabel.Nifti1Image(image.get_fdata(), image.affine, header), image_file(folder, name))
        assert nibabel.load(image_file(folder, name)).dataobj.slope != 1
    assert "checked 4 cases" in Nnunet(NAME).prepare()[0]


def test_a_picture_with_three_colours_is_three_channels(folder: Path) -> None:
    label = np.zeros((32, 40), np.uint8)
    label[8:20, 10:30] = 1
    pictures(folder, np.stack([label * 90] * 3, -1), label, ["red", "green", "blue"])
    dataset = Nnunet(NAME)
    dataset.prepare()
    from atso_bench.benchmark.spec import Budget

    task = dataset.task(dataset.pool, dataset.pool, Budget.parse("smoke"), {})
    assert task.images[dataset.pool[0]].array.shape == (3, 1, 32, 40)


def test_channels_that_are_not_there_are_counted_after_reading(folder: Path) -> None:
    label = np.zeros((32, 40), np.uint8)
    label[8:20, 10:30] = 1
    pictures(folder, np.stack([label * 90] * 3, -1), label, ["red", "green"])
    assert "c0: 1 channel file(s) with 3 channels; dataset.json names 2 channel(s), expected _0000 to" in refused()


def test_a_channel_is_known_by_its_number(folder: Path) -> None:
    write_raw(folder, NAMES, channel_names={"0": "T1", "1": "T2"})
    for name in NAMES:
        second = folder / "imagesTr" / f"{name}_{2 if name == 'c3' else 1:04d}.nii.gz"
        save(second, voxels(7) + len(name))
    told = refused()
    assert "c3: no _0001 in imagesTr; add it, or correct the names of the others" in told
    assert "1 problem(s)" in told


def test_a_description_may_begin_with_a_byte_order_mark(folder: Path) -> None:
    write_raw(folder, NAMES)
    path = folder / "dataset.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert Nnunet(NAME).prepare()


def test_a_value_that_is_almost_a_label_is_shown_in_full(folder: Path) -> None:
    write_raw(folder, NAMES)
    save(label_file(folder, "c1"), (mask() * np.float32(0.9999999)).astype(np.float32))
    told = refused()
    assert "c1: label values 0.9999999 are not in dataset.json, which names [0, 1]" in told
    assert "round the values" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"Origin": (0.0, 2.0, 0.0)}, "the image's origin is 0 0 0, the label's 0 2 0"),
        ({"Direction": (0, 1, 0, 1, 0, 0, 0, 0, 1)}, "the image's direction is 1 0 0 0 1 0 0 0 1, the label's 0 1 0"),
    ],
)
def test_another_place_is_refused_with_numbers_and_a_way_on(folder: Path, changes: dict[str, Any], told: str) -> None:
    write_raw(folder, NAMES)
    rewrite(label_file(folder, "c1"), **changes)
    message = refused()
    assert f"c1: image and label differ: {told}" in message
    assert '"ignore_origin": true' in message
    describe(folder, ignore_origin=True)
    dataset = Nnunet(NAME)
    dataset.prepare()
    (note,) = dataset.caveats
    assert note == "1 case(s) have a label of another origin or direction, which dataset.json says to ignore: c1"
    rewrite(label_file(folder, "c2"), Spacing=(1.0, 1.1, 2.0))
    assert "c2: image and label differ: the image's spacing is 1 1 2, the label's 1 1.1 2" in refused()


def test_ignore_origin_is_true_or_false(folder: Path) -> None:
    write_raw(folder, NAMES, ignore_origin="yes")
    with pytest.raises(ValueError, match=r"dataset\.json: ignore_origin must be true or false, got 'yes'"):
        Nnunet(NAME).prepare()


def test_a_small_voxel_is_as_different_as_a_large_one(folder: Path) -> None:
    write_raw(folder, NAMES)
    for name in NAMES:
        for path in (image_file(folder, name), label_file(folder, name)):
            rewrite(path, Spacing=(1e-4, 1e-4, 2e-4))
    rewrite(label_file(folder, "c1"), Spacing=(1e-4, 1.2e-4, 2e-4))
    assert "c1: image and label differ: the image's spacing is 0.0001 0.0001 0.0002" in refused()


def test_axes_that_run_in_several_ways_are_said(folder: Path) -> None:
    write_raw(folder, NAMES)
    for path in (image_file(folder, "c2"), label_file(folder, "c2")):
        rewrite(path, Direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    (note,) = (line for line in Nnunet(NAME).prepare() if "run in" in line)
    assert "2 ways (LPS in 3 case(s), c0, c1 ...; RAS in 1 case(s), c2)" in note
    describe(folder, overwrite_image_reader_writer="SimpleITKIOWithReorient")
    assert not Nnunet(NAME).caveats
    assert not [line for line in Nnunet(NAME).prepare() if "run in" in line]


def test_axes_that_are_not_at_right_angles_are_said_in_one_line(folder: Path) -> None:
    write_raw(folder, NAMES)
    for path in folder.rglob("*.nii.gz"):
        image = nibabel.load(path)
        affine = image.affine.copy()
        affine[0, 1] = 0.3
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
        told = Nnunet(NAME).prepare()
    assert "Traceback" not in shown.getvalue()
    assert (
        "note: 4 case(s) have axes that are not at right angles, and are taken as if they were: c0, c1, c2, c3" in told
    )


def tiffs(folder: Path, spacing: Sequence[float] | None, **more: Any) -> None:
    for seed, name in enumerate(NAMES):
        for part, array in (("imagesTr", voxels(seed)), ("labelsTr", mask())):
            (folder / part).mkdir(parents=True, exist_ok=True)
            end = "_0000" if part == "imagesTr" else ""
            tifffile.imwrite(folder / part / f"{name}{end}.tif", array, photometric="minisblack")
            if spacing:
                (folder / part / f"{name}.json").write_text(json.dumps({"spacing": list(spacing)}))
    describe(folder, file_ending=".tif", **(more or {"overwrite_image_reader_writer": "Tiff3DIO"}))


def test_the_spacing_of_tiffs_is_part_of_the_data(folder: Path) -> None:
    identities, spacings = [], []
    for spacing in ((2.0, 1.0, 1.0), (4.0, 2.0, 2.0)):
        tiffs(folder, spacing)
        dataset = Nnunet(NAME)
        dataset.prepare()
        identities.append(dataset.identity)
        spacings.append(dataset.reference("c0").spacing)
        prepared = json.loads((dataset._prepared / "images" / "c0.json").read_text())
        assert tuple(prepared["spacing"]) == spacing
    assert spacings == [(2.0, 1.0, 1.0), (4.0, 2.0, 2.0)]
    assert identities[0] != identities[1]
    (folder / "labelsTr" / "c0.json").unlink()
    assert Nnunet(NAME).identity not in identities
    assert "c0: image and label differ: the image's spacing is 2 2 4, the label's 1 1 1" in refused()


def test_a_reader_that_nobody_named_is_found_without_a_traceback(folder: Path, capfd: Any) -> None:
    tiffs(folder, (2.0, 1.0, 1.0), name="no reader is named")
    dataset = Nnunet(NAME)
    dataset.prepare()
    assert dataset.reference("c0").spacing == (2.0, 1.0, 1.0)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_tiffs_without_a_spacing_are_said(folder: Path) -> None:
    tiffs(folder, None)
    told = Nnunet(NAME).prepare()
    assert any("4 case(s) have no file with their spacing (CASE.json beside the TIFF)" in line for line in told)


def test_nothing_is_kept_of_a_refused_import(data: Path, tmp_path: Path) -> None:
    source = write_raw(tmp_path / "source" / NAME, NAMES)
    save(label_file(source, "c2"), mask() * 7)
    told = refused(source)
    assert "c2: label values 7" in told
    assert f"nothing of {source} was kept" in told
    assert not list((data / "nnUNet_raw").glob("[!.]*"))
    save(label_file(source, "c2"), mask())
    assert f"imported {source}" in Nnunet(NAME).prepare(source)[0]


@pytest.mark.parametrize("labels", [{"background": 0, "organ": 1, "a": [1, 2]}, {"background": 0, "organ": 2}])
def test_nor_of_one_whose_description_is_refused(data: Path, tmp_path: Path, labels: dict[str, Any]) -> None:
    source = write_raw(tmp_path / "source" / NAME, NAMES, labels=labels)
    refused(source)
    assert not list((data / "nnUNet_raw").glob("[!.]*"))


def test_a_raw_folder_of_nnunet_1_is_imported(data: Path, tmp_path: Path) -> None:
    source = write_raw(tmp_path / "Task501_Old", NAMES)
    described = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "organ"}, "name": "Old"}
    (source / "dataset.json").write_text(json.dumps(described))
    told = Nnunet(NAME).prepare(source)
    assert told[1].startswith("checked 4 cases")
    assert Nnunet(NAME).raw.classes == ("background", "organ")
    assert sorted(Nnunet(NAME).raw.labelled) == NAMES


def test_an_import_that_was_there_before_stays_and_is_named(data: Path, tmp_path: Path) -> None:
    existing = write_raw(data / "nnUNet_raw" / NAME, NAMES)
    save(label_file(existing, "c2"), mask() * 7)
    source = write_raw(tmp_path / "source" / NAME, NAMES)
    assert f"{existing} already exists; remove it to import {source} again" in refused(source)
    assert existing.is_dir()


def test_an_import_with_a_pipe_in_it_is_refused_in_words(data: Path, tmp_path: Path) -> None:
    source = write_raw(tmp_path / "source" / NAME, NAMES)
    os.mkfifo(source / "pipe")
    assert f"{source} cannot be copied: `{source / 'pipe'}` is a named pipe" in refused(source)
    assert not list((data / "nnUNet_raw").glob("[!.]*"))


@pytest.mark.parametrize(("origin", "said"), [((1e-5, 0, 0), False), ((50, 0, 0), True)])
def test_channels_that_lie_apart_are_said_unless_it_is_rounding(folder: Path, origin: Any, said: bool) -> None:
    write_raw(folder, NAMES, channel_names={"0": "T1", "1": "T2"})
    for name in NAMES:
        image = sitk.ReadImage(str(image_file(folder, name))) + 1
        image.SetOrigin(origin)
        sitk.WriteImage(image, str(folder / "imagesTr" / f"{name}_0001.nii.gz"))
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        told = Nnunet(NAME).prepare()
    assert any("4 case(s) have channels of another origin or direction" in line for line in told) == said
    assert "WARNING" not in shown.getvalue()


def test_channels_may_lie_in_one_file_of_four_axes(folder: Path) -> None:
    write_raw(folder, NAMES, channel_names={"0": "T1", "1": "T2"})
    for name in NAMES:
        image = sitk.ReadImage(str(image_file(folder, name)))
        sitk.WriteImage(sitk.JoinSeries([image, image + 1]), str(image_file(folder, name)), True)
    assert "checked 4 cases" in Nnunet(NAME).prepare()[0]
    assert not Nnunet(NAME).caveats


def test_regions_are_refused_with_what_can_be_done(folder: Path) -> None:
    write_raw(folder, NAMES, labels={"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=[1, 2])
    with pytest.raises(ValueError, match=r"regions.*which `evaluate` can score.*give each class one label"):
        Nnunet(NAME).prepare()


def test_a_label_with_a_palette_is_refused_in_words(folder: Path) -> None:
    label = np.zeros((32, 40), np.uint8)
    label[8:20, 10:30] = 1
    pictures(folder, label * 90, label, ["grey"])
    coloured = Image.fromarray(label)
    coloured.putpalette([0, 0, 0, 255, 7, 9])
    coloured.save(label_file(folder, "c1", ending=".png"))
    assert "c1: the label has 3 channels; it needs one" in refused()


def test_masks_and_voxels_that_are_hardly_meant_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks without background, one mask under several images, and voxels of a tenth of a micrometre."""
    names = [f"case_{number}" for number in range(8)]
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    folder = write_raw(tmp_path / "Dataset801_Odd", names)
    for number, name in enumerate(names[:6]):
        other = mask()
        other[0, 0, number] = 1
        save(label_file(folder, name), np.ones_like(other) if number < 2 else other)
    save(label_file(folder, names[7]), mask(6))
    for path in folder.glob("*Tr/*"):
        respace(path, 1e-4)
    told = "\n".join(Nnunet("801").prepare())
    assert "2 case(s) have a mask without background: case_0, case_1" in told
    assert "2 case(s) have the very same mask; are all of them right? case_6, case_7" in told
    assert "8 case(s) have voxels smaller than 0.001 mm or larger than 100 mm" in told
    assert told.count("very same mask") == 2  # those without background are alike too


def respace(path: Path, side: float) -> None:
    image = sitk.ReadImage(str(path))
    image.SetSpacing((side,) * 3)
    sitk.WriteImage(image, str(path))


def test_an_image_of_another_unit_is_named_before_nothing_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    folder = write_raw(tmp_path / "Dataset801_Odd", [f"case_{number}" for number in range(8)])
    for path in folder.glob("*Tr/case_7*"):
        respace(path, 1e-4)
    with pytest.raises(ValueError, match=r"voxels of case_7, which is nothing; is the spacing in its header right\?"):
        Nnunet("801").prepare()
