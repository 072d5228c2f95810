"""One record to rows of plain values, and a file that holds no score to a failure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from atso_bench.benchmark.reading.typed import STRICT, wrongs
from atso_bench.benchmark.spec import LATER_RECIPE, LabelFraction, RunSpec, digest
from atso_bench.benchmark.store.record import Record
from atso_bench.reports.data.columns import VALUE, WORD, typed
from atso_bench.reports.data.listing import check_file

COUNTS = ("tp", "fp", "fn")
METRICS = ("dice", "iou", "precision", "recall", "hd95_mm", "assd_mm", "nsd")
VOLUMES = ("volume_prediction_ml", "volume_reference_ml")
NUMBERS = (*COUNTS, *METRICS, *VOLUMES)
RATES = (
    "update_rate",
    "agreement",
    "agreement_inside",
    "agreement_outside",
    "pseudo_score",
    "correction_rate",
    "corruption_rate",
    "coverage",
)
BY_CLASS = ("agreement", "pseudo_score")
BASELINE = "supervised"
LEARNING = ("train", "predict")
"""Kinds of phases that a method learns in: training and pseudo-labelling."""
ENTRY = ("phase", "generation", "subset", "teacher")
SCORES = {"case": WORD, "class": WORD, **dict.fromkeys(NUMBERS, "d"), "empty": WORD}
PHASES = dict(
    zip(
        (
            *("name", "kind", "seconds", "cpu_seconds", "joules", "steps", "samples"),
            *("device_bytes", "process_bytes", "reused", "stage"),
        ),
        (WORD, WORD, "d", "d", "d", "q", "q", "d", "q", "?", WORD),
        strict=True,
    )
)
DIAGNOSTICS = {"entry": "q", **dict.fromkeys(ENTRY, VALUE), **dict.fromkeys(("cases", *RATES), "d")}
"""``entry`` is the place of a pseudo-labelling among those of its run."""
CLASSES = {"entry": "q", "rate": WORD, "class": WORD, "value": "d"}
"""Of ``DIAGNOSTICS`` the rates in ``BY_CLASS`` by class."""
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a file of the wrong shape may raise on its way to rows."""
KEEP = "Keep the file, and make the report with the version that wrote it."
"""What to do about a file of a newer version."""
MOST = 1e15
"""No score, second, joule or byte of a run comes near; larger numbers make sums infinite and axes without end."""
TOO_LARGE = f"a number is beyond {MOST:.0e}"
_PLAIN = {int, float, type(None)}
_Count = Annotated[int, Field(ge=-MOST, le=MOST)]


@with_config(STRICT)
class _Run(TypedDict):
    metric: str
    track: str
    budget: str
    parity: str
    seed: _Count
    steps: _Count
    spent_steps: _Count


@with_config(STRICT)
class _Phase(TypedDict):
    name: str
    kind: str
    key: str
    steps: _Count
    samples: _Count
    process_bytes: _Count


_RUN, _PHASE, _NAMES = TypeAdapter(_Run), TypeAdapter(_Phase), tuple(_Phase.__annotations__)


@dataclass(frozen=True)
class Failure:
    """A run that left no score, or a file that is no record; ``beside`` are further files that it is about."""

    path: str
    run: str
    phase: str
    message: str
    retry: str
    beside: tuple[str, ...] = ()


def _recipe(record: Record) -> dict[str, Any]:
    """The recipe of a record, without its protocol, which is told elsewhere."""
    whole = {**LATER_RECIPE, **record.spec.recipe, **record.recipe}
    return {name: value for name, value in whole.items() if name != "protocol"}


