"""Folders of Cityscapes label images: the official evaluator's own numbers, pairing, conversion and wrong files."""

from __future__ import annotations

import csv
import math
import shutil
import struct
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atso_bench.benchmark.scoring.evaluate import Evaluation, evaluate_folders, lines
from atso_bench.benchmark.scoring.evaluate_frames import read_labels
from atso_bench.benchmark.scoring.label_tables import CLASSES

ROAD, PERSON, TRAIN, EGO, UNLABELLED = 7, 24, 31, 1, 0  # label ids


def ids(values: str) -> np.ndarray:
    """``7 24 / 7 0`` as an image of label ids."""
    return np.array([row.split() for row in values.split("/")], np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


class Folders:
    """References in Cityscapes' layout, predictions as one submits them, and the table to write."""

    def __init__(self, root: Path) -> None:
        self.predictions, self.references, self.output = root / "predicted", root / "gtFine" / "val", root / "a.csv"
        self.predictions.mkdir()
        self.references.mkdir(parents=True)

    def pair(self, frame: str, prediction: np.ndarray | None, reference: np.ndarray, kind: str = "labelIds") -> None:
        save(self.references / frame.split("_")[0] / f"{frame}_gtFine_{kind}.png", reference)
        if prediction is not None:
            save(self.predictions / f"{frame}_pred.png", prediction)

    def evaluate(self, **options: Any) -> Evaluation:
        return evaluate_folders(self.predictions, self.references, self.output, **options)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def officially(folders: Folders) -> dict[str, Any]:
    """What cityscapesscripts makes of the folders: its own pairing, its own counting, its own averages."""
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

    args = SimpleNamespace(**vars(official.args))
    args.evalInstLevelScore = args.JSONOutput = args.evalPixelAccuracy = False
    args.quiet, args.predictionPath, args.predictionWalk = True, str(folders.predictions), None
    true = sorted(map(str, folders.references.rglob("*_labelIds.png")))
    return official.evaluateImgLists([official.getPrediction(args, path) for path in true], true, args)


def assert_equals_the_official_scores(found: Evaluation, expected: Mapping[str, Any]) -> None:
    from cityscapesscripts.helpers.labels import labels

    summary, evaluated = found.summary, [label for label in labels if not label.ignoreInEval]
    for label in evaluated:
        ours, its = summary["metrics"]["miou"]["classes"][label.name]["mean"], expected["classScores"][label.name]
        assert ours == pytest.approx(its, abs=1e-12, nan_ok=True), label.name
        assert f"{ours:>5.3f}" == f"{its:>5.3f}"  # as it prints them
    assert summary["official_miou"] == pytest.approx(expected["averageScoreClasses"], abs=1e-12, nan_ok=True)

    joint = np.array(expected["confMatrix"], np.int64)
    rows = [label.id for label in sorted(evaluated, key=lambda label: label.trainId)]
    square = joint[np.ix_(rows, rows)]
    np.testing.assert_array_equal(summary["confusion"], square)
    np.testing.assert_array_equal(summary["unevaluated"], joint[rows].sum(axis=1) - square.sum(axis=1))
    counted = int(joint[rows].sum())
    right = joint[rows, rows].sum() / counted if counted else math.nan
    assert summary["metrics"]["pixel_accuracy"]["mean"] == pytest.approx(right, abs=1e-12, nan_ok=True)
    assert summary["absent"] == [name for name, row in zip(CLASSES, rows, strict=True) if not joint[row].any()]
    occur = [expected["classScores"][name] for name in CLASSES if name not in summary["absent"]]
    headline = math.fsum(occur) / len(occur) if occur else math.nan
    assert summary["metrics"]["miou"]["mean"] == pytest.approx(headline, abs=1e-12, nan_ok=True)


# Beside the official evaluator


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_scores_equal_the_official_evaluators_on_any_frames(data: st.DataObject) -> None:
    """Ids of the whole table on both sides: ignored, not evaluated, missing, and found where they never are."""
    some = st.lists(st.integers(0, 33), min_size=1, max_size=34, unique=True)
    true, guessed = data.draw(some, "ids of the references"), data.draw(some, "ids of the predictions")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    right = data.draw(st.floats(0, 1), "share that is right")
    with tempfile.TemporaryDirectory() as root:
        folders = Folders(Path(root))
        for number in range(data.draw(st.integers(1, 3), "frames")):
            reference = rng.choice(true, (6, 9)).astype(np.uint8)
            prediction = np.where(rng.random((6, 9)) < right, reference, rng.choice(guessed, (6, 9))).astype(np.uint8)
            folders.pair(f"jena_000000_{number:06}", prediction, reference)
        assert_equals_the_official_scores(folders.evaluate(), officially(folders))
        assert {path.suffix for path in Path(root).rglob("*.*")} == {".png", ".csv"}


def test_each_special_case_equals_the_official_evaluators(folders: Folders) -> None:
    """By hand too: train is predicted and never true, bus is in neither, some pixels are ignored or not evaluated."""
    folders.pair("jena_000000_000001", ids("7 7 31 24 / 31 7 0 24"), ids("7 7 7 24 / 1 0 7 24"))
    folders.pair("ulm_000000_000001", ids("24 24 24 24 / 7 7 7 7"), ids("24 7 24 24 / 3 3 29 15"))
    found = folders.evaluate()
    assert_equals_the_official_scores(found, officially(folders))
    by_class = found.summary["metrics"]["miou"]["classes"]
    assert by_class["road"] == {"mean": 2 / 5, "n": 2}  # of 5 pixels one is taken for a train, person, and nothing
    assert by_class["person"] == {"mean": 5 / 6, "n": 2}
    assert by_class["train"] == {"mean": 0, "n": 0}
    assert math.isnan(by_class["bus"]["mean"])
    assert found.summary["metrics"]["miou"]["mean"] == pytest.approx((2 / 5 + 5 / 6) / 2)
    assert found.summary["official_miou"] == pytest.approx((2 / 5 + 5 / 6 + 0) / 3)
    assert found.summary["metrics"]["pixel_accuracy"] == {"mean": 7 / 10, "n": 1, "classes": {}}
    assert found.summary["unevaluated"][0] == 1


@pytest.mark.real
def test_scores_of_real_street_scenes_equal_the_official_evaluators(real_data: Path, tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    rng = np.random.default_rng(0)
    paths = sorted((real_data / "camvid_as_cityscapes" / "gtFine" / "val").rglob("*_labelIds.png"))[:12]
    for path in paths:
        reference = np.asarray(Image.open(path))
        moved = np.roll(reference, 7, axis=1)  # every border is wrong by 7 pixels, and some pixels by anything
        prediction = np.where(rng.random(reference.shape) < 0.02, rng.integers(0, 34, reference.shape), moved)
        folders.pair(path.name.removesuffix("_gtFine_labelIds.png"), prediction.astype(np.uint8), reference)
    found = folders.evaluate()
    assert_equals_the_official_scores(found, officially(folders))
    assert found.summary["cases"] == len(paths) == 12
    assert len(found.summary["absent"]) == 8
    assert 0.5 < found.summary["metrics"]["miou"]["mean"] < 1
    assert found.summary["official_miou"] < found.summary["metrics"]["miou"]["mean"]


# Folders of label images


def test_the_classes_are_the_nineteen_by_train_id() -> None:
    from cityscapesscripts.helpers.labels import trainId2label

    assert tuple(trainId2label[number].name for number in range(19)) == CLASSES


def test_label_ids_and_train_ids_give_the_same_scores(folders: Folders, tmp_path: Path) -> None:
    reference, prediction = ids("7 7 31 24 / 1 0 7 24"), ids("7 31 31 24 / 31 7 0 24")
    folders.pair("jena_000000_000001", prediction, reference)
    expected = folders.evaluate()
    shutil.rmtree(folders.references)
    to_train = {ROAD: 0, PERSON: 11, TRAIN: 16, EGO: 255, UNLABELLED: 255}
    as_train = [np.vectorize(to_train.get)(array).astype(np.uint8) for array in (prediction, reference)]
    folders.pair("jena_000000_000001", None, as_train[1], "labelTrainIds")
    assert str(folders.evaluate().cases) == str(expected.cases)  # as text, since NaN is not equal to NaN
    (folders.predictions / "jena_000000_000001_pred.png").unlink()
    save(folders.predictions / "deep" / "er" / "jena_000000_000001_labelTrainIds.png", as_train[0])
    assert str(folders.evaluate().summary) == str(expected.summary)


def test_of_both_kinds_of_references_the_label_ids_are_taken(folders: Folders) -> None:
    folders.pair("jena_000000_000001", ids("7 24"), ids("7 24"))
    folders.pair("jena_000000_000001", None, ids("0 0"), "labelTrainIds")
    folders.pair("jena_000000_000001", None, ids("9 9"), "instanceIds")
    assert folders.evaluate().summary["metrics"]["miou"]["mean"] == 1


def test_the_table_has_a_row_for_each_frame_and_class(folders: Folders) -> None:
    folders.pair("ulm_000000_000002", ids("7 24"), ids("7 7"))
    folders.pair("jena_000000_000001", ids("7 7"), ids("7 7"))
    found = folders.evaluate()
    with folders.output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 19
    assert list(rows[0]) == ["case", "class", *found.cases["jena_000000_000001"]["road"]]
    assert {(row["case"], row["class"]): (row["iou"], row["empty"]) for row in rows if row["empty"] != "both"} == {
        ("jena_000000_000001", "road"): ("1.0", ""),
        ("ulm_000000_000002", "road"): ("0.5", ""),
        ("ulm_000000_000002", "person"): ("0.0", "reference"),
    }
    assert next(row for row in rows if row["class"] == "bus")["iou"] == ""


def test_predictions_pair_by_the_beginning_of_their_names_anywhere_below(folders: Folders) -> None:
    folders.pair("jena_000000_000001", None, ids("7"))
    folders.pair("ulm_000000_000002", None, ids("7"))
    save(folders.predictions / "run 1" / "jena_000000_000001.png", ids("7"))
    save(folders.predictions / "ulm" / "ulm_000000_000002_leftImg8bit-v2.png", ids("7"))
    save(folders.predictions / "legend.png", ids("7"))
    save(folders.predictions / "._jena_000000_000001.png", ids("7"))
    assert list(folders.evaluate().cases) == ["jena_000000_000001", "ulm_000000_000002"]


def test_frames_without_a_partner_are_an_error_that_names_them(folders: Folders) -> None:
    folders.pair("jena_000000_000001", ids("7"), ids("7"))
    folders.pair("jena_000000_000002", None, ids("7"))
    save(folders.predictions / "ulm_000000_000003.png", ids("7"))
    with pytest.raises(ValueError, match=r"_000002' has no prediction; 'ulm_000000_000003' has no ref.*--allow"):
        folders.evaluate()
    assert not folders.output.exists()
    found = folders.evaluate(allow_missing=True)
    assert list(found.cases) == ["jena_000000_000001"]
    assert found.missing == ("jena_000000_000002", "ulm_000000_000003")


def test_many_frames_without_a_partner_are_counted(folders: Folders) -> None:
    for number in range(14):
        folders.pair(f"jena_000000_{number:06}", None, ids("7"))
    with pytest.raises(ValueError, match=r"_000009' has no prediction; and 4 more; .* named <frame>\*\.png"):
        folders.evaluate(allow_missing=True)


def test_two_files_of_one_frame_are_an_error(folders: Folders) -> None:
    folders.pair("jena_000000_000001", ids("7"), ids("7"))
    second = save(folders.predictions / "colour" / "jena_000000_000001_color.png", ids("7"))
    with pytest.raises(ValueError, match=r"'jena_000000_000001' has 2 predictions, .*_color\.png.*keep one"):
        folders.evaluate(allow_missing=True)
    second.unlink()
    save(folders.references / "copy" / "jena_000000_000001_gtFine_labelIds.png", ids("7"))
    with pytest.raises(ValueError, match="'jena_000000_000001' has two references"):
        folders.evaluate()


def test_a_reference_of_another_name_is_an_error(folders: Folders) -> None:
    folders.pair("jena", ids("7"), ids("7"))
    with pytest.raises(ValueError, match=r"must be named <city>_<sequence>_<frame>_gtFine_labelIds\.png"):
        folders.evaluate()


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((2, 3), np.uint8), r"is 3 x 2 pixels, the reference 2 x 1; bring it back to the size of the frame"),
        (np.full((1, 2), 255, np.uint8), r"holds \[255\], not in .* named \*labelTrainIds\.png"),
        (np.full((1, 2), 34, np.uint8), r"holds \[34\], not in cityscapesscripts.* label ids are 0 to 33"),
        (np.full((1, 2), 24001, np.uint16), r"holds \[24001\], not in"),
        (np.full((1, 2), 263, np.uint16), r"holds \[263\], not in"),  # 7 in its last byte
        (np.zeros((1, 2, 3), np.uint8), r"has pixels of kind RGB; a label image has one channel"),
        (np.zeros((1, 2, 4), np.uint8), r"has pixels of kind RGBA"),
    ],
)
def test_a_wrong_prediction_is_an_error_that_names_it(prediction: np.ndarray, message: str, folders: Folders) -> None:
    folders.pair("jena_000000_000001", prediction, ids("7 24"))
    with pytest.raises(ValueError, match=rf"jena_000000_000001_pred\.png {message}"):
        folders.evaluate()
    assert not folders.output.exists()


