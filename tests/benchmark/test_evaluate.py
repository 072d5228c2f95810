"""Two folders of segmentations: pairing, geometry, class names and the table."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from atso_bench.benchmark.scoring import metrics
from atso_bench.benchmark.scoring.evaluate import Evaluation, evaluate_folders, harmless, lines

SPACING = (0.5, 1.0, 3.0)  # mm by x, y, z, as SimpleITK has it
NAMES = {"background": 0, "organ": 1, "lesion": 2}


def save(path: Path, array: np.ndarray, **geometry: Any) -> None:
    """Write ``(z, y, x)`` with SPACING unless ``geometry`` says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array)
    for what, value in {"Spacing": SPACING[: array.ndim], **geometry}.items():
        getattr(image, f"Set{what}")(value)
    SimpleITK.WriteImage(image, str(path))


def box(*sides: slice, value: int = 1, kind: Any = np.uint8) -> np.ndarray:
    array = np.zeros((6, 8, 10), kind)
    array[sides] = value
    return array


BLOCK = box(slice(1, 4), slice(2, 6), slice(2, 8))
BLANK = np.zeros_like(BLOCK)
MOVED = box(slice(2, 5), slice(2, 6), slice(2, 8))  # one slice of 3 mm along z


class Folders:
    """A folder of predictions, a folder of references, and the table to write."""

    def __init__(self, root: Path) -> None:
        self.predictions, self.references, self.output = root / "predicted", root / "true" / "labelsTr", root / "a.csv"
        self.predictions.mkdir()
        self.references.mkdir(parents=True)

    def pair(self, case: str, prediction: np.ndarray, reference: np.ndarray, **geometry: Any) -> None:
        save(self.predictions / f"{case}.nii.gz", prediction, **geometry)
        save(self.references / f"{case}.nii.gz", reference)

    def evaluate(self, **options: Any) -> Evaluation:
        return evaluate_folders(self.predictions, self.references, self.output, **options)

    def table(self) -> list[dict[str, str]]:
        with self.output.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def describe(folder: Path, labels: Any, **more: Any) -> None:
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, **more}))


def test_a_case_is_scored_in_millimetres(folders: Folders) -> None:
    folders.pair("case_1", MOVED, BLOCK)
    found = folders.evaluate()
    scores = found.cases["case_1"]["class 1"]
    assert scores["dice"] == pytest.approx(2 / 3)
    assert scores["hd95_mm"] == pytest.approx(3.0)
    assert scores["volume_reference_ml"] == pytest.approx(BLOCK.sum() * 1.5 / 1000)
    expected = metrics.score_case(MOVED, BLOCK, ("background", "class 1"), SPACING[::-1])
    assert found.cases["case_1"] == expected
    assert found.summary == metrics.summarise(found.cases)


def test_the_table_has_a_row_for_each_case_and_class(folders: Folders) -> None:
    describe(folders.references, NAMES)
    folders.pair("case_2", BLOCK, BLOCK)
    folders.pair("case_1", BLANK, box(slice(1), slice(1), slice(1), value=2))
    found = folders.evaluate()
    rows = folders.table()
    keys = [("case_1", "organ"), ("case_1", "lesion"), ("case_2", "organ"), ("case_2", "lesion")]
    assert [(row["case"], row["class"]) for row in rows] == keys
    assert list(rows[0])[2:] == list(found.cases["case_1"]["organ"])
    assert [row["dice"] for row in rows] == ["", "0.0", "1.0", ""]
    assert [row["empty"] for row in rows] == ["both", "prediction", "", "both"]
    assert math.isnan(float(found.cases["case_1"]["organ"]["dice"]))
    assert [path.name for path in folders.output.parent.glob("*partial*")] == []


@pytest.mark.parametrize("where", ["beside the references", "above the references", "beside the predictions"])
@pytest.mark.parametrize("labels", [NAMES, {"0": "background", "1": "organ", "2": "lesion"}], ids=["nnU-Net", "MSD"])
def test_class_names_come_from_a_dataset_file(where: str, labels: dict[str, Any], folders: Folders) -> None:
    places = {
        "beside the references": folders.references,
        "above the references": folders.references.parent,
        "beside the predictions": folders.predictions,
    }
    describe(places[where], labels)
    folders.pair("case_1", BLOCK, BLOCK)
    assert list(folders.evaluate().cases["case_1"]) == ["organ", "lesion"]