def run_row(record: Record, path: str, members: Sequence[tuple[str, float]] = ()) -> dict[str, Any]:
    """A run's row; ``members`` are the records of its folds with their scores, where it has some."""
    spec, environment = record.spec, record.environment
    words = {"metric": record.metric, "track": record.track, "budget": spec.budget.name, "parity": spec.budget.parity}
    wholes = {"seed": spec.seed, "steps": spec.budget.steps, "spent_steps": record.spent_steps}
    _expect(path, {**words, **wholes}, _RUN)
    facts = {
        "dataset": str(spec.dataset),
        "track": record.track,
        "metric": record.metric,
        "configuration": spec.configuration,
        "budget": spec.budget.name,  # a dataset picks its recipe by it
        "steps": spec.budget.steps,
        "parity": spec.budget.parity,
        # what was used says more than what was asked for: "sliding 801, stride 534" where "sliding" was
        "recipe": _recipe(record),
        "scored": spec.scored,
        "validation": spec.validation,
        "split_by": spec.split_by,
        "folds": spec.folds,
        "lists": _lists(spec),
        "classes": [str(name) for name in record.classes],
        "test": digest(sorted(record.split["test"])),
        "data": record.data,
        "metrics": record.metrics_version,
    }
    labelled = len(record.split["labelled"])
    if not labelled:
        raise ValueError(f"{path} has no labelled case")
    versions = environment.get("versions") or {}
    return {
        "key": _key(spec, path),
        "path": path,
        "members": tuple(members) or ((path, number(record.score)),),
        "comparison": digest(facts),
        "facts": facts,
        "dataset": spec.dataset,
        "configuration": spec.configuration,
        "method": spec.method,
        "options": dict(record.options),
        "overrides": dict(spec.options),
        "fraction": LabelFraction(spec.fraction, listed="labelled" in spec.lists),
        "labelled": labelled,
        "percent": record.labelled_percent,
        "upper": spec.method == BASELINE and labelled == record.pool_size,
        "seed": spec.seed,
        "metric": record.metric,
        "steps": spec.budget.steps,
        "parity": spec.budget.parity,
        "score": number(record.score),
        **_beside_miou(record),
        "palette": _palette(record),
        "protocol": _protocol(record),
        "cases": len(record.cases),
        "spent": record.spent_steps,
        "line": record.line_steps,
        **{name: number(record.on_validation.get(name)) for name in ("student", "average")},
        "teacher_patches": record.teacher_patches,
        "title": spec.title,
        "split": str(record.split.get("hash", "")),
        "data": str(record.data),
        "code": str(record.code),
        "warnings": [str(text) for text in record.warnings],
        "commit": str(environment.get("commit") or ""),
        "versions": ", ".join(
            [f"Python {environment.get('python', '?')}", *(f"{name} {versions[name]}" for name in sorted(versions))]
        ),
        "machine": _machine(environment),
        "precision": str(environment.get("precision") or ("float32" if environment.get("device") == "cpu" else "")),
        "command": shell(environment.get("command") or []),
    }


def _key(spec: RunSpec, path: str) -> str:
    """The run's key, and the data's where the file's name has it: a record of data that has changed since."""
    return spec.key + Path(path).stem.partition(spec.key)[2]


def _lists(spec: RunSpec) -> str:
    """The parts that follow a published list, and their content; the labelled cases' varies with their number."""
    fixed = {name: ids for name, ids in spec.lists.items() if name != "labelled"}
    return f"{', '.join(sorted(fixed))} ({digest(fixed)})" if fixed else ""


def _beside_miou(record: Record) -> dict[str, float]:
    """What the summary of a natural record says beside mIoU; NaN on volumes and in records that do not say it."""
    means = record.summary.get("metrics", {})
    accuracy, frame = (number(means.get(name, {}).get("mean")) for name in ("pixel_accuracy", "frame_miou"))
    return {
        "pixel_accuracy": accuracy,
        "frame_miou": frame,
        "official_miou": number(record.summary.get("official_miou")),
    }


def _palette(record: Record) -> dict[str, list[int]]:
    """Colours determine nothing: they set no runs apart."""
    for name, colour in record.palette.items():
        if len(colour) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in colour):
            raise ValueError(f"the colour of {name!r} is to be red, green and blue from 0 to 255")
    return record.palette


def _protocol(record: Record) -> dict[str, Any]:
    """Name, source and differences of the published protocol that a run follows; empty for none.

    It describes a recipe and determines nothing, and some of its differences vary with the label fraction: it sets no
    runs apart.
    """
    protocol = record.recipe.get("protocol") or {}
    if not protocol:
        return {}
    source, differs = str(protocol.get("source") or ""), [str(text) for text in protocol.get("differs") or []]
    return {"name": str(protocol["name"]), "source": source, "differs": differs}


def score_columns(record: Record) -> tuple[int, list[Any]]:
    """How many rows, one per case and class, and their columns, see ``SCORES``."""
    entries = [each for classes in record.cases.values() for each in classes.values()]
    values = list(chain.from_iterable(map(each.get, NUMBERS) for each in entries))
    if not {*map(type, values)} <= _PLAIN:
        values = [number(value) for value in values]
    numbers = np.array(values, dtype=float).reshape(len(entries), len(NUMBERS))  # None becomes NaN
    counts = numbers[:, : len(COUNTS)]
    if (counts % 1 > 0).any():
        raise ValueError("a count must be a whole number")
    if (abs(numbers) > MOST).any():
        raise ValueError(TOO_LARGE)
    cases = list(chain.from_iterable(map(repeat, record.cases, map(len, record.cases.values()))))
    classes = list(chain.from_iterable(record.cases.values()))
    return len(entries), [cases, classes, *numbers.T, [str(each.get("empty") or "") for each in entries]]


