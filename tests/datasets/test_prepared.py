"""Prepared data is verified by `prepare` and made again where it is damaged; a run that meets damage says so."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_data import label_file, write_raw
from test_cityscapes import CAR, TRAIN, Streets, image_path, source, write_label  # noqa: F401 - a fixture

from atso_bench.benchmark.spec import Budget
from atso_bench.datasets._shared.noted import read_noted, write_noted
from atso_bench.datasets.nnunet import Nnunet

NAME = "Dataset701_Whole"
NAMES = [f"c{number}" for number in range(4)]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = [flip, truncate, Path.unlink, lambda path: path.write_bytes(b"")]
damages = pytest.mark.parametrize("damage", DAMAGES, ids=["flipped", "truncated", "missing", "empty"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data roots with a prepared dataset, by modality; to be copied."""
    roots = {}
    for modality in ("MRI", "CT"):
        root = roots[modality] = tmp_path_factory.mktemp(modality)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ATSO_BENCH_DATA", str(root))
            for name in ("nnUNet_raw", "nnUNet_preprocessed"):
                patch.delenv(name, raising=False)
            write_raw(root / "nnUNet_raw" / NAME, NAMES, channel_names={"0": modality})
            dataset = Nnunet(NAME)
            dataset.task(dataset.pool[:1], (*dataset.pool, *dataset.test), Budget.parse("smoke"), {})
    return roots


