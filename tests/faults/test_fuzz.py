"""Whatever stands in a user's files, the answer is a problem with the file's name, never another kind of error."""

from __future__ import annotations

import copy
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from PIL import Image
from raw_data import mask, save, voxels

from atso_bench.benchmark.reading.user_files import read_object
from atso_bench.benchmark.splits import read_list
from atso_bench.datasets._frames.any_files import list_folders
from atso_bench.datasets._frames.any_reader import AnyReader
from atso_bench.datasets._frames.cityscapes_reader import CityscapesReader
from atso_bench.datasets._frames.description import read_description as describe_frames
from atso_bench.datasets._frames.on_disk import Frame, write_frame
from atso_bench.datasets._shared.noted import read_noted
from atso_bench.datasets._volumes.examine import Look, examine
from atso_bench.datasets._volumes.fit import check_fit
from atso_bench.datasets._volumes.msd import _description
from atso_bench.datasets._volumes.patients import read_patients
from atso_bench.datasets._volumes.plan import configuration_of
from atso_bench.datasets._volumes.raw import Case, RawDataset
from atso_bench.datasets._volumes.trusted import check_plans

few = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
words = st.text(max_size=8) | st.sampled_from(["..", "/", "$HOME", "0"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)


def spoilt(data: st.DataObject, tree: Any) -> Any:
    """The tree with any values at one to three places, or with entries gone or added."""
    tree = copy.deepcopy(tree)
    for _ in range(data.draw(st.integers(1, 3))):
        place = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            deeper = isinstance(place[key], (dict, list)) and place[key]
            if deeper and data.draw(st.integers(0, 3)):
                place = place[key]
                continue
            if isinstance(place, dict) and data.draw(st.booleans()):
                place[data.draw(st.text(max_size=5))] = place.pop(key)
            else:
                place[key] = data.draw(values)
            break
    return tree


DESCRIPTION = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "organ": 1, "lesion": [2], "ignore": 3},
    "file_ending": ".nii.gz",
    "numTraining": 2,
    "dataset": {
        name: {"images": [f"imagesTr/{name}_0000.nii.gz"], "label": f"labelsTr/{name}.nii.gz"} for name in "ab"
    },
    "overwrite_image_reader_writer": "SimpleITKIO",
}


def look_at_all(folder: Path) -> None:
    raw = RawDataset(folder)
    raw.json, raw.classes, raw.ignore, raw.cases, raw.patients  # noqa: B018
    raw.listing_problems()


@few
@given(data=st.data())
def test_any_dataset_json_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(spoilt(data, DESCRIPTION)))
    try:
        look_at_all(tmp_path)
    except ValueError as error:
        assert "dataset.json" in str(error)  # noqa: PT017 - most are refused, some are fine


@few
@given(content=st.binary(max_size=80) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_instead_of_json_are_refused(content: bytes, tmp_path: Path) -> None:
    for name in ("dataset.json", "patients.json", "plans.json"):
        (tmp_path / name).write_bytes(content)
        try:
            read_object(tmp_path / name)
        except ValueError as error:
            assert name in str(error)  # noqa: PT017
    read_noted(tmp_path / "plans.json")


@few
@given(data=st.data())
def test_any_patients_are_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    (tmp_path / "patients.json").write_text(json.dumps(spoilt(data, {"a": "p", "b": 1, "c": "p"})))
    try:
        assert all(isinstance(patient, str) for patient in read_patients(tmp_path).values())
    except ValueError as error:
        assert "patients.json" in str(error)  # noqa: PT017


@few
@given(data=st.data())
def test_any_decathlon_json_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "A"}, "numTraining": 3}
    (tmp_path / "dataset.json").write_text(json.dumps(spoilt(data, content)))
    try:
        _description(tmp_path / "dataset.json")
    except ValueError as error:
        assert "dataset.json" in str(error)  # noqa: PT017


@pytest.fixture(scope="module")
def plans(tiny: Any) -> dict[str, Any]:
    return json.loads(json.dumps(tiny._plans))


@settings(few, max_examples=150)
@given(data=st.data())
def test_any_plan_is_refused_or_can_be_built(plans: dict[str, Any], data: st.DataObject) -> None:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    changed = spoilt(data, plans)
    try:
        check_plans(changed)
        found = configuration_of(changed, "2d")
        check_fit(found, 1, 1 << 30)
    except ValueError:
        return
    architecture = found["architecture"]
    arguments = {**architecture["arch_kwargs"], "features_per_stage": [2] * architecture["arch_kwargs"]["n_stages"]}
    network, imported = architecture["network_class_name"], architecture["_kw_requires_import"]
    get_network_from_plans(network, arguments, imported, 1, 2, deep_supervision=True)


