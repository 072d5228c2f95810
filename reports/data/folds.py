"""The records of all folds as one: every case was in the test set of one of them.

A fold is no seed: its model learnt from most of the cases of the others, and is scored on cases of its own. So the
folds of a seed are one run that is scored on all cases, and all that compares runs by seeds and cases holds for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from atso_bench.benchmark.scoring import headline
from atso_bench.benchmark.spec import RunSpec, digest
from atso_bench.benchmark.store.record import Record


def whole(record: Record) -> tuple[RunSpec, str]:
    """What the folds of one run have in common: the run, and the data."""
    return replace(record.spec, fold=0), record.data


def pooled(records: Sequence[Record]) -> Record:
    """One record for all folds: the scores of all cases, their summary, and what all folds took together.

    Facts of a single training (steps, labelled cases, the pool) are those of the fold with the median number of
    labelled cases.

    Raises:
        ValueError: if a fold is missing, if one is there twice, or if folds differ in what they were scored by.
    """
    folds = sorted(records, key=lambda record: record.spec.fold)
    _check(folds)
    by_labelled = sorted(folds, key=lambda record: len(record.split["labelled"]))
    middle, first = by_labelled[(len(folds) - 1) // 2], folds[0]
    cases = {name: scores for record in folds for name, scores in record.cases.items()}
    summary = _summary(folds, cases)
    phases = [
        replace(phase, name=f"{phase.name}, fold {record.spec.fold}") for record in folds for phase in record.phases
    ]
    hashes = [str(record.split.get("hash", "")) for record in folds]
    codes = sorted({record.code for record in folds})
    return replace(
        middle,
        spec=replace(middle.spec, fold=0),
        score=summary["metrics"][first.metric]["mean"],
        cases=cases,
        summary=summary,
        split={**middle.split, "test": sorted(cases), "hash": digest(hashes)},
        phases=phases,
        on_validation=_means([record.on_validation for record in folds]),
        diagnostics=[entry for record in folds for entry in record.diagnostics],
        warnings=list(dict.fromkeys(text for record in folds for text in record.warnings)),
        environment=first.environment,
        code=codes[0] if len(codes) == 1 else digest(codes),
    )


def _check(folds: Sequence[Record]) -> None:
    wanted, there = folds[0].spec.folds, [record.spec.fold for record in folds]
    if missing := sorted(set(range(1, wanted + 1)) - set(there)):
        named = f"fold{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"
        raise ValueError(f"{named} of {wanted} not there yet; scores are pooled when all are")
    if len(there) != wanted:
        raise ValueError(f"a fold has two records: {', '.join(map(str, there))}")
    facts = {(record.metric, record.metrics_version, tuple(record.classes)) for record in folds}
    if len(facts) > 1:
        raise ValueError("the folds were scored by other classes or versions of the metrics; run them again")
    if sum(len(record.cases) for record in folds) != len({case for record in folds for case in record.cases}):
        raise ValueError("a case is in the test sets of two folds; run them again on the same data")


def _summary(folds: Sequence[Record], cases: Mapping[str, Any]) -> dict[str, Any]:
    """Of all cases, as one run would have it."""
    from atso_bench.benchmark.scoring import frame_scores, metrics

    cases = {case: {name: _defined(scores) for name, scores in each.items()} for case, each in cases.items()}
    if not headline.named(folds[0].metric).pooled:
        return metrics.summarise(cases)
    import numpy as np

    classes = len(folds[0].classes)
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    for record in folds:
        confusion[:classes, :classes] += np.array(record.summary["confusion"], np.int64)
        confusion[:classes, classes] += np.array(record.summary["unevaluated"], np.int64)
    return frame_scores.summarise_frames(cases, confusion, folds[0].classes)


def _defined(scores: Mapping[str, Any]) -> dict[str, Any]:
    """What is undefined is null in a record, and NaN where it is computed with."""
    return {name: math.nan if value is None else value for name, value in scores.items()}


def _means(found: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """By name the mean over folds, where all have it."""
    names = [name for name in found[0] if all(each.get(name) is not None for each in found)]
    return {name: math.fsum(float(each[name] or 0.0) for each in found) / len(found) for name in names}