def _expect(path: str, values: dict[str, Any], kind: TypeAdapter[Any]) -> None:
    """What stands in a record under these names is of these types."""
    for wrong in wrongs(kind, values):
        raise ValueError(f"{path} has {wrong.value!r} for {wrong.place}: {wrong.words}")


def phase_columns(record: Record) -> tuple[int, list[Any]]:
    """How many rows, one per phase, and their columns, see ``PHASES``."""
    found = []
    for phase in record.phases:
        _expect(f"phase {phase.name!r}", {name: getattr(phase, name) for name in _NAMES}, _PHASE)
        times = (number(phase.seconds), number(phase.cpu_seconds), number(phase.joules))
        memory = (number(phase.device_bytes), phase.process_bytes)
        row = (phase.name, phase.kind, *times, phase.steps, phase.samples, *memory, bool(phase.reused), phase.key)
        found.append(row)
    return len(found), typed(PHASES, found)


def diagnostic_columns(record: Record) -> tuple[int, list[Any]]:
    """How many rows, one per pseudo-labelling, and their columns, see ``DIAGNOSTICS``."""
    found = []
    for place, entry in enumerate(record.diagnostics):
        names = ["" if entry.get(name) is None else entry[name] for name in ENTRY]
        if not all(isinstance(name, str | int | float) for name in names):
            raise ValueError(f"a pseudo-labelling is named by {names}, which are to be numbers and words")
        rates = (number(entry.get(_measured(record, name))) for name in ("cases", *RATES))
        found.append((place, *names, *rates))
    return len(found), typed(DIAGNOSTICS, found)


def class_columns(record: Record) -> tuple[int, list[Any]]:
    """How many rows, one per pseudo-labelling, rate and class, and their columns, see ``CLASSES``."""
    found = []
    for place, entry in enumerate(record.diagnostics):
        for rate in BY_CLASS:
            name = _measured(record, rate)
            values = entry.get(f"{name}_by_class", entry.get(name))
            if isinstance(values, dict):
                found += [(place, rate, str(each), number(value)) for each, value in values.items()]
    return len(found), typed(CLASSES, found)


def _measured(record: Record, rate: str) -> str:
    return f"pseudo_{record.metric}" if rate == "pseudo_score" else rate  # pseudo_dice or pseudo_miou


def read_failure(file: Path, path: str, results: Path) -> Failure:
    again = "Run the same command again; finished phases are kept."
    try:
        check_file(file, results)
        raw = orjson.loads(file.read_bytes())  # json would let half a character through, which no file can hold
        command = shell(raw["environment"].get("command") or [])
        cause = f"{raw['error']}: {raw['message']}"
        title = RunSpec.from_json(raw["spec"]).title
        return Failure(path, title, str(raw["phase"]), cause, f"{again} {command}".strip())
    except (OSError, *MALFORMED) as error:
        return Failure(path, path, "reading the failure", str(error).replace(str(file), path), again)


def shell(words: Iterable[Any]) -> str:
    """The command, ready for a shell; the home that a record has as ``~`` is the reader's."""
    return " ".join(map(_quoted, map(str, words)))


def _quoted(word: str) -> str:
    if word.startswith("~/"):
        return f"~/{shlex.quote(word[2:])}" if word[2:] else word
    name, there, rest = word.partition("=~/")  # a shell knows ~ at a word's beginning alone
    return f'{shlex.quote(name + "=")}"$HOME"/{shlex.quote(rest)}' if there else shlex.quote(word)


def _machine(environment: dict[str, Any]) -> str:
    cores = environment.get("processor_count")
    parts = [environment.get("platform"), f"{cores} cores" if cores else None, environment.get("gpu")]
    parts.append(environment.get("device"))
    if isinstance(together := environment.get("together"), int) and together > 1:
        parts.append(f"{together} runs at once")
    return ", ".join(str(part) for part in parts if part)


def number(value: Any) -> float:
    """A float; NaN for what is undefined or no number; the mean over classes of a dictionary of numbers.

    Raises:
        ValueError: if it is larger than anything that is measured.
    """
    if isinstance(value, dict):
        defined = [item for item in map(number, value.values()) if not math.isnan(item)]
        return sum(defined) / len(defined) if defined else math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    if abs(value) > MOST:
        raise ValueError(TOO_LARGE)
    return float(value)
