"""PASCAL VOC 2012 in its own layout, with and without SBD's masks, on a miniature that the test makes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from frames_data import save
from PIL import Image
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.splits import read_list
from atso_bench.benchmark.task import IGNORE
from atso_bench.datasets.voc import Voc

TRAIN = ("2007_000032", "2007_000039", "2008_000008")
SBD = ("2008_000015", "2009_000001", "2010_000002", "2011_000003")
VAL = ("2007_000033", "2007_000042")
SIZES = ((60, 40), (40, 60), (50, 50))


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ATSO_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def mask_of(name: str) -> np.ndarray:
    """A frame's mask ``(H, W)``: background, two classes that the name picks, and a border that does not count."""
    number = int(name[-2:]) + int(name[:4])
    mask = np.zeros(SIZES[number % 3], np.uint8)
    mask[5:25, 5:25] = 1 + number % 20
    mask[28:38, 10:30] = 1 + (number + 7) % 20
    mask[4, 4:26] = 255
    return mask


def write_list(folder: Path, name: str, ids: Iterable[str]) -> None:
    path = folder / "ImageSets" / "Segmentation" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{each}\n" for each in ids), encoding="utf-8")


def write_mask(path: Path, mask: np.ndarray) -> None:
    """As VOC's are: indices of a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = Image.fromarray(mask).convert("P")
    shown.putpalette([value * 5 % 256 for value in range(768)])
    shown.save(path)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """VOC alone: seven images, five masks."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name in (*TRAIN, *SBD, *VAL):
        mask = mask_of(name)
        noise = np.random.default_rng(int(name.replace("_", ""))).integers(0, 60, (*mask.shape, 3))
        colours = np.stack([mask * 9 % 200, mask * 23 % 200, mask * 41 % 200], axis=-1) + noise
        save(folder / "JPEGImages" / f"{name}.jpg", colours.clip(0, 255).astype(np.uint8))
    for name in (*TRAIN, *VAL):
        write_mask(folder / "SegmentationClass" / f"{name}.png", mask_of(name))
    write_list(folder, "train.txt", TRAIN)
    write_list(folder, "val.txt", VAL)
    return folder


@pytest.fixture
def augmented(voc: Path) -> Path:
    """The same with SBD's masks, of all frames, as grey images."""
    for name in (*TRAIN, *SBD, *VAL):
        save(voc / "SegmentationClassAug" / f"{name}.png", mask_of(name))
    return voc


def prepared(source: Path) -> Voc:
    dataset = Voc()
    dataset.prepare(source)
    return dataset


def test_all_masks_but_vals_are_the_pool_and_val_is_the_test_set(augmented):
    dataset = prepared(augmented)
    assert (set(dataset.pool), set(dataset.test), dataset.unlabelled) == ({*TRAIN, *SBD}, {*VAL}, ())


def test_without_sbd_the_pool_is_vocs_own(voc):
    assert set(prepared(voc).pool) == {*TRAIN}


@pytest.mark.parametrize("name", ["trainaug.txt", "train_aug.txt"])
def test_a_list_of_the_augmented_training_set_is_followed(name, augmented):
    write_list(
        augmented, name, (f"/JPEGImages/{each}.jpg /SegmentationClassAug/{each}.png" for each in (*TRAIN, SBD[0]))
    )
    assert set(prepared(augmented).pool) == {*TRAIN, SBD[0]}


def test_the_test_set_is_scored_by_vocs_own_masks(augmented):
    save(augmented / "SegmentationClassAug" / f"{VAL[0]}.png", np.zeros_like(mask_of(VAL[0])))
    np.testing.assert_array_equal(prepared(augmented).hidden_label(VAL[0]), mask_of(VAL[0]))


def test_there_are_21_classes_background_included_in_vocs_colours_and_255_does_not_count(voc):
    dataset = prepared(voc)
    assert len(dataset.classes.names) == 21
    by_hand = {"background": (0, 0, 0), "aeroplane": (128, 0, 0), "bird": (128, 128, 0), "person": (192, 128, 128)}
    found = dict(zip(dataset.classes.names, dataset.classes.palette, strict=True))
    assert {**found, **by_hand} == found
    assert found["tvmonitor"] == (0, 64, 128)
    label = dataset.hidden_label(TRAIN[0])
    np.testing.assert_array_equal(label, mask_of(TRAIN[0]))
    assert (label == IGNORE).any()
    task = dataset.task(dataset.pool, dataset.pool, Budget.parse("smoke"), {})
    assert task.metric.scored(task.classes) == task.classes == dataset.classes.names


