"""`evaluate` takes anybody's files: what is damaged or odd is refused or said, and nothing is overwritten."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from typer.testing import CliRunner

from atso_bench.benchmark.cli import app
from atso_bench.benchmark.scoring import metrics
from atso_bench.benchmark.scoring.evaluate import Evaluation, evaluate_folders, lines

BLOCK = np.zeros((6, 8, 10), np.uint8)
BLOCK[1:4, 2:6, 2:8] = 1


class Folders:
    """Predictions and references of one case, equal unless something is done to them."""

    def __init__(self, root: Path) -> None:
        self.root, self.mine, self.its, self.output = root, root / "mine", root / "its", root / "scores.csv"
        for folder in (self.mine, self.its):
            folder.mkdir()

    def pair(self, mine: np.ndarray = BLOCK, its: np.ndarray = BLOCK, ending: str = ".nii.gz", case: str = "a") -> Path:
        for folder, array in ((self.mine, mine), (self.its, its)):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"{case}{ending}"), ending != ".nii")
        return self.mine / f"{case}{ending}"

    def describe(self, text: str | bytes | dict[str, Any]) -> None:
        content = json.dumps(text) if isinstance(text, dict) else text
        (self.its / "dataset.json").write_bytes(content.encode() if isinstance(content, str) else content)

    def evaluate(self, **options: Any) -> Evaluation:
        return evaluate_folders(self.mine, self.its, self.output, **options)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


Damage = Callable[[bytes], bytes]


def keep(share: float) -> Damage:
    return lambda content: content[: int(len(content) * share)]


def flip(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[-24] ^= 4
    return bytes(changed)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd", ".png"])
@pytest.mark.parametrize("damage", [keep(0.6), lambda content: content[:-20], flip], ids=["60 %", "20 bytes", "a bit"])
@pytest.mark.parametrize("side", ["mine", "its"])
def test_damaged_masks_have_no_score(folders: Folders, ending: str, damage: Damage, side: str) -> None:
    array = BLOCK[2] if ending == ".png" else BLOCK
    folders.pair(array, array, ending)
    path = getattr(folders, side) / f"a{ending}"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{side}.a\{ending} is not readable"):
        folders.evaluate()
    assert not folders.output.exists()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_nan_is_no_background(folders: Folders, ending: str) -> None:
    mine = BLOCK.astype(np.float32)
    mine[:3][BLOCK[:3] > 0] = np.nan
    folders.pair(mine, BLOCK, ending)
    with pytest.raises(ValueError, match=r"voxels are NaN or infinite|holds nan"):
        folders.evaluate()


def test_a_value_that_is_almost_a_label_is_shown_in_full(folders: Folders) -> None:
    folders.pair((BLOCK * np.float32(0.9999999)).astype(np.float32))
    with pytest.raises(ValueError, match=r"holds 0\.9999999; a segmentation holds class indices.*round the values"):
        folders.evaluate()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"labels": {"a": 1e400}}', "give each name a number"),
        ('{"labels": {"a": Infinity}}', "give each name a number"),
        ('{"labels": {"a": NaN}}', "give each name a number"),
        ('{"labels": {"a": 1.7}}', "give each name a number"),
        ('{"labels": {"a": true}}', "give each name a number"),
        ('{"labels": {"a": 1, "a": 2}}', "'a' occurs twice"),
        ('{"labels": {"1": "a", "1": "b"}}', "'1' occurs twice"),
        ('{"labels": {"1": "a", "2": "a"}}', "same name"),
        ('{"labels": ' + "[" * 100_000, "not valid JSON"),
        ('{"labels": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}", "not valid JSON: it is nested too deeply"),
        (b"\xff\xfe\xfa", "not valid JSON"),
        ("[]", "must hold an object"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused_by_file(folders: Folders, text: str | bytes, told: str) -> None:
    folders.pair()
    folders.describe(text)
    with pytest.raises(ValueError, match=f"dataset.json.*{told}"):
        folders.evaluate()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_description_may_come_from_windows(folders: Folders, encoding: str) -> None:
    folders.pair()
    folders.describe(json.dumps({"labels": {"background": 0, "Leber": 1}}).encode(encoding))
    assert list(folders.evaluate().cases["a"]) == ["Leber"]


@pytest.mark.parametrize("name", ["mine/a.nii.gz", "its/a.nii.gz", "its/dataset.json"])
def test_a_pipe_is_not_waited_for(folders: Folders, name: str) -> None:
    folders.pair()
    (folders.root / name).unlink(missing_ok=True)
    os.mkfifo(folders.root / name)
    with pytest.raises(ValueError, match="not a regular file"):
        folders.evaluate()


def test_a_pipe_among_frames_is_not_waited_for(folders: Folders) -> None:
    name = "aachen_000000_000019"
    Image.fromarray(np.full((4, 5), 7, np.uint8)).save(folders.its / f"{name}_gtFine_labelIds.png")
    os.mkfifo(folders.mine / f"{name}.png")
    with pytest.raises(ValueError, match="not a regular file"):
        folders.evaluate()


@pytest.mark.parametrize("command", ["evaluate", "prepare"])
def test_a_name_that_is_not_utf_8_ends_in_a_message(folders: Folders, command: str) -> None:
    raw = folders.root / "raw" / "Dataset704_Name"
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "dataset.json").write_text(
        '{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}'
    )
    folders.pair()
    try:
        for folder in (folders.mine, folders.its, raw / "imagesTr"):
            (folder / os.fsdecode(b"b\xff_0000.nii.gz")).write_bytes((folders.mine / "a.nii.gz").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    words = ["prepare", "704"] if command == "prepare" else ["evaluate", "--predictions", "mine", "--references", "its"]
    done = subprocess.run(
        [sys.executable, "-m", "atso_bench.benchmark.cli", *words],
        cwd=folders.root,
        env={**os.environ, "nnUNet_raw": str(folders.root / "raw"), "ATSO_BENCH_DATA": str(folders.root / "data")},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "its name is not UTF-8; rename it" in done.stderr
    assert "udcff" in done.stderr


@pytest.mark.parametrize("name", ["mine/a.nii.gz", "its/a.nii.gz", "its/dataset.json", "mine/../its/a.nii.gz"])
def test_the_table_takes_no_inputs_place(folders: Folders, name: str) -> None:
    folders.pair()
    folders.describe({"labels": {"background": 0, "organ": 1}})
    before = (folders.root / name).read_bytes()
    with pytest.raises(ValueError, match="exists and is not a table"):
        evaluate_folders(folders.mine, folders.its, folders.root / name)
    assert (folders.root / name).read_bytes() == before
    folders.evaluate()
    folders.evaluate()  # a table of before is replaced


def test_a_name_that_is_too_long_for_the_table_is_told(folders: Folders) -> None:
    folders.pair()
    done = CliRunner().invoke(
        app,
        ["evaluate", "--predictions", str(folders.mine), "--references", str(folders.its), "--output", "x" * 300],
    )
    assert done.exit_code == 2
    assert "File name too long" in done.output


def test_a_case_may_have_as_long_a_name_as_a_file(folders: Folders) -> None:
    folders.pair(case="c" * 240)
    assert list(folders.evaluate().cases) == ["c" * 240]


def test_time_is_no_axis_in_space(folders: Folders) -> None:
    for folder in (folders.mine, folders.its):
        nibabel.save(nibabel.Nifti1Image(np.stack([BLOCK, BLOCK], -1), np.eye(4)), folder / "a.nii.gz")
    with pytest.raises(ValueError, match=r"a\.nii\.gz has 4 axes \(6 x 8 x 10 x 2\).*write each frame to its own file"):
        folders.evaluate()


def test_no_label_in_common_is_said(folders: Folders) -> None:
    folders.pair(BLOCK * np.uint8(255), BLOCK)
    told = lines(folders.evaluate())
    assert [line for line in told if line.startswith("note: ")] == [
        "note: predictions hold 255, references 1: no label in common, so nothing can agree; give both the same numbers"
    ]


def test_no_voxel_in_common_is_said(folders: Folders) -> None:
    folders.describe({"labels": {"background": 0, "organ": 1}})
    folders.pair(np.flip(BLOCK, 0).copy() * (np.arange(6) > 3)[:, None, None].astype(np.uint8), BLOCK)
    assert any("no voxel of any class agrees" in line for line in lines(folders.evaluate()))
    folders.pair(BLOCK * 0, BLOCK)  # an empty mask is another matter, which the table says
    assert not folders.evaluate().notes


def test_one_bit_pictures_are_masks_of_zero_and_one(folders: Folders) -> None:
    Image.fromarray(BLOCK[2] * 255).convert("1").save(folders.mine / "a.png")
    Image.fromarray(BLOCK[2]).save(folders.its / "a.png")
    assert folders.evaluate().cases["a"]["class 1"]["dice"] == 1


def placed(path: Path, spacing: float = 1.0, origin: float = 0.0) -> None:
    image = sitk.ReadImage(str(path))
    image.SetSpacing((spacing,) * 3)
    image.SetOrigin((origin,) * 3)
    sitk.WriteImage(image, str(path))


def test_another_origin_can_be_ignored_by_those_who_know(folders: Folders) -> None:
    placed(folders.pair(), origin=2.0)
    with pytest.raises(ValueError, match=r"origin is 2 2 2, the reference's 0 0 0; --ignore-origin"):
        folders.evaluate()
    assert folders.evaluate(ignore_origin=True).cases["a"]["class 1"]["dice"] == 1
    folders.describe({"labels": {"background": 0, "organ": 1}, "ignore_origin": True})
    assert folders.evaluate().cases["a"]["organ"]["dice"] == 1
    placed(folders.mine / "a.nii.gz", spacing=2.0)
    with pytest.raises(ValueError, match=r"spacing is 2 2 2, the reference's 1 1 1$"):
        folders.evaluate(ignore_origin=True)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_spacing_is_compared_by_its_own_size(folders: Folders, scale: float) -> None:
    """Micrometres are as far apart as millimetres are."""
    folders.pair(ending=".nrrd")
    for folder, spacing in ((folders.mine, 1.0004 * scale), (folders.its, scale)):
        placed(folder / "a.nrrd", spacing)
    assert folders.evaluate().cases["a"]["class 1"]["dice"] == 1
    placed(folders.mine / "a.nrrd", 1.1 * scale)
    with pytest.raises(ValueError, match="the prediction's spacing is"):
        folders.evaluate()


def test_an_origin_far_away_may_be_rounded_but_not_moved_by_a_voxel(folders: Folders) -> None:
    folders.pair(ending=".nrrd")
    for origin in (10_000.0, 10_000.0001, 10_000.005):
        placed(folders.mine / "a.nrrd", 1.0, 10_000.0)
        placed(folders.its / "a.nrrd", 1.0, origin)
        assert folders.evaluate().cases["a"]["class 1"]["dice"] == 1
    placed(folders.its / "a.nrrd", 1.0, 10_001.0)
    with pytest.raises(ValueError, match="the prediction's origin is 10000 10000 10000, the reference's 10001"):
        folders.evaluate()


def test_numbers_that_look_the_same_are_shown_in_full(folders: Folders) -> None:
    folders.pair(ending=".nrrd")
    placed(folders.mine / "a.nrrd", 0.001, 123456.4)
    placed(folders.its / "a.nrrd", 0.001, 123456.1)
    with pytest.raises(ValueError, match=r"origin is 123456\.4 .*, the reference's 123456\.1 "):
        folders.evaluate()


REGIONS: dict[str, Any] = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


def test_regions_are_scored_whole(folders: Folders) -> None:
    rng = np.random.default_rng(0)
    mine, its = (rng.integers(0, 4, (6, 7, 8)).astype(np.uint8) for _ in range(2))
    folders.pair(mine, its)
    folders.describe({"labels": REGIONS, "regions_class_order": [1, 2, 3]})
    found = folders.evaluate()
    assert list(found.cases["a"]) == ["whole", "core", "enhancing"]
    for name, values in (("whole", [1, 2, 3]), ("core", [2, 3]), ("enhancing", [3])):
        one, other = (np.isin(labels, values).astype(np.uint8) for labels in (mine, its))
        expected = metrics.score_case(one, other, ("background", name), (1.0, 1.0, 1.0))
        assert found.cases["a"][name] == expected[name]
    assert list(found.summary["metrics"]["dice"]["classes"]) == ["whole", "core", "enhancing"]


def test_ignored_voxels_of_regions_do_not_count(folders: Folders) -> None:
    its = BLOCK.copy()
    its[1] = 4
    folders.pair(BLOCK, its)
    folders.describe({"labels": {**REGIONS, "ignore": 4}})
    assert folders.evaluate().cases["a"]["whole"]["dice"] == 1
    folders.pair(its, BLOCK)
    with pytest.raises(ValueError, match=r"holds \[4\], which are no labels of"):
        folders.evaluate()


def test_regions_that_do_not_overlap_are_read_at_once_and_scored_alike(folders: Folders) -> None:
    rng = np.random.default_rng(1)
    mine, its = (rng.integers(0, 4, (6, 7, 8)).astype(np.uint8) for _ in range(2))
    folders.pair(mine, its)
    folders.describe({"labels": {"background": 0, "left": [1, 2], "right": [3]}})
    one, other = (np.array([0, 1, 1, 2], np.uint8)[labels] for labels in (mine, its))
    expected = metrics.score_case(one, other, ("background", "left", "right"), (1, 1, 1))
    assert folders.evaluate().cases["a"] == expected


def test_a_dataset_that_was_packed_member_by_member_is_scored(folders: Folders) -> None:
    path = folders.pair()
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    assert folders.evaluate().cases["a"]["class 1"]["dice"] == 1
