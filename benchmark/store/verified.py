"""What repeating runs has shown: notes beside the records, which name software and processors but nobody."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from atso_bench.benchmark.spec import digest
from atso_bench.benchmark.store.files import jsonable, write_json
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.schema import check_schema

SCHEMA = 1
FOLDER = "verified"


@dataclass(frozen=True)
class Verification:
    """The outcome of repeating a run.

    Attributes:
        key: of the run.
        record: hash of what the record claims, see `claim`; a note on another record of the same run does not count.
        verdict: ``same`` or ``differs``.
        bitwise: whether all that was compared is the same, bit for bit.
        expected: what the verdict asks for: the same ``bits``, or a ``score`` within ``tolerance``.
        because: why the same bits are not expected; empty where they are.
        tolerance: by how much the headline score may differ where other bits are expected.
        score: the record's headline score; None where it is undefined.
        again: the repeated run's.
        cases: how many cases were scored.
        other_cases: those whose scores are not the same, bit for bit.
        repeated: how many phases were made again; the evaluation always is.
        of: how many phases the run has.
        phases: what was found of each training and pseudo-labelling that was, see ``alike.PhaseAgain``.
        environment: versions and machine of the repetition, as in a record but for the command.
        when: day of the repetition, in UTC.
    """

    key: str
    record: str
    verdict: Literal["same", "differs"]
    bitwise: bool
    expected: Literal["bits", "score"]
    because: list[str]
    tolerance: float
    score: float | None
    again: float | None
    cases: int
    other_cases: list[str]
    repeated: int
    of: int
    phases: list[dict[str, Any]]
    environment: dict[str, Any]
    when: str

    @property
    def words(self) -> str:
        """The verdict in a few words, and how much it is of."""
        same = "the same, bit for bit" if self.bitwise else f"the same within {self.tolerance:g}"
        part = f" ({self.repeated} of {self.of} phases)" if self.repeated < self.of else ""
        return ("differs" if self.verdict == "differs" else same) + part


def claim(record: Record) -> str:
    """Hash of what a record says that a repetition can show; not of times, machine, command or words."""
    phases = [(phase.name, phase.key) for phase in record.phases]
    facts = [record.spec.key, record.data, record.metrics_version, record.code, record.split, record.cases, phases]
    return digest(jsonable(facts), length=24)


def files(results: Path, key: str) -> list[Path]:
    """The files of notes on a run: our own, and those of others, who may call theirs ``KEY-NAME.json``."""
    return sorted([*(results / FOLDER).glob(f"{key}.json"), *(results / FOLDER).glob(f"{key}-*.json")])


def add(results: Path, found: Verification) -> Path:
    """Write a note beside those that are there; those on another record of the run go."""
    path = results / FOLDER / f"{found.key}.json"
    kept: list[Verification] = []
    with contextlib.suppress(FileNotFoundError):
        kept = [each for each in _read(path) if each.record == found.record]
    write_json(path, {"schema": SCHEMA, "verifications": [asdict(each) for each in (*kept, found)]})
    return path


def notes(results: Path, record: Record) -> list[Verification]:
    """The notes on this record, oldest first.

    Raises:
        ValueError: if a file of notes cannot be read.
    """
    found = [each for file in files(results, record.spec.key) for each in _read(file)]
    return sorted((each for each in found if each.record == claim(record)), key=lambda each: each.when)


def _read(path: Path) -> list[Verification]:
    try:
        raw = orjson.loads(path.read_bytes())
        check_schema(raw, SCHEMA)
        return [Verification(**each) for each in raw["verifications"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no readable note of a verification: {error}; remove it") from error
