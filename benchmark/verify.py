"""Runs a finished run again, and says whether the same comes out: a result that anyone can check."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path

import torch

from atso_bench.benchmark import alike, done, registry, remedies
from atso_bench.benchmark.engines.task import settle
from atso_bench.benchmark.finding import Chosen
from atso_bench.benchmark.machine.processor import cores
from atso_bench.benchmark.run import Bench, execute, model_file
from atso_bench.benchmark.scoring.headline import named
from atso_bench.benchmark.store.environment import versions
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.store.verified import Verification, claim
from atso_bench.benchmark.training.execution import Execution, settled


def own(chosen: Chosen) -> Chosen:
    """With the record's own results: a file that somebody sent has none, though a folder may hold stages of its key."""
    inside = chosen.path.resolve().is_relative_to((chosen.results / "records").resolve())
    return chosen if inside else replace(chosen, results=chosen.path.parent)


def check(record: Record, say: Callable[[str], None]) -> None:
    """Refuse a record that cannot be verified here.

    Raises:
        ValueError: if its data is missing or has changed, or if its method or metrics are others now.
        LookupError: if its dataset or method is not known.
    """
    registry.dataset(record.spec.dataset, record.spec.configuration).ready(say)
    if why := done.outdated(record):
        raise ValueError(f"{record.spec.title} cannot be verified: {why}")


def draw(record: Record, old: Path, how: Bench, share: float) -> list[str]:
    """Choose phases at random, and give the repetition the stages of all others; returns names of the chosen.

    Args:
        record: of the run.
        old: its results folder.
        how: where and how the run is repeated.
        share: of the phases, above 0; one phase at least is chosen.

    Raises:
        ValueError: if stages are gone, or were made by other versions and so are no beginning here.
    """
    made = record.environment
    if made.get("versions") != versions() or alike.device(made) != torch.device(how.device).type:
        raise ValueError(
            "--phases starts from stored phases, but those of other versions or another device are other phases; "
            "leave it out, and the whole run is repeated"
        )
    own = {phase.key: phase for phase in record.phases if phase.key}
    stages = Stages(old / "stages")
    if gone := [phase.name for key, phase in own.items() if Stages.finished(stages.folder(key)) is None]:
        raise ValueError(
            f"--phases starts from stored phases, but {len(gone)} of {len(own)} are gone from {stages.root} "
            f"({gone[0]}); leave it out, and the whole run is repeated"
        )
    chosen = random.SystemRandom().sample(sorted(own), max(1, round(share * len(own))))
    for key in own.keys() - {*chosen}:
        shutil.copytree(stages.folder(key), how.stages.folder(key), ignore=shutil.ignore_patterns("lock*", "fresh"))
    return [own[key].name for key in own if key in chosen]


def bench(record: Record, plain: Bench) -> Bench:
    """With torch working as it did in the run."""
    how = Execution(*(bool(record.environment.get(name)) for name in ("compiled", "deterministic")))
    return replace(plain, execution=how)


def again(record: Record, how: Bench) -> Record:
    """Make the run once more, with as many threads as it had.

    Raises:
        ValueError: if it fails.
    """
    settle(how.device, cores())
    if threads := record.environment.get("threads"):
        torch.set_num_threads(threads)
    try:
        with settled(how.execution):
            return execute(record.spec, how)
    except Exception as error:
        raise ValueError(
            f"{record.spec.title} could not be repeated: {type(error).__name__}: {remedies.message(error)}"
        ) from error


def judge(chosen: Chosen, before: Record, after: Record, new: Path, tolerance: float) -> Verification:
    """Compare a record with that of its repetition.

    Args:
        chosen: where the record lies.
        before: the record.
        after: of the repetition.
        new: its results folder.
        tolerance: by how much the headline score may differ where the same bits are not expected.
    """
    because = alike.differences(before.environment, after.environment)
    found = alike.phases(before, chosen.results, after, new)
    if chosen.path.name == before.spec.path.name:  # of a record on other data than now the model is gone
        files = (model_file(results, before.spec) for results in (chosen.results, new))
        found.append(alike.weights("final model", *files))
    if before.split.get("hash") != after.split.get("hash"):
        found.append(alike.PhaseAgain("split", "cases", same=False))
    other = alike.other_cases(before, after)
    bitwise = not other and all(each.same is not False for each in found)
    same = bitwise or bool(because and _close(before.score, after.score, tolerance))
    return Verification(
        key=before.spec.key,
        record=claim(before),
        verdict="same" if same else "differs",
        bitwise=bitwise,
        expected="score" if because else "bits",
        because=because,
        tolerance=tolerance,
        score=_or_none(before.score),
        again=_or_none(after.score),
        cases=len(after.cases),
        other_cases=other,
        repeated=len({phase.key for phase in after.phases if phase.key and not phase.reused}),
        of=len({phase.key for phase in after.phases if phase.key}),
        phases=[asdict(each) for each in found],
        environment={name: value for name, value in after.environment.items() if name != "command"},
        when=datetime.now(timezone.utc).date().isoformat(),
    )


def _close(one: float, two: float, tolerance: float) -> bool:
    return abs(one - two) <= tolerance or (math.isnan(one) and math.isnan(two))


def _or_none(score: float) -> float | None:
    return None if math.isnan(score) else score


def lines(found: Verification, metric: str) -> Iterator[str]:
    """What was expected, what was found, and the verdict."""
    title = named(metric).title
    if found.expected == "bits":
        yield "expected: the same bits, as processor, software and threads are the same"
    else:
        yield f"expected: {title} within {found.tolerance:g}, not the same bits:"
        yield from (f"    {why}" for why in found.because)
    yield f"repeated: {found.repeated} of {found.of} phases, and the evaluation"
    yield from (f"    {alike.PhaseAgain(**each).words}" for each in found.phases)
    scores = f"{title} {_shown(found.score)} in the record, {_shown(found.again)} now"
    if found.other_cases:
        yield f"scores: {len(found.other_cases)} of {found.cases} cases differ; {scores}"
    else:
        yield f"scores: all {found.cases} cases are the same, bit for bit; {scores}"
    yield f"verdict: {found.words}"


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.4f}"
