"""Cases to look at: the same for every method, by the scores, in the right colours, and nothing breaks without them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from records import case_scores as one_score
from records import counted, make, street

from atso_bench.benchmark.scoring.label_tables import CLASSES, COLOURS
from atso_bench.benchmark.scoring.metrics import IGNORE
from atso_bench.benchmark.scoring.pictures import Album, predictions_file
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.task import Reference
from atso_bench.reports.data.frame import Group, case_scores, read
from atso_bench.reports.figures.overlays import Overlays, class_colours, overlays
from atso_bench.reports.pages.cases import hardest

CASES = ("t0", "t1", "t2", "t3", "t4")
SHAPE = (3, 20, 10)


def scored(*dice: float | None) -> dict[str, dict]:
    each = {case: one_score(value) for case, value in zip(CASES, dice, strict=True)}
    return {case: {"organ": score, "lesion": score} for case, score in each.items()}


def kept(results: Path, record: Record, label: np.ndarray, spacing=(4.0, 1.0, 2.0)) -> None:
    """The record with its pictures; every case of it has this prediction, and a reference of organ alone."""
    record.write(results)
    with Album(results, record.spec.key, record.data, list(record.cases), lambda case: np.zeros(SHAPE)) as album:
        for case in record.cases:
            reference = np.zeros(SHAPE, np.uint8)
            reference[1] = 1
            album.add(case, label, Reference(reference, spacing))


def only(results: Path) -> Group:
    (group,) = read(results).groups()
    return group


def seen(results: Path) -> Overlays:
    found = overlays(only(results), results)
    assert found is not None
    return found


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def two_methods(results: Path, **second) -> None:
    kept(results, make("supervised", cases=scored(0.9, 0.1, 0.5, 0.6, None)), np.zeros(SHAPE))
    label = np.zeros(SHAPE)
    label[1, :, :5] = 1
    kept(results, make("atso", cases=scored(0.7, 0.3, 0.6, 0.5, None), **second), label)


def test_best_median_and_worst_are_by_the_mean_over_methods_and_the_same_for_all(tmp_path):
    two_methods(tmp_path)
    sheets = seen(tmp_path).sheets
    assert [(sheet.rank, sheet.case) for sheet in sheets] == [("best", "t0"), ("median", "t3"), ("worst", "t1")]
    assert sheets[0].mean == pytest.approx(0.8)
    for sheet in sheets:
        words = [tile.words.partition(":")[0] for tile in sheet.tiles]
        assert words == ["image", "reference", "supervised", "atso", "disagreement"]
    assert [tile.words for tile in sheets[2].tiles[2:4]] == ["supervised: Dice 0.100", "atso: Dice 0.300"]


def test_a_tile_shows_the_classes_in_their_colours_and_pixels_are_square(tmp_path):
    two_methods(tmp_path)
    _, reference, supervised, atso, disagreement = (pixels(tile.content) for tile in seen(tmp_path).sheets[0].tiles)
    assert reference.shape == (20, 20, 3), "columns are 2 mm apart, rows 1 mm"
    organ = class_colours(only(tmp_path))[1]
    assert np.abs(reference[0, 0].astype(int) - organ // 2).max() <= 1
    assert (supervised == 0).all(), "no class is no colour"
    assert (atso[:, :10] == reference[:, :10]).all()
    assert (atso[:, 10:] == 0).all()
    assert disagreement[:, :10].min(axis=(0, 1)).max() > 100
    assert (disagreement[:, 10:] == 0).all()


def test_the_runs_are_of_one_seed_at_the_fewest_labels_that_most_methods_have(tmp_path):
    two_methods(tmp_path, seed=1)
    kept(tmp_path, make("supervised", seed=1, cases=scored(*[0.5] * 5)), np.zeros(SHAPE))
    kept(tmp_path, make("supervised", "5", cases=scored(*[0.5] * 5)), np.zeros(SHAPE))
    found = seen(tmp_path)
    assert (found.fraction, found.seed, found.absent) == ("10", 1, [])


def test_without_pictures_there_is_nothing_and_a_method_without_is_named(tmp_path):
    make("mean-teacher", cases=scored(*[0.5] * 5)).write(tmp_path)
    assert overlays(only(tmp_path), tmp_path) is None
    two_methods(tmp_path)
    assert seen(tmp_path).absent == ["mean-teacher"]


def test_a_damaged_file_costs_its_method_and_is_named(tmp_path):
    two_methods(tmp_path)
    run = only(tmp_path).runs.set_index("label").loc["atso"]
    path = predictions_file(tmp_path, run.key, run.data)
    path.write_bytes(path.read_bytes()[:100])
    found = seen(tmp_path)
    assert found.absent == ["atso"]
    assert path.name in found.damaged[0]
    assert len(found.sheets[0].tiles) == 3, "nobody to disagree with"
    next((tmp_path / "pictures").glob("cases-*")).unlink()
    found = seen(tmp_path)
    assert not found.sheets
    assert len(found.damaged) == 2


def test_pictures_of_other_sizes_are_an_error_that_is_said(tmp_path):
    two_methods(tmp_path)
    run = only(tmp_path).runs.set_index("label").loc["atso"]
    with Album(tmp_path, run.key, run.data, CASES, lambda case: np.zeros(SHAPE)) as album:
        for case in CASES:
            album.add(case, np.zeros((3, 5, 5)), Reference(np.zeros((3, 5, 5), np.uint8), (4.0, 1.0, 1.0)))
    assert "differ in size" in seen(tmp_path).damaged[0]


def test_street_scenes_have_cityscapes_palette_and_what_is_ignored_stays_uncovered(tmp_path):
    record = street("supervised", classes=list(CLASSES), cases={"a_0_0": dict.fromkeys(CLASSES, counted(5, 1, 1))})
    record.write(tmp_path)
    label = np.full((4, 200), 13, np.uint8)
    label[:, :100] = IGNORE
    with Album(
        tmp_path, record.spec.key, record.data, ["a_0_0"], lambda case: np.full((4, 200, 3), 100, np.uint8)
    ) as album:
        album.add("a_0_0", np.full((4, 200), 13), Reference(label, (1.0, 1.0)))
    (sheet,) = seen(tmp_path).sheets
    assert sheet.tiles[1].kind == "jpeg"
    reference = pixels(sheet.tiles[1].content).astype(int)
    assert np.abs(reference[2, 50] - 100).max() <= 3
    assert np.abs(reference[2, 150] - (100 + np.array(COLOURS[13])) / 2).max() <= 6


PAINTED = {"background": [1, 2, 3], "polyp": [220, 20, 60]}


def frames_of(*records: Record, results: Path) -> Group:
    for record in records:
        record.write(results)
    return only(results)


def polyps(method: str, **fields) -> Record:
    cases = {"a": dict.fromkeys(PAINTED, counted(5, 1, 1))}
    return street(method, classes=list(PAINTED), cases=cases, **fields)


def test_frames_have_the_colours_that_their_record_holds_and_these_set_no_runs_apart(tmp_path):
    group = frames_of(polyps("supervised"), polyps("atso", palette=PAINTED), results=tmp_path)
    assert class_colours(group).tolist() == [*PAINTED.values()]


def test_a_record_without_colours_gets_the_figures(tmp_path):
    colours = class_colours(frames_of(polyps("supervised"), results=tmp_path))
    assert len({tuple(each) for each in colours.tolist()}) == 2


def test_colours_that_are_none_make_no_report_fail(tmp_path):
    polyps("supervised").write(tmp_path)
    polyps("atso", palette={"polyp": [1, 2, 999]}).write(tmp_path)
    found = read(tmp_path)
    assert len(found.runs) == 1
    assert "red, green and blue" in found.failures[0].message


def test_every_class_of_many_has_a_colour_of_its_own(tmp_path):
    names = [f"class {index}" for index in range(50)]
    make(classes=names, cases={"t0": {name: one_score() for name in names}}).write(tmp_path)
    colours = class_colours(only(tmp_path))
    assert colours.shape == (51, 3)
    assert len({tuple(colour) for colour in colours[1:]}) == 50


def test_the_hardest_cases_are_named_with_every_method_s_score(tmp_path):
    for record in (
        make("supervised", seed=0, cases=scored(0.9, 0.1, 0.5, 0.6, None)),
        make("supervised", seed=1, cases=scored(0.9, 0.3, 0.5, 0.6, None)),
        make("atso", cases=scored(0.7, 0.3, 0.2, 0.5, None)),
    ):
        record.write(tmp_path)
    group = only(tmp_path)
    scores = case_scores(group)
    assert scores.at["t1", ("10", "supervised")] == pytest.approx(0.2)
    table = hardest(group)
    assert [row[1].text for row in table.rows] == ["t1", "t2", "t3", "t0"], "no score, no place"
    assert [cell.text for cell in table.rows[0][2:]] == ["0.200", "0.300"]
