"""The result of one run, as stored on disk. Reports read these files and nothing else; docs/record.md explains them."""

from __future__ import annotations

import contextlib
import math
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from atso_bench.benchmark.remedies import message
from atso_bench.benchmark.spec import RunSpec, digest
from atso_bench.benchmark.store.environment import current, discreet
from atso_bench.benchmark.store.files import write_json
from atso_bench.benchmark.store.schema import NewerError, check_schema

SCHEMA = 1


@dataclass(frozen=True)
class Phase:
    """One training, one pseudo-labelling or the evaluation.

    Attributes:
        name: ``M0``, ``generation 1, subset 2``, ``evaluation`` ...
        kind: ``train``, ``predict`` (pseudo labels), ``diagnose`` (labels that no training sees) or ``evaluate``.
        seconds: without checkpoints of a training, with the writing of pseudo labels; also when the phase was reused.
        steps: optimiser steps; 0 unless ``kind`` is ``train``.
        samples: patches that were trained on, or cases that were predicted or scored.
        device_bytes: peak memory on the device; None on a CPU.
        process_bytes: peak resident memory of the process so far.
        key: the phase's address in the stage store.
        reused: the phase was found in the stage store (an interrupted run, or another method's same phase).
        losses: mean of each loss term over successive windows of steps; ``step`` holds the last step of each window.
        joules: what the whole device drew in these seconds, others' work included: the GPU, or on a CPU its packages;
            None where no counter can be read, or where it moves too slowly for stretches so short.
        warm_up: seconds of the first step in which torch.compile worked, a part of ``seconds``; None without it.
        cpu_seconds: processor time of all cores in these seconds, of the process and its loaders; None in records from
            before it was measured.
        nondeterministic: with ``--deterministic`` the operations of which torch has no deterministic way here.
    """

    name: str
    kind: str
    seconds: float
    steps: int = 0
    samples: int = 0
    device_bytes: int | None = None
    process_bytes: int = 0
    key: str = ""
    reused: bool = False
    losses: dict[str, list[float]] = field(default_factory=dict)
    joules: float | None = None
    warm_up: float | None = None
    nondeterministic: list[str] = field(default_factory=list)
    cpu_seconds: float | None = None


@dataclass(frozen=True)
class Record:
    """Everything that is needed to rebuild a report, and to check it.

    Attributes:
        spec: what was run.
        track: the kind of task, ``medical`` or ``natural``.
        metric: the headline metric, by its name in ``headline.METRICS``.
        score: its value on the test set.
        classes: names of the evaluated classes.
        cases: case -> class -> scores and counts as ``metrics.score_case`` gives them.
        summary: ``metrics.summarise`` of ``cases``.
        metrics_version: version of the metrics' definitions.
        split: case ids of ``labelled``, ``unlabelled``, ``validation``, ``test``, and the ``hash`` of the four.
        pool_size: training cases that have a label (the 100 % of a label fraction).
        data: content hash of the dataset.
        phases: where the time went.
        spent_steps: optimiser steps spent, all phases together.
        line_steps: optimiser steps between the initial weights and the model that was scored; 0 in records from before.
        teacher_patches: patches that a teacher saw inside trainings, without a gradient; they are not steps.
        recipe: the task's training constants.
        on_validation: headline on the validation set: of the result (``result``), and where one training made it, of
            the trained network (``student``) and of the moving average of its weights (``average``), one of which it
            is; empty without a validation set.
        options: all options of the method with their values.
        diagnostics: one entry for each pseudo-labelling (see ``diagnostics.py``).
        warnings: what a reader must know before trusting the score.
        environment: versions, machine, commit, command line.
        palette: red, green and blue of each class, where the data has its own; records from before have none.
        code: hash of the method's code; empty in records from before there was one.
    """

    spec: RunSpec
    track: str
    metric: str
    score: float
    classes: list[str]
    cases: dict[str, dict[str, dict[str, Any]]]
    summary: dict[str, Any]
    metrics_version: int
    split: dict[str, Any]
    pool_size: int
    data: str
    phases: list[Phase]
    spent_steps: int
    teacher_patches: int
    recipe: dict[str, Any]
    options: dict[str, Any]
    diagnostics: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    palette: dict[str, list[int]] = field(default_factory=dict)
    line_steps: int = 0
    on_validation: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by kind of phase."""
        total: dict[str, float] = {}
        for phase in self.phases:
            total[phase.kind] = total.get(phase.kind, 0.0) + phase.seconds
        return total

    @property
    def labelled_percent(self) -> float:
        return 100 * len(self.split["labelled"]) / self.pool_size

    def write(self, results: Path) -> Path:
        """Write below ``results/records``; the file appears whole or not at all."""
        path = results / "records" / self.spec.path
        _keep_other_data(path, self.data)
        write_json(path, asdict(self))
        failure_path(results, self.spec).unlink(missing_ok=True)
        return path

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record.

        Raises:
            NewerError: if a newer version wrote it.
            ValueError: if the file is no record, or was written by an older version of the schema.
        """
        try:
            raw = orjson.loads(path.read_bytes())
            check_schema(raw, SCHEMA)
            phases = [Phase(**phase) for phase in raw["phases"]]
            score = math.nan if raw["score"] is None else raw["score"]
            return cls(**{**raw, "score": score, "spec": RunSpec.from_json(raw["spec"]), "phases": phases})
        except NewerError as error:
            raise NewerError(f"{path} is not a readable record: {error}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is not a readable record: {error}") from error


def _keep_other_data(path: Path, data: str) -> None:
    """A record of the same run on other data is another result: it stays, under a name that says which data."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        other = Record.read(path).data
        if other != data:
            path.rename(path.with_name(f"{path.stem}-{digest(other)}.json"))


def read_all(results: Path) -> list[Record]:
    """All records below ``results/records``, in the order of their paths."""
    paths = sorted((results / "records").rglob("seed*.json"))
    return [Record.read(path) for path in paths if not path.name.endswith(".failed.json")]


def failure_path(results: Path, spec: RunSpec) -> Path:
    return (results / "records" / spec.path).with_suffix(".failed.json")


def write_failure(results: Path, spec: RunSpec, phase: str, error: BaseException, fresh: str = "") -> Path:
    """Keep what went wrong beside the records; a later success removes it.

    Args:
        results: the folder that holds ``records/``.
        spec: what was run.
        phase: in which it failed.
        error: what was raised.
        fresh: the name of the command, if it was to be done afresh.
    """
    path = failure_path(results, spec)
    cause = {"status": "failed", "phase": phase, "error": type(error).__name__, "message": discreet(message(error))}
    told = [discreet(text) for text in traceback.format_exception(error)]
    facts = {"traceback": told, "environment": {**current(), "fresh": fresh}}
    write_json(path, {"schema": SCHEMA, "spec": asdict(spec), **cause, **facts})
    return path