def test_without_names_every_value_that_occurs_is_a_class(folders: Folders) -> None:
    (folders.predictions / "dataset.json").write_text('{"name": "no labels here"}')
    folders.pair("case_1", BLOCK * 5, BLOCK * np.uint16(420))
    folders.pair("case_2", BLOCK, BLOCK)
    found = folders.evaluate()
    assert list(found.cases["case_1"]) == ["class 1", "class 5", "class 420"]
    assert found.cases["case_2"]["class 1"]["dice"] == 1
    assert found.cases["case_1"]["class 420"]["empty"] == "prediction"


def test_ignored_voxels_do_not_count(folders: Folders) -> None:
    describe(folders.references, {**NAMES, "ignore": 3})
    folders.pair("case_1", BLOCK, np.where(MOVED == BLOCK, BLOCK, 3).astype(np.uint8))
    found = folders.evaluate()
    assert found.cases["case_1"]["organ"]["dice"] == 1
    assert list(found.cases["case_1"]) == ["organ", "lesion"]


def test_a_prediction_that_holds_the_ignored_value_is_an_error(folders: Folders) -> None:
    describe(folders.references, {**NAMES, "ignore": 3})
    folders.pair("case_1", BLOCK * 3, BLOCK)
    with pytest.raises(ValueError, match=r"predicted.case_1\.nii\.gz holds \[3\], which are no labels"):
        folders.evaluate()


@pytest.mark.parametrize("value", [7, -1, 0.5])
def test_an_unknown_value_is_an_error_that_names_the_file(value: float, folders: Folders) -> None:
    describe(folders.references, NAMES)
    folders.pair("case_1", BLOCK, (BLOCK * np.float64(value)).astype(np.float32 if value == 0.5 else np.int16))
    with pytest.raises(ValueError, match=r"labelsTr.case_1\.nii\.gz holds"):
        folders.evaluate()


def test_whole_numbers_stored_as_floats_are_labels(folders: Folders) -> None:
    folders.pair("case_1", BLOCK.astype(np.float32), BLOCK)
    assert folders.evaluate().cases["case_1"]["class 1"]["dice"] == 1


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"Spacing": (0.5, 1.0, 2.9)}, r"spacing is 0\.5 1 2\.9, the reference's 0\.5 1 3"),
        ({"Origin": (0.0, 0.0, 1.0)}, r"origin is 0 0 1, the reference's 0 0 0"),
        ({"Direction": (-1, 0, 0, 0, 1, 0, 0, 0, 1)}, r"direction is -1 0 0 0 1 0 0 0 1, the reference's 1 0"),
    ],
)
def test_another_geometry_is_an_error_that_says_what_differs(
    geometry: dict[str, Any], message: str, folders: Folders
) -> None:
    folders.pair("case_1", BLOCK, BLOCK, **geometry)
    with pytest.raises(ValueError, match=f"'case_1': the prediction's {message}"):
        folders.evaluate()
    assert not folders.output.exists()


def test_another_size_is_an_error(folders: Folders) -> None:
    folders.pair("case_1", BLOCK[1:], BLOCK)
    with pytest.raises(ValueError, match="'case_1': the prediction's size is 10 8 5, the reference's 10 8 6"):
        folders.evaluate()


def test_the_rounding_of_stored_geometry_is_no_difference(folders: Folders) -> None:
    folders.pair("case_1", BLOCK, BLOCK, Spacing=(0.5, 1.0, 3.00001), Origin=(0.0, 1e-5, 0.0))
    assert folders.evaluate().cases["case_1"]["class 1"]["dice"] == 1


def test_cases_without_a_partner_are_an_error_that_lists_them_all(folders: Folders) -> None:
    folders.pair("both", BLOCK, BLOCK)
    save(folders.predictions / "p.nii.gz", BLOCK)
    save(folders.references / "r1.nii.gz", BLOCK)
    save(folders.references / "r2.nii.gz", BLOCK)
    with pytest.raises(ValueError, match=r"'r1' has no prediction; 'r2' has no prediction; 'p' has no reference"):
        folders.evaluate()
    found = folders.evaluate(allow_missing=True)
    assert list(found.cases) == ["both"]
    assert found.missing == ("r1", "r2", "p")


def test_no_pair_at_all_is_an_error_also_where_cases_may_be_missing(folders: Folders) -> None:
    save(folders.predictions / "p.nii.gz", BLOCK)
    save(folders.references / "r.nii.gz", BLOCK)
    with pytest.raises(ValueError, match=r"'r' has no prediction; 'p' has no reference$"):
        folders.evaluate(allow_missing=True)


