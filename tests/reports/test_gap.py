"""The share of the gap to all labels that a method closes."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import drawn_blank, volumes, write

from atso_bench.reports.certainty.gap import gap_closed
from atso_bench.reports.certainty.intervals import Estimate, estimate


def scores(mean, seeds=3, cases=40, spread=0.02):
    rng = np.random.default_rng(int(1000 * mean))
    case = np.random.default_rng(0).normal(0, 0.05, cases)
    return [mean + case + rng.normal(0, spread, cases) for _ in range(seeds)]


def difference(one, other):
    return estimate(np.array(one) - np.array(other))


@given(st.floats(-0.5, 1.5))
def test_the_share_is_that_of_the_means_and_lies_in_its_interval(share):
    base, full, method = scores(0.5), scores(0.7), scores(0.5 + 0.2 * share)
    found = gap_closed(difference(method, base), difference(full, base))
    assert found.share == pytest.approx(share, abs=0.2)
    assert found.low <= found.share <= found.high


def test_what_is_the_baseline_itself_closes_nothing_for_certain():
    base, full = scores(0.5), scores(0.7)
    found = gap_closed(difference(base, base), difference(full, base))
    assert (found.share, found.low, found.high) == (0, 0, 0)
    assert gap_closed(difference(full, base), difference(full, base)).share == 1


def test_the_interval_holds_the_true_share_about_as_often_as_it_says():
    inside = 0
    for draw in range(200):
        rng = np.random.default_rng(draw)
        case = rng.normal(0, 0.05, 40)
        base, full, method = (
            [mean + case + rng.normal(0, 0.03, 40) + rng.normal(0, 0.01) for _ in range(4)] for mean in (0.5, 0.7, 0.6)
        )
        found = gap_closed(difference(method, base), difference(full, base))
        inside += found.low <= 0.5 <= found.high
    assert inside / 200 > 0.92


def test_a_gap_within_noise_has_no_share():
    base, full = scores(0.700, spread=0.1), scores(0.701, spread=0.1)
    found = gap_closed(difference(scores(0.72), base), difference(full, base))
    assert math.isnan(found.share)
    assert found.reason == "the gap is within noise"


def test_a_missing_score_is_said():
    missing = Estimate(math.nan, reason="no seed is in both")
    assert gap_closed(missing, difference(scores(0.7), scores(0.5))).reason == "a score is missing"


def test_the_page_has_the_share_where_all_labels_were_run(tmp_path):
    for method, fraction, mean in (("supervised", "10", 0.5), ("atso", "10", 0.6), ("supervised", "100", 0.7)):
        write(tmp_path, *volumes(np.array(scores(mean, spread=0.005)), method, fraction))
    page = drawn_blank(tmp_path)
    assert "Share of the gap between supervised and all labels" in page
    share, ends = re.search(r">atso</td>\s*<td[^>]*>(\d+) %</td>\s*<td[^>]*>(\d+ % to \d+ %)</td>", page).groups()
    assert 40 < int(share) < 60
    assert ends