def test_train_ids_outside_the_table_are_an_error(tmp_path: Path) -> None:
    assert read_labels(save(tmp_path / "a_labelTrainIds.png", ids("0 18 255"))).tolist() == [[0, 18, 255]]
    with pytest.raises(ValueError, match=r"holds \[19, 254\], not in .* train ids are 0 to 18"):
        read_labels(save(tmp_path / "b_labelTrainIds.png", ids("19 254 0")))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_pixels_of_few_bits_are_ids_and_not_shades_of_grey(bits: int, tmp_path: Path) -> None:
    """As tools that make PNG files smaller write them; Pillow stretches them to 0 to 255."""
    values = np.arange(16, dtype=np.uint8).reshape(4, 4) % 2**bits
    path = tmp_path / "a_0_0_gtFine_labelTrainIds.png"
    path.write_bytes(png_of_few_bits(values, bits))
    assert read_labels(path).tolist() == values.tolist()


def png_of_few_bits(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG file of this bit depth."""
    shifts = np.arange(bits)[::-1]
    rows = np.packbits((values[..., None] >> shifts & 1).reshape(len(values), -1), axis=1)
    scanlines = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", *values.shape[::-1], bits, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(scanlines)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_wider_integers_and_palettes_hold_ids_too(tmp_path: Path) -> None:
    assert read_labels(save(tmp_path / "wide.png", ids("7 24").astype(np.uint16))).tolist() == [[0, 11]]
    image = Image.fromarray(ids("7 24")).convert("P")
    image.putpalette([number % 256 for number in range(768)])
    image.save(tmp_path / "palette.png")
    assert read_labels(tmp_path / "palette.png").tolist() == [[0, 11]]


@pytest.mark.parametrize("size", [0, 30, 150])
def test_a_png_that_was_cut_off_is_an_error_that_names_it(size: int, folders: Folders) -> None:
    noise = np.random.default_rng(0).integers(0, 34, (16, 16), dtype=np.uint8)
    folders.pair("jena_000000_000001", noise, noise)
    path = folders.predictions / "jena_000000_000001_pred.png"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"jena_000000_000001_pred\.png is not readable: .*copy it again"):
        folders.evaluate()


def test_what_is_told_names_every_class_and_both_means(folders: Folders) -> None:
    folders.pair("jena_000000_000001", ids("7 7 31 24"), ids("7 7 7 24"))
    folders.pair("jena_000000_000002", None, ids("7"))
    told = lines(folders.evaluate(allow_missing=True))
    assert [line.split() for line in told[:2]] == [["class", "IoU", "frames"], ["road", "0.6667", "1"]]
    assert "train                    0.0000         0  absent" in told
    assert "bus                      undefined      0  absent" in told
    text = "\n".join(told[20:])
    assert "mIoU                     0.8333         2 classes that occur" in text
    assert "official mIoU            0.5556 " in text
    assert "pixel accuracy           0.7500\n" in text
    assert "left out of mIoU: sidewalk, building," in text
    assert "not scored, because one folder lacks them: jena_000000_000002" in text
    assert told[-1] == f"1 frames -> {folders.output}"


# What passes for predictions


def test_linked_cities_are_scored_as_prepare_reads_them(folders: Folders, tmp_path: Path) -> None:
    folders.pair("ulm_000000_000019", ids("7 24"), ids("7 24"))
    other = tmp_path / "other disk" / "bonn"
    save(other / "bonn_000000_000019_gtFine_labelIds.png", ids("7 7"))
    (folders.references / "bonn").symlink_to(other)
    predicted = tmp_path / "other disk" / "predicted"
    save(predicted / "bonn_000000_000019_pred.png", ids("7 7"))
    (folders.predictions / "more").symlink_to(predicted)
    assert sorted(folders.evaluate().cases) == ["bonn_000000_000019", "ulm_000000_000019"]


def test_links_in_circles_end_and_no_frame_is_found_twice(folders: Folders) -> None:
    folders.pair("ulm_000000_000019", ids("7 24"), ids("7 24"))
    (folders.references / "ulm" / "again").symlink_to(folders.references)
    (folders.predictions / "again").symlink_to(folders.predictions)
    (folders.predictions / "twice").symlink_to(folders.references / "nowhere")
    assert sorted(folders.evaluate().cases) == ["ulm_000000_000019"]


def test_predictions_in_train_ids_are_said(folders: Folders) -> None:
    """Label ids 7 8 / 11 26 are train ids 0 1 / 2 13, of which none is the id of the same class."""
    folders.pair("ulm_000000_000019", ids("0 1 / 2 13"), ids("7 8 / 11 26"))
    told = lines(folders.evaluate())
    assert any("only 0 % of the pixels agree: the predictions look like train ids; name them" in line for line in told)
    (folders.predictions / "ulm_000000_000019_pred.png").rename(
        folders.predictions / "ulm_000000_000019_labelTrainIds.png"
    )
    assert not any("note" in line for line in lines(folders.evaluate()))


def test_predictions_that_share_nothing_with_the_references_are_said(folders: Folders) -> None:
    folders.pair("ulm_000000_000019", ids("24 24"), ids("7 8"))
    assert any("are these the predictions of these frames" in line for line in lines(folders.evaluate()))


def test_poor_predictions_are_no_mistake(folders: Folders) -> None:
    folders.pair("ulm_000000_000019", ids("7 7 7 7"), ids("7 8 8 8"))
    assert folders.evaluate().notes == ()
