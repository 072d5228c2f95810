"""Metrics as objects: records name them, and everything else asks them."""

from __future__ import annotations

import numpy as np
import pytest

from atso_bench.benchmark.scoring.frame_scores import FrameScores
from atso_bench.benchmark.scoring.headline import METRICS, named
from atso_bench.benchmark.scoring.metrics import VolumeScores, overlaps
from atso_bench.benchmark.task import Reference

CLASSES = ("background", "organ")


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_found_by_the_name_that_records_hold_and_its_summary_has_it(name):
    metric = named(name)
    scores = metric.scorer(CLASSES)
    label = np.array([[0, 1, 1, 1]], np.uint8)
    scores.add("a", label, Reference(label, (1.0, 1.0)))
    assert scores.summary()["metrics"][metric.name]["mean"] == 1
    assert set(scores.cases["a"]) == set(metric.scored(CLASSES))
    assert metric.ratio in scores.cases["a"]["organ"]
    assert metric.ratio in overlaps(np.eye(2, dtype=np.int64))


def test_volumes_have_a_background_that_does_not_count_and_frames_have_none():
    assert isinstance(named("dice").scorer(CLASSES), VolumeScores)
    assert isinstance(named("miou").scorer(CLASSES), FrameScores)
    assert (named("dice").scored(CLASSES), named("miou").scored(CLASSES)) == (("organ",), CLASSES)
    assert (named("dice").cases, named("miou").cases) == ("cases", "frames")


def test_a_metric_of_another_version_is_shown_by_its_name():
    assert (named("boundary").title, named("boundary").pooled) == ("boundary", False)
