"""Which method for this dataset, within so many hours: rounds of runs, of which the better half goes on.

The runs are runs like any other, scored on the validation set; the test set is not looked at. What was decided is
written down before each round, so that a race that was stopped goes on with the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from atso_bench.benchmark.advice.schedule import Round, foreseen, kept, least, next_round, rounds
from atso_bench.benchmark.advice.standings import Standing, standings, verdict
from atso_bench.benchmark.machine.progress import duration
from atso_bench.benchmark.reading.user_files import read_object
from atso_bench.benchmark.spec import RunSpec, digest
from atso_bench.benchmark.store.files import write_json
from atso_bench.benchmark.store.record import Record

FOLDER = "advice"
LAST = 2
"""Methods of the last rounds. These two get new seeds until the time is over, whatever they show: to stop as soon as
one looks better would find differences where there are none."""
Say = Callable[[str], None]


@dataclass
class Race:
    """A race and how far it is.

    Attributes:
        specs: a whole run of seed 0 of each method, scored on the validation set.
        results: the results folder.
        seconds: that all runs together may take, on one device.
        make: makes runs that are not done; returns how many failed.
        costs: seconds of a whole run of each method: foretold, then measured.
        begun: the rounds that were begun.
    """

    specs: Mapping[str, RunSpec]
    results: Path
    seconds: float
    make: Callable[[Sequence[RunSpec]], int]
    costs: dict[str, float] = field(default_factory=dict)
    begun: list[Round] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Of a whole run."""
        return next(iter(self.specs.values())).budget.steps

    @property
    def file(self) -> Path:
        """Where it is written down; another question has another file."""
        question = [sorted(spec.key for spec in self.specs.values()), self.seconds]
        return self.results / FOLDER / f"{digest(question)}.json"

    def resume(self) -> bool:
        """Take up what was written down; whether there was something."""
        if not self.file.exists():
            return False
        kept_file = read_object(self.file)
        self.costs = {name: float(value) for name, value in kept_file["costs"].items()}
        self.begun = [Round(tuple(r["methods"]), r["steps"], tuple(r["seeds"])) for r in kept_file["rounds"]]
        return True

    def plan(self) -> list[str]:
        """What is going to happen, before it begins.

        Raises:
            ValueError: if the hours do not suffice for a first round.
        """
        names = sorted(self.specs, key=lambda name: self.costs[name])
        coming = foreseen(names, self.costs, self.steps, self.seconds)
        if not coming:
            enough = duration(least(names, self.costs))
            raise ValueError(
                f"{len(names)} methods take {enough} at least, --hours allows {duration(self.seconds)}; give more "
                "--hours, name fewer methods (-m), or take a smaller --budget"
            )
        lines = [
            f"race of {len(names)} methods in {rounds(len(names))} round(s), {duration(self.seconds)} on one device; "
            "scored on the validation set, the test set is not looked at"
        ]
        return [*lines, *(self._told(number, each) for number, each in enumerate(coming, start=1))]

    def run(self, say: Say) -> list[str]:
        """All rounds; returns the recommendation."""
        names, number = list(self.specs), 0
        found: list[Standing] = []
        while len(names) > 1:
            each = self._next(names, number)
            if each is None:
                break
            number += 1
            say(self._told(number, each))
            self._write()
            self.make(self._runs([each]))
            found, metric = self._after(number)
            for line in _table(found, metric):
                say(line)
            names = [standing.method for standing in found][: max(LAST, kept(len(each.methods)))]
        if not found:
            raise ValueError("the time is over before a round could be made; give more --hours")
        told = verdict(found, self.costs, len(self._seeds(number)))
        return [*told, f"it took {duration(self.spent)} on one device; written down in {self.file}"]

    @property
    def spent(self) -> float:
        """Seconds that the race's runs took; what several shared was computed once."""
        phases = (phase for record in self._records(self.begun) for phase in record.phases)
        return sum(phase.seconds for phase in phases if not phase.reused)

    def _next(self, names: Sequence[str], number: int) -> Round | None:
        """The round that was begun already, or a new one."""
        if number < len(self.begun):
            return self.begun[number]
        seeds = len(self._seeds(number)) if number and self.begun[-1].steps == self.steps else 0
        each = next_round(names, self.costs, self.steps, self.seconds - self.spent, seeds)
        if each is None or (number and each.steps < self.steps and each.steps <= self.begun[-1].steps):
            return None  # a run that is no longer than the last one says nothing new
        self.begun.append(each)
        return each

    def _after(self, number: int) -> tuple[list[Standing], str]:
        """Who stands where after a round: by all runs of as many steps of the methods that were in it."""
        last = self.begun[number - 1]
        alike = [replace(each, methods=last.methods) for each in self.begun[:number] if each.steps == last.steps]
        records = self._records(alike)
        self._measure(records)
        files = [self.results / "records" / record.spec.path for record in records]
        return standings(self.results, files, len(self.specs))

    def _seeds(self, number: int) -> list[int]:
        """Of the runs that the last round is judged by."""
        last = self.begun[number - 1]
        return [seed for each in self.begun[:number] if each.steps == last.steps for seed in each.seeds]

    def _measure(self, records: Sequence[Record]) -> None:
        """From now on a method costs what its runs took."""
        taken: dict[str, list[float]] = {}
        for record in records:
            whole = sum(record.seconds.values()) * self.steps / record.spec.budget.steps
            taken.setdefault(record.spec.method, []).append(whole)
        self.costs |= {name: sum(each) / len(each) for name, each in taken.items()}

    def _runs(self, those: Sequence[Round]) -> list[RunSpec]:
        return [
            replace(self.specs[name], seed=seed, budget=self.specs[name].budget.of(each.steps))
            for each in those
            for seed in each.seeds
            for name in each.methods
        ]

    def _records(self, those: Sequence[Round]) -> list[Record]:
        """Of the runs that came to an end."""
        paths = (self.results / "records" / spec.path for spec in self._runs(those))
        return [Record.read(path) for path in paths if path.exists()]

    def _told(self, number: int, each: Round) -> str:
        seeds, short = len(each.seeds), each.steps < self.steps
        of = (
            f"{each.steps:,} of {self.steps:,} steps, which shows who learns fast" if short else f"{each.steps:,} steps"
        )
        took = duration(each.seconds(self.costs, self.steps))
        return f"round {number}: {len(each.methods)} methods, {seeds} seed{'s' * (seeds != 1)} each, {of}: about {took}"

    def _write(self) -> None:
        content: dict[str, Any] = {"schema": 1, "seconds": self.seconds, "costs": self.costs}
        content["specs"] = {name: asdict(spec) for name, spec in self.specs.items()}
        write_json(self.file, {**content, "rounds": [asdict(each) for each in self.begun]})


def _table(found: Sequence[Standing], metric: str) -> list[str]:
    width = max(len(each.method) for each in found)
    return [f"  {each.method:{width}}  {metric} {each.score:.4f}  {each.told}" for each in found]
