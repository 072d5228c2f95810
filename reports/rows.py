"""One record to rows of plain values, and a file that holds no score to a failure."""

from __future__ import annotations

import json
import math
import shlex
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from atso_bench.benchmark.record import Record
from atso_bench.benchmark.spec import RunSpec, digest

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
)
BY_CLASS = ("agreement", "pseudo_score")
BASELINE = "supervised"
BY_LIST = " by list"
"""Behind a label fraction whose cases a published list names: they stand in a column of their own."""
PHASE = ("name", "kind", "seconds", "joules", "steps", "samples", "device_bytes", "process_bytes", "reused")
LEARNING = ("train", "predict")
"""Kinds of phases that a method learns in: training and pseudo-labelling."""
ENTRY = ("phase", "generation", "subset", "teacher")
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError)
"""What a file of the wrong shape may raise on its way to rows."""
_PLAIN = {int, float, type(None)}


@dataclass(frozen=True)
class Failure:
    """A run that left no score, or a file that is no record."""

    path: str
    run: str
    phase: str
    message: str
    retry: str


def run_row(record: Record, path: str) -> dict[str, Any]:
    spec, environment = record.spec, record.environment
    _expect(path, metric=(record.metric, str), track=(record.track, str), seed=(spec.seed, int))
    if abs(spec.seed) >= 2**63:
        raise ValueError(f"{path} has a seed that no file can hold, {spec.seed}")
    facts = {
        "dataset": str(spec.dataset),
        "track": record.track,
        "metric": record.metric,
        "configuration": spec.configuration,
        "budget": spec.budget.name,  # a dataset picks its recipe by it
        "steps": spec.budget.steps,
        "parity": spec.budget.parity,
        # what was used says more than what was asked for: "sliding 801, stride 534" where "sliding" was
        "recipe": {name: value for name, value in {**spec.recipe, **record.recipe}.items() if name != "protocol"},
        "scored": spec.scored,
        "validation": spec.validation,
        "split_by": spec.split_by,
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
        "comparison": digest(facts),
        "facts": facts,
        "dataset": spec.dataset,
        "configuration": spec.configuration,
        "method": spec.method,
        "options": dict(record.options),
        "overrides": dict(spec.options),
        "fraction": spec.fraction + BY_LIST * ("labelled" in spec.lists),
        "labelled": labelled,
        "percent": record.labelled_percent,
        "upper": spec.method == BASELINE and labelled == record.pool_size,
        "seed": spec.seed,
        "metric": record.metric,
        "steps": spec.budget.steps,
        "parity": spec.budget.parity,
        "score": number(record.score),
        **_beside_miou(record),
        "protocol": _protocol(record),
        "cases": len(record.cases),
        "spent": record.spent_steps,
        "teacher_patches": record.teacher_patches,
        "title": spec.title,
        "split": str(record.split.get("hash", "")),
        "data": str(record.data),
        "warnings": [str(text) for text in record.warnings],
        "commit": str(environment.get("commit") or ""),
        "versions": ", ".join(
            [f"Python {environment.get('python', '?')}", *(f"{name} {versions[name]}" for name in sorted(versions))]
        ),
        "machine": _machine(environment),
        "command": shlex.join(str(word) for word in environment.get("command") or []),
    }


def _key(spec: RunSpec, path: str) -> str:
    """The run's key, and the data's where the file's name has it: a record of data that has changed since."""
    return spec.key + Path(path).stem.partition(spec.key)[2]


def _lists(spec: RunSpec) -> str:
    """The parts that follow a published list, and their content; S's list is its column's, for it varies with it."""
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


class Scores:
    """The scores of many records, column by column: rows of Python's numbers would take four times the memory."""

    def __init__(self) -> None:
        self._runs: list[tuple[str, int]] = []
        self._numbers = [array("d") for _ in NUMBERS]
        self._words = {name: _Words() for name in ("case", "class", "empty")}

    def add(self, record: Record, key: str) -> None:
        """Nothing of a record whose cases have the wrong shape."""
        entries = [each for classes in record.cases.values() for each in classes.values()]
        values = list(chain.from_iterable(map(each.get, NUMBERS) for each in entries))
        if not {*map(type, values)} <= _PLAIN:
            values = [number(value) for value in values]
        numbers = np.array(values, dtype=float).reshape(len(entries), len(NUMBERS))  # None becomes NaN
        if (numbers[:, : len(COUNTS)] % 1 > 0).any():
            raise ValueError("a count must be a whole number")
        self._words["case"].extend(chain.from_iterable(map(repeat, record.cases, map(len, record.cases.values()))))
        self._words["class"].extend(chain.from_iterable(record.cases.values()))
        self._words["empty"].extend(str(each.get("empty") or "") for each in entries)
        for column, numbers_of in zip(self._numbers, numbers.T, strict=True):
            column.frombytes(numbers_of.tobytes())
        self._runs.append((key, len(entries)))

    def extend(self, more: Scores, but: Collection[str] = ()) -> None:
        """Those of other records behind these; none of the runs ``but``."""
        lengths = [length for _, length in more._runs]
        kept = np.repeat(np.array([key not in but for key, _ in more._runs], dtype=bool), lengths)
        for column, numbers_of in zip(self._numbers, more._numbers, strict=True):
            column.frombytes(np.asarray(numbers_of)[kept].tobytes())
        for name, words in self._words.items():
            words.extend_by(more._words[name], kept)
        self._runs += [run for run in more._runs if run[0] not in but]

    def frame(self) -> pd.DataFrame:
        """A row per run (``key``), case and class, runs in the order in which they came; words are categories.

        It lies in the memory that holds the scores here: add no more of them.
        """
        words = {name: each.column() for name, each in self._words.items()}
        runs = np.arange(len(self._runs)).repeat([length for _, length in self._runs])
        keys = pd.Categorical.from_codes(runs, pd.Index([key for key, _ in self._runs], dtype=str))
        numbers = {name: np.asarray(values) for name, values in zip(NUMBERS, self._numbers, strict=True)}
        columns = {"key": keys, "case": words["case"], "class": words["class"], **numbers, "empty": words["empty"]}
        return pd.DataFrame(columns, copy=False)