@pytest.fixture(params=["MRI", "CT"])
def dataset(request: Any, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Nnunet:
    root = shutil.copytree(made[request.param], tmp_path / "data", copy_function=shutil.copy2)
    for path in root.rglob("hashes.json"):  # it knows the files by their full paths
        path.unlink()
    monkeypatch.setenv("ATSO_BENCH_DATA", str(root))
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    return Nnunet(NAME)


def files(dataset: Nnunet) -> dict[str, bytes]:
    root = dataset._prepared.parent
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def open_all(dataset: Nnunet) -> Any:
    task = dataset.task(dataset.pool[:1], (*dataset.pool, *dataset.test), Budget.parse("smoke"), {})
    return [np.array(image.array[:]) for image in task.images.values()], list(task.labels.values())


def test_prepare_verifies_and_says_nothing_where_all_is_whole(dataset: Nnunet) -> None:
    before = files(dataset)
    assert dataset.prepare() == [f"{NAME} 2d is prepared in {dataset._prepared}"]
    assert {name: content for name, content in files(dataset).items() if "hashes" not in name} == {
        name: content for name, content in before.items() if "hashes" not in name
    }


@damages
def test_every_prepared_file_that_is_damaged_is_made_again(dataset: Nnunet, damage: Callable[[Path], Any]) -> None:
    whole, before = open_all(dataset), files(dataset)
    root = dataset._prepared.parent
    names = [name for name in before if name.endswith((".b2nd", ".json")) and "hashes" not in name]
    assert len(names) > 10
    for name in names:
        damage(root / name)
        Nnunet(NAME).prepare()
        again = Nnunet(NAME)
        found = open_all(again)
        assert all(
            np.array_equal(a, b)
            for one, other in zip(whole, found, strict=True)
            for a, b in zip(one, other, strict=True)
        )
        assert files(again)[name] == before[name], name


def test_prepare_names_the_cases_that_it_makes_again(dataset: Nnunet) -> None:
    label = dataset._prepared / "labels" / "c1.b2nd"
    flip(label)
    assert "made again, as it was damaged or missing: labels of c1" in dataset.prepare()
    assert len(Nnunet(NAME).prepare()) == 1


@damages
def test_a_run_that_meets_a_damaged_file_names_case_folder_and_remedy(
    dataset: Nnunet, damage: Callable[[Path], Any]
) -> None:
    if damage is flip:
        pytest.skip("numbers that have changed are still numbers; prepare finds them")
    name = dataset.test[0]
    (image,) = (path for path in dataset._prepared.parent.rglob(f"{name}.b2nd") if path.parent.name != "labels")
    damage(image)
    with pytest.raises(
        OSError, match=rf"{name}: its prepared file is missing or damaged .*`atso-bench prepare {NAME}`"
    ):
        open_all(dataset)
    damage(dataset._prepared / "labels" / f"{name}.b2nd")
    with pytest.raises(OSError, match=f"{name}: its prepared file is missing or damaged"):
        dataset.hidden_label(name)
    if damage is not Path.unlink:
        damage(dataset._prepared / "prepared.json")
        with pytest.raises(OSError, match=rf"prepared.json is damaged; `atso-bench prepare {NAME}` makes it again"):
            Nnunet(NAME).content(name)


def test_raw_data_that_changed_and_kept_size_and_time_is_noticed_by_prepare(dataset: Nnunet) -> None:
    before = dataset.prepare()[0]
    path = label_file(dataset.raw.folder, "c2")
    status, content = path.stat(), bytearray(path.read_bytes())
    content[4] ^= 1  # the time in gzip's header, which changes no voxel
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Nnunet(NAME).ready() == []
    assert Nnunet(NAME).prepare()[0] != before


def test_raw_data_that_has_gone_is_named_when_it_is_scored(dataset: Nnunet) -> None:
    dataset.ready()
    label_file(dataset.raw.folder, dataset.test[0]).unlink()
    with pytest.raises(OSError, match=f"{dataset.test[0]} cannot be read .*have its raw data been moved or changed"):
        dataset.reference(dataset.test[0])


def test_what_is_noted_is_believed_only_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "noted.json"
    content = {"é": [1, 2.5, None, float("inf")], "b": {"c": True}}
    write_noted(path, content)
    assert read_noted(path) == content
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_noted(path) in (None, content)
        path.write_bytes(whole[:place])
        assert read_noted(path) in (None, content)


# -- frames -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def frames(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:  # noqa: F811
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CITYSCAPES_DATASET", str(source))
    write_label(source, "train", TRAIN[2], CAR)  # else they might be train ids, as a note would say
    Streets().prepare()
    return source


@damages
def test_every_decoded_frame_that_is_damaged_is_made_again(frames: Path, damage: Callable[[Path], Any]) -> None:
    folder = Streets()._folder
    whole = {path: path.read_bytes() for path in [*folder.rglob("*.npy"), folder / "prepared.json"]}
    assert len(whole) == 9
    for path, content in whole.items():
        damage(path)
        assert any("decoded" in line or "checked" in line for line in Streets().prepare())
        assert path.read_bytes() == content
    assert Streets().prepare() == [f"tiny-streets is prepared in {folder}"]


def test_a_png_that_changed_and_kept_size_and_time_is_noticed_by_prepare(frames: Path) -> None:
    path = image_path(frames, "train", "aachen_000000_000019")
    status = path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Streets().ready() == []
    with pytest.raises(ValueError, match=r"aachen_000000_000019_leftImg8bit\.png: it cannot be read"):
        Streets().prepare()
    with pytest.raises(ValueError, match="problem"):
        Streets().ready()


def test_the_frames_prepared_before_are_kept_for_other_sources(frames: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(frames, tmp_path / "copy", copy_function=shutil.copy2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CITYSCAPES_DATASET", str(copy))
        assert Streets().prepare() == [f"tiny-streets is prepared in {Streets()._folder}"]
    memory = json.loads((tmp_path / "data" / "prepared" / "tiny-streets" / "source.json").read_text())
    assert all(set(entry) == {"listing", "key", "raw"} for entry in memory["prepared"].values())


def test_the_same_frame_twice_is_refused_unless_no_split_could_divide_the_two(frames: Path) -> None:
    from test_cityscapes import StreetsExtra, write_image

    for number in range(2):
        write_image(frames, "train_extra", f"bonn_00000{number}_000019", 77)
    StreetsExtra().prepare()
    shutil.copy(image_path(frames, "train", "aachen_000000_000019"), image_path(frames, "val", "lindau_000000_000019"))
    with pytest.raises(ValueError, match="aachen_000000_000019: the same image as lindau_000000_000019, and a split"):
        Streets().prepare()
    write_image(frames, "val", "lindau_000000_000019", 5)
    write_image(frames, "val", "lindau_000001_000019", 5)
    write_label(frames, "val", "lindau_000001_000019", np.full((6, 8), 7))
    told = Streets().prepare()
    assert any("lindau_000001_000019, all in the test set" in line for line in told)
    assert any("all in the test set" in caveat for caveat in Streets().caveats)