def test_the_record_says_that_it_is_not_the_official_data(augmented):
    dataset = prepared(augmented)
    assert (
        "not the official PASCAL VOC 2012 with SBD's masks: 7 + 2 frames instead of 10,582 + 1,449"
        in dataset.caveats[0]
    )


def test_the_folder_above_is_answered_with_the_right_one(voc):
    with pytest.raises(ValueError, match=rf"holds no JPEGImages.*give {voc}"):
        Voc().prepare(voc.parents[1])


def test_all_that_is_wrong_is_named_in_one_pass(augmented, root):
    (augmented / "JPEGImages" / f"{TRAIN[0]}.jpg").unlink()
    for folder in ("SegmentationClass", "SegmentationClassAug"):
        (augmented / folder / f"{VAL[0]}.png").unlink()
    save(augmented / "SegmentationClassAug" / f"{SBD[0]}.png", np.full(mask_of(SBD[0]).shape, 30, np.uint8))
    save(augmented / "SegmentationClassAug" / f"{SBD[1]}.png", np.zeros((*mask_of(SBD[1]).shape, 3), np.uint8))
    with pytest.raises(ValueError, match="has 4 problem") as refused:
        Voc().prepare(augmented)
    for text in (
        f"JPEGImages/{TRAIN[0]}.jpg is missing",
        f"{VAL[0]}: it has no mask in SegmentationClass or SegmentationClassAug",
        f"SegmentationClassAug/{SBD[0]}.png: values 30 are not in VOC's table",
        f"SegmentationClassAug/{SBD[1]}.png: has 3 values per voxel",
    ):
        assert text in str(refused.value)
    assert not list(root.rglob("prepared.json"))


def test_a_missing_list_of_val_is_named(voc):
    (voc / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"ImageSets/Segmentation/val.txt is missing"):
        Voc().prepare(voc)


def test_lists_with_names_are_the_users_own_files(augmented):
    with pytest.raises(LookupError, match="--split-list labelled=FILE"):
        prepared(augmented).published("unimatch", "92cases")


def test_pairs_of_files_in_a_list_are_frames(tmp_path):
    path = tmp_path / "labeled.txt"
    path.write_text("JPEGImages/2007_000032.jpg SegmentationClass/2007_000032.png\n", encoding="utf-8")
    assert read_list(path) == ("2007_000032",)


def test_two_methods_run_with_a_list_of_the_users_own(augmented, tmp_path):
    listed = tmp_path / "labeled.txt"
    listed.write_text(
        "".join(f"JPEGImages/{each}.jpg SegmentationClass/{each}.png\n" for each in (TRAIN[1], SBD[2])),
        encoding="utf-8",
    )
    runner, out = CliRunner(), tmp_path / "out"
    assert runner.invoke(app, ["prepare", "voc", "--from", str(augmented)]).exit_code == 0
    words = ["-m", "supervised,mean-teacher", "-f", "2cases", "-d", "voc", "--split-list", f"labelled={listed}"]
    result = runner.invoke(app, ["run", *words, "--budget", "smoke", "--workers", "0", "--out", str(out)])
    assert result.exit_code == 0, result.output
    files = sorted((out / "records" / "voc").rglob("seed*.json"))
    assert len(files) == 2
    for file in files:
        record = json.loads(file.read_text(encoding="utf-8"))
        assert record["split"]["labelled"] == sorted((TRAIN[1], SBD[2]))
        assert set(record["split"]["unlabelled"]) == {*TRAIN, *SBD} - {TRAIN[1], SBD[2]}
        assert len(record["classes"]) == len(record["palette"]) == 21
        scores = record["cases"][VAL[0]]
        counted = sum(scores[name]["tp"] + scores[name]["fn"] for name in scores)
        assert counted == int((mask_of(VAL[0]) != IGNORE).sum())
    assert (out / "report" / "index.html").is_file()
    assert registry.dataset("voc").is_ready()[0]