def spelled(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of `Scores.frame` with words for categories: eight times the memory, and no surprise in a group."""
    return scores.astype(dict.fromkeys(("key", "case", "class", "empty"), str))


class _Words:
    """A column of words of which there are few."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._column = array("i")

    def extend(self, words: Iterable[str]) -> None:
        self._column.extend([self._places.setdefault(word, len(self._places)) for word in words])

    def extend_by(self, more: _Words, kept: NDArray[np.bool_]) -> None:
        """With those of another column that are ``kept``, without a look at each."""
        places = np.array([self._places.setdefault(word, len(self._places)) for word in more._places], dtype=np.intc)
        self._column.frombytes(places[np.asarray(more._column)[kept]].tobytes())

    def column(self) -> pd.Categorical[str]:
        return pd.Categorical.from_codes(np.asarray(self._column), pd.Index([*self._places], dtype=str))


def _expect(path: str, **values: tuple[Any, type]) -> None:
    """What stands in a record under these names is of these types."""
    for name, (value, kind) in values.items():
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{path} has {value!r} for {name}, which is to be of type {kind.__name__}")


def phase_rows(record: Record, key: str) -> Iterator[tuple]:
    for phase in record.phases:
        counts = {name: (getattr(phase, name), int) for name in ("steps", "samples", "process_bytes")}
        _expect(f"phase {phase.name!r}", name=(phase.name, str), kind=(phase.kind, str), **counts)
        seconds, device = number(phase.seconds), number(phase.device_bytes)
        yield (
            key,
            phase.name,
            phase.kind,
            seconds,
            number(phase.joules),
            phase.steps,
            phase.samples,
            device,
            phase.process_bytes,
            phase.reused,
        )


def diagnostic_rows(record: Record, key: str) -> Iterator[tuple]:
    measured = {"pseudo_score": f"pseudo_{record.metric}"}  # pseudo_dice or pseudo_miou
    for entry in record.diagnostics:
        names = ["" if entry.get(name) is None else entry[name] for name in ENTRY]
        if not all(isinstance(name, str | int | float) for name in names):
            raise ValueError(f"a pseudo-labelling is named by {names}, which are to be numbers and words")
        rates = (number(entry.get(measured.get(name, name))) for name in ("cases", *RATES))
        yield key, *names, *rates, *(_by_class(entry, measured.get(name, name)) for name in BY_CLASS)


def _by_class(entry: dict[str, Any], name: str) -> dict[str, float]:
    found = entry.get(f"{name}_by_class", entry.get(name))
    return {str(each): number(value) for each, value in found.items()} if isinstance(found, dict) else {}


def read_failure(file: Path, path: str) -> Failure:
    again = "Run the same command again; phases that were finished are kept."
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        command = shlex.join(str(word) for word in raw["environment"].get("command") or [])
        cause = f"{raw['error']}: {raw['message']}"
        title = RunSpec.from_json(raw["spec"]).title
        return Failure(path, title, str(raw["phase"]), cause, f"{again} {command}".strip())
    except (OSError, *MALFORMED) as error:
        return Failure(path, path, "reading the failure", str(error).replace(str(file), path), again)


def _machine(environment: dict[str, Any]) -> str:
    cores = environment.get("processor_count")
    parts = [environment.get("platform"), f"{cores} cores" if cores else None, environment.get("gpu")]
    parts.append(environment.get("device"))
    return ", ".join(str(part) for part in parts if part)


def number(value: Any) -> float:
    """A float; NaN for what is undefined or no number; the mean over classes of a dictionary of numbers."""
    if isinstance(value, dict):
        defined = [item for item in map(number, value.values()) if not math.isnan(item)]
        return sum(defined) / len(defined) if defined else math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)