def test_formats_mix_and_other_files_are_left_alone(folders: Folders) -> None:
    for name in ("plans.json", "case_1.npz", "._case_1.nii.gz"):
        (folders.predictions / name).write_text("x")
    save(folders.predictions / "case_1.mha", BLOCK)
    save(folders.references / "case_1.nrrd", BLOCK)
    save(folders.predictions / "case_2.nii", BLOCK)
    save(folders.references / "case_2.nii.gz", BLOCK)
    assert list(folders.evaluate().cases) == ["case_1", "case_2"]


def test_frames_have_two_axes(folders: Folders) -> None:
    for folder in (folders.predictions, folders.references):
        save(folder / "frame.png", BLOCK[2] * 255)
    assert folders.evaluate().cases["frame"]["class 255"]["dice"] == 1


def test_wrong_folders_are_errors(folders: Folders) -> None:
    with pytest.raises(ValueError, match=r"labelsTr holds no segmentation .*, nor frames as \*_gtFine_labelIds\.png"):
        folders.evaluate()
    save(folders.references / "case_1.nrrd", BLOCK)
    with pytest.raises(ValueError, match="predicted holds no segmentation"):
        folders.evaluate()
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        evaluate_folders(folders.predictions / "nowhere", folders.references, folders.output)
    (folders.references / "case_1.nrrd").unlink()
    folders.pair("case_1", BLOCK, BLOCK)
    save(folders.predictions / "case_1.nrrd", BLOCK)
    with pytest.raises(ValueError, match=r"two segmentations of 'case_1': case_1\.nii\.gz and case_1\.nrrd"):
        folders.evaluate()


def test_an_unreadable_file_is_an_error_that_names_it(folders: Folders) -> None:
    folders.pair("case_1", BLOCK, BLOCK)
    path = folders.predictions / "case_1.nii.gz"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(ValueError, match=r"case_1\.nii\.gz is not readable"):
        folders.evaluate()


def test_colours_are_no_labels(folders: Folders) -> None:
    for folder in (folders.predictions, folders.references):
        image = SimpleITK.GetImageFromArray(np.zeros((4, 4, 3), np.uint8), isVector=True)
        SimpleITK.WriteImage(image, str(folder / "frame.png"))
    with pytest.raises(ValueError, match="has 3 values per voxel"):
        folders.evaluate()


def test_nothing_to_score_is_an_error(folders: Folders) -> None:
    folders.pair("case_1", BLANK, BLANK)
    with pytest.raises(ValueError, match="no file holds a label other than 0"):
        folders.evaluate()


SHARED: list[Any] = [{"a": 1, "b": 1}, {"1": "a", "2": "a"}, {"whole": [0, 1]}, {"whole": [1, 1]}]
ODD: list[Any] = [{"a": 1.7}, {"a": True}, {"a": math.inf}, {"a": []}, {"a": [[1]]}, {"a\nb": 1}, {"1": 2}]


@pytest.mark.parametrize("labels", [*SHARED, {"a": 1, "ignore": 1}, ["a"], {"a": "x"}, *ODD])
def test_labels_that_name_no_classes_are_an_error(labels: Any, folders: Folders) -> None:
    describe(folders.references, labels)
    folders.pair("case_1", BLOCK, BLOCK)
    with pytest.raises(ValueError, match=r"dataset\.json"):
        folders.evaluate()


def test_what_is_told_names_every_metric_and_what_is_undefined(folders: Folders) -> None:
    folders.pair("case_1", MOVED, BLOCK)
    folders.pair("case_2", BLANK, BLOCK)
    save(folders.references / "r.nii.gz", BLOCK)
    told = lines(folders.evaluate(allow_missing=True))
    assert [line.split()[0] for line in told[: len(metrics.METRICS)]] == list(metrics.METRICS)
    assert "dice                     0.3333" in told
    assert "hd95_mm                  3.0000  (1 of 2 undefined: empty masks)" in told
    assert told[-2:] == ["not scored, because one folder lacks them: r", f"2 cases -> {folders.output}"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_name_is_never_a_formula(name: str) -> None:
    assert harmless(name) == "'" + name
    assert harmless("a" + name) == "a" + name


def test_the_table_holds_no_formula(folders: Folders) -> None:
    describe(folders.references, {"background": 0, "@organ, or so": 1})
    folders.pair("=HYPERLINK(1)", BLOCK, BLOCK)
    folders.evaluate()
    assert [(row["case"], row["class"]) for row in folders.table()] == [("'=HYPERLINK(1)", "'@organ, or so")]
