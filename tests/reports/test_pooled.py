"""Records of folds in reports: one run of all cases, never a seed, never beside a fixed split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import case_scores, make, report, write

from atso_bench.benchmark.scoring.frame_scores import FrameScores
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.task import Reference
from atso_bench.reports.certainty.evidence import evidence
from atso_bench.reports.compare import compare
from atso_bench.reports.data import folds
from atso_bench.reports.data.frame import read

FOLDS = 5


def fold(number: int, method: str = "supervised", seed: int = 0, better: float = 0.0) -> Record:
    """Two cases of ten."""
    names = [f"c{2 * number - 2}", f"c{2 * number - 1}"]
    spread = np.random.default_rng([number, seed]).uniform(0.4, 0.9, 2)
    cases = {
        name: {each: case_scores(float(dice) + better) for each in ("organ", "lesion")}
        for name, dice in zip(names, spread, strict=True)
    }
    made = make(method, seed=seed, spec={"folds": FOLDS, "fold": number}, cases=cases, score=0.1)
    return replace(made, split={**made.split, "test": names, "hash": f"split-{number}-{seed}"})


def every(method: str = "supervised", **more: Any) -> list[Record]:
    return [fold(number, method, **more) for number in range(1, FOLDS + 1)]


def test_the_folds_of_a_seed_are_one_run_that_is_scored_on_all_cases(tmp_path: Path) -> None:
    write(tmp_path, *every(), *every("cutmix", better=0.05))
    (group,) = read(tmp_path).groups()
    assert list(group.runs["method"]) == ["cutmix", "supervised"]
    assert list(group.runs["cases"]) == [10, 10]
    expected = np.mean([scores["organ"]["dice"] for record in every() for scores in record.cases.values()])
    assert dict(zip(group.runs["method"], group.runs["score"], strict=True))["supervised"] == pytest.approx(expected)


def test_cases_are_pairs_and_folds_are_no_seeds(tmp_path: Path) -> None:
    write(tmp_path, *every(), *every("cutmix", better=0.05))
    known = evidence(*read(tmp_path).groups())
    (estimate,) = (each for place, each in known.estimates.items() if place[1] == "supervised")
    assert (estimate.seeds, estimate.cases) == (1, 10)
    assert np.isnan(estimate.seeds_error)


def test_seeds_of_folds_are_seeds(tmp_path: Path) -> None:
    write(tmp_path, *(record for seed in range(3) for record in every(seed=seed)))
    (group,) = read(tmp_path).groups()
    assert sorted(group.runs["seed"]) == [0, 1, 2]


def test_folds_stand_in_no_table_with_a_fixed_split(tmp_path: Path) -> None:
    write(tmp_path, *every(), make("supervised"))
    groups = read(tmp_path).groups()
    assert sorted(group.facts["folds"] for group in groups) == [0, FOLDS]
    page, markdown = report(tmp_path)
    assert "5 folds" in markdown
    assert "folds are no seeds" in markdown
    assert all(f"fold{number}" in page or record.spec.key in page for number, record in enumerate(every()))


def test_a_missing_fold_is_named_and_nothing_is_pooled(tmp_path: Path) -> None:
    write(tmp_path, *every()[:3], *every("cutmix"))
    frames = read(tmp_path)
    assert list(frames.runs["method"]) == ["cutmix"]
    (failure,) = frames.failures
    assert "folds 4, 5 of 5 not there yet" in failure.message
    assert "all 5 folds" in failure.run
    report(tmp_path)


def test_undefined_scores_stay_undefined_in_the_pool(tmp_path: Path) -> None:
    records = every()
    empty = {
        name: {each: case_scores(None, None, "both") for each in scores} for name, scores in records[0].cases.items()
    }
    write(tmp_path, replace(records[0], cases=empty), *records[1:])
    frames = read(tmp_path)
    assert not frames.failures
    expected = np.mean([scores["organ"]["dice"] for record in records[1:] for scores in record.cases.values()])
    assert frames.runs["score"].iloc[0] == pytest.approx(expected)


def test_a_case_in_two_folds_is_not_counted_twice(tmp_path: Path) -> None:
    records = every()
    records[1] = replace(records[1], cases=records[0].cases)
    write(tmp_path, *records)
    assert "test sets of two folds" in read(tmp_path).failures[0].message


def test_folds_of_other_data_are_another_run(tmp_path: Path) -> None:
    assert folds.whole(fold(1)) != folds.whole(replace(fold(1), data="other"))
    assert folds.whole(fold(1)) == folds.whole(fold(2))


def test_frames_are_pooled_as_if_they_had_been_scored_together() -> None:
    rng = np.random.default_rng(0)
    classes = ("road", "car", "sky")
    together, parts = FrameScores(classes), []
    for number in range(1, 3):
        own = FrameScores(classes)
        for frame in range(2):
            reference = rng.integers(0, 4, (8, 8))
            truth = Reference(np.where(reference == 3, 255, reference).astype(np.uint8), (1.0, 1.0))
            prediction = rng.integers(0, 3, (8, 8)).astype(np.uint8)
            for scorer in (own, together):
                scorer.add(f"f{number}{frame}", prediction, truth)
        made = make("atso", spec={"folds": 2, "fold": number}, cases=own.cases, summary=own.summary(), metric="miou")
        parts.append(replace(made, classes=list(classes), track="natural"))
    assert folds.pooled(parts).summary == together.summary()


def test_compare_holds_folds_against_folds_alone(tmp_path: Path) -> None:
    old, new, plain = (tmp_path / name for name in ("old", "new", "plain"))
    write(old, *every())
    write(new, *every(better=-0.2))
    write(plain, make("supervised"))
    assert compare(old, old).code == 0
    assert compare(old, new).code == 1
    verdict = compare(old, plain)
    assert verdict.code == 2
    assert "folds 5, now 0" in verdict.reasons[0]
    write(tmp_path / "some", *every()[:4])
    assert "not there yet" in " ".join(compare(old, write(tmp_path / "some", *every("cutmix"))).reasons)


def test_large_folders_are_read_in_parts_that_keep_folds_together(tmp_path: Path, monkeypatch) -> None:
    from atso_bench.reports.data import reading

    monkeypatch.setattr(reading, "BYTES", 1)
    write(tmp_path, *(record for seed in range(2) for record in every(seed=seed)), *every("cutmix"))
    assert len(read(tmp_path).runs) == 3
