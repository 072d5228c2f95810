"""Diagnostics against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from atso_bench.benchmark.scoring.diagnostics import Judge, diagnose
from atso_bench.benchmark.scoring.headline import METRICS
from atso_bench.benchmark.task import IGNORE
from atso_bench.benchmark.trainer import Observation

CLASSES = ("background", "organ")


def judge(hidden, cases, classes=CLASSES, metric="dice"):
    return Judge(classes, METRICS[metric], hidden, frozenset(cases))


def observation(before, after, inside):
    return Observation("generation 1, subset 1", 1, 1, before, after, inside)


def test_the_numbers_of_one_case_worked_by_hand():
    before = {"a": np.array([1, 1, 1, 0, 0, 0, 0, 0], np.uint8)}
    after = {"a": np.array([0, 1, 1, 1, 0, 0, 0, 0], np.uint8)}
    true = np.array([0, 1, 0, 1, 1, 0, 0, 0], np.uint8)
    first, entry = diagnose([observation(before, after, ())], judge(lambda case: true, ["a"]))
    assert first["generation"] == 0
    assert first["pseudo_dice"] == pytest.approx(2 * 1 / (3 + 3))
    assert entry["update_rate"] == 2 / 4  # two of the four voxels that are foreground before or after
    assert entry["agreement_outside"] == pytest.approx(2 * 2 / (3 + 3))
    assert entry["agreement_inside"] is None
    assert entry["pseudo_dice"] == pytest.approx(2 * 2 / (3 + 3))
    assert entry["correction_rate"] == 2 / 4  # wrong before: voxels 0, 2, 3, 4; right now: 0 and 3
    assert entry["corruption_rate"] == 0 / 1  # right before: voxel 1; it still is
    assert entry["cases"] == 1


def test_cases_of_the_students_own_subset_stand_apart():
    labels = {"own": np.array([1, 1]), "other": np.array([1, 1])}
    after = {"own": np.array([1, 1]), "other": np.array([0, 0])}
    _, entry = diagnose([observation(labels, after, ("own",))], judge(lambda case: np.array([1, 1]), after))
    assert entry["agreement_inside"] == 1.0
    assert entry["agreement_outside"] == 0.0
    assert entry["cases"] == 1
    assert entry["inside"]["update_rate"] == 0.0
    assert entry["outside"]["corruption_rate"] == 1.0


def test_where_a_student_relabels_its_own_cases_they_are_what_is_reported():
    labels, after = {"own": np.array([1, 0])}, {"own": np.array([1, 1])}
    _, entry = diagnose([observation(labels, after, ("own",))], judge(lambda case: np.array([1, 1]), ["own"]))
    assert entry["correction_rate"] == 1.0
    assert entry["agreement_outside"] is None


def test_cases_without_a_true_label_and_ignored_voxels_are_not_judged():
    labels = {"u": np.array([1, 1]), "a": np.array([1, 0])}
    _, entry = diagnose([observation(labels, labels, ())], judge({"a": np.array([1, 255])}.__getitem__, ["a"]))
    assert entry["pseudo_dice"] == 1.0
    assert math.isnan(entry["correction_rate"])


def test_soft_labels_count_as_their_most_likely_class():
    soft = {"a": np.array([[0.4, 0.9], [0.6, 0.1]], np.float16)}
    _, entry = diagnose([observation(soft, soft, ())], judge(lambda case: np.array([1, 0]), ["a"]))
    assert entry["pseudo_dice"] == 1.0


def test_without_observations_there_is_nothing_to_say():
    assert diagnose([], judge(None, [])) == []


def test_on_frames_every_pixel_counts_and_the_measure_is_mean_iou():
    before = {"a": np.array([0, 0, 0, 1, 1, 2], np.uint8)}
    after = {"a": np.array([0, 0, 1, 1, 1, 2], np.uint8)}
    true = np.array([0, 1, 1, 1, 255, 0], np.uint8)  # class 2 does not occur
    judged = judge(lambda case: true, ["a"], classes=("road", "car", "train"), metric="miou")
    first, entry = diagnose([observation(before, after, ())], judged)
    assert first["pseudo_miou_by_class"] == pytest.approx({"road": 1 / 4, "car": 1 / 3, "train": 0.0})
    assert first["pseudo_miou"] == pytest.approx((1 / 4 + 1 / 3) / 2)  # without the class that does not occur
    assert entry["pseudo_miou"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert entry["agreement_outside"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert entry["update_rate"] == 1 / 6
    assert entry["correction_rate"] == 1 / 3  # wrong before: pixels 1, 2, 5; right now: 2
    assert entry["corruption_rate"] == 0
    assert "pseudo_dice" not in entry


def test_voxels_without_a_pseudo_label_count_in_coverage_alone():
    before = {"a": np.array([1, IGNORE, 1, 0, 0, 0], np.uint8)}
    after = {"a": np.array([1, 1, 0, IGNORE, 0, 1], np.uint8)}
    true = np.array([1, 1, 0, 1, 0, 1], np.uint8)
    first, entry = diagnose([observation(before, after, ())], judge(lambda case: true, ["a"]))
    assert first["coverage"] == 3 / 4
    assert first["pseudo_dice"] == pytest.approx(2 * 1 / (2 + 3))  # over the five that have a label
    assert entry["coverage"] == 3 / 4
    assert entry["update_rate"] == 2 / 3  # voxels 2 and 5 of 0, 2 and 5, which have a label before and after
    assert entry["pseudo_dice"] == 1.0
    assert entry["correction_rate"] == 1.0
    assert entry["corruption_rate"] == 0.0
    whole = diagnose([observation({"a": true}, {"a": true}, ())], judge(lambda case: true, ["a"]))
    assert all("coverage" not in found for found in whole)