@few
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_list_of_cases_is_read_or_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cases.txt"
    path.write_bytes(content)
    try:
        assert all(read_list(path))
    except ValueError as error:
        assert "cases.txt" in str(error)  # noqa: PT017


def mutated(data: st.DataObject, content: bytes, first: int) -> bytes:
    """Some bytes changed, most of them among the first, where headers are; or the end cut off."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, min(first, len(changed)) - 1) | st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    return bytes(changed[: data.draw(st.just(len(changed)) | st.integers(0, len(changed)))])


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """An image and its label, by ending."""
    folder, found = tmp_path_factory.mktemp("volumes"), {}
    for ending in (".nii.gz", ".nrrd", ".mha"):
        found[f"image{ending}"] = save(folder / f"image{ending}", voxels(0)[:, :9, :9]).read_bytes()
        found[f"label{ending}"] = save(folder / f"label{ending}", mask()[:, :9, :9]).read_bytes()
    return found


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@settings(few, max_examples=120)
@given(data=st.data())
def test_any_volume_is_examined_without_an_error(
    ending: str, data: st.DataObject, volumes: dict[str, bytes], tmp_path: Path
) -> None:
    image, label = volumes[f"image{ending}"], volumes[f"label{ending}"]
    spoil = data.draw(st.sampled_from(["image", "label"]))
    content = image if spoil == "image" else label
    if ending == ".nii.gz" and data.draw(st.booleans()):  # behind the checksum
        content = gzip.compress(mutated(data, gzip.decompress(content), 348), 1, mtime=0)
    else:
        content = mutated(data, content, 300)
    files = [tmp_path / f"case_0000{ending}", tmp_path / f"case{ending}"]
    files[0].write_bytes(content if spoil == "image" else image)
    files[1].write_bytes(content if spoil == "label" else label)
    look = examine(Case("case", (files[0],), files[1]), 1, [0, 1], SimpleITKIO())
    assert isinstance(look, Look)
    assert look.problems or look.shape


@few
@given(data=st.data())
def test_any_png_is_decoded_or_named(data: st.DataObject, tmp_path: Path) -> None:
    files = []
    for name, array in (("image", np.arange(192).reshape(8, 8, 3)), ("label", np.full((8, 8), 7))):
        stream = io.BytesIO()
        Image.fromarray(array.astype(np.uint8)).save(stream, "PNG")
        path = tmp_path / f"{name}_gtFine_labelIds.png"
        path.write_bytes(mutated(data, stream.getvalue(), 33))
        files.append(path)
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir(exist_ok=True)
    found = write_frame(Frame("ulm_000000_000000", "train", tmp_path, *files), tmp_path, CityscapesReader())
    assert all("_gtFine_labelIds.png: " in problem for problem in found.get("problems", ()))
    assert ("image" in found) != ("problems" in found)


@few
@given(data=st.data())
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_any_picture_of_a_users_folder_is_decoded_or_named(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    image, mask = (
        Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)),
        Image.fromarray(np.full((8, 8), 1, np.uint8)),
    )
    exif = image.getexif()
    exif[274] = 6
    endings = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "BMP": ".bmp"}
    files = []
    for name, picture, own in (("image", image, kind), ("mask", mask, "PNG" if kind == "JPEG" else kind)):
        stream = io.BytesIO()
        picture.save(stream, own, exif=exif)
        path = tmp_path / f"{name}{endings[own]}"
        path.write_bytes(mutated(data, stream.getvalue(), 8))
        files.append(path)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir(exist_ok=True)
    reader = AnyReader({0: 0, 1: 1}, ("background", "polyp"), "dataset.json")
    found = write_frame(Frame("a", "train", tmp_path, files[0], files[1]), tmp_path, reader)
    assert ("image" in found) != ("problems" in found)
    if "image" in found:
        assert isinstance(reader.notes(tmp_path, [found["remark"]]), list)


@few
@given(data=st.data())
def test_any_description_of_frames_is_read_or_named(data: st.DataObject, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir(exist_ok=True)
    content = {
        "labels": {"background": 0, "polyp": [1, 2], "ignore": 255},
        "palette": {"background": [0, 0, 0], "polyp": [1, 2, 3]},
        "groups": {"a": "one", "b": 2},
        "images": "images",
        "mask_suffix": "_mask",
        "name": "ours",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(spoilt(data, content)), encoding="utf-8")
    told = ""
    try:
        told = "\n".join(list_folders(tmp_path, describe_frames(tmp_path)).problems)
    except ValueError as error:
        told = str(error)
    assert "dataset.json" in told or "images: no image" in told
