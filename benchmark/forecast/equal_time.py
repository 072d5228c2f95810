"""Parity ``time``: how many steps of each method take as long as the budget's steps of supervised training.

They are measured once for a results folder, so that a command that is given again makes the same runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from atso_bench.benchmark.forecast.plan import forecast
from atso_bench.benchmark.spec import RunSpec, digest
from atso_bench.benchmark.store.files import write_json
from atso_bench.benchmark.store.locks import locked
from atso_bench.benchmark.store.schema import check_schema

FILE = "equal-time.json"
"""In the results folder: the scales that were measured there."""
SCHEMA = 1
YARDSTICK = "supervised"


@dataclass(frozen=True)
class Machine:
    """Where steps are timed; see ``forecast``."""

    device: str
    workers: int
    threads: int

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.partition(":")[0]


def scaled(specs: Sequence[RunSpec], results: Path, machine: Machine, say: Callable[[str], None]) -> list[RunSpec]:
    """The same runs, each with its method's scale; runs of another parity stay as they are.

    Args:
        specs: the runs; those that differ in their seed alone have one scale.
        results: where scales are remembered.
        machine: where those that are not known are measured.
        say: tells the user each scale.

    Raises:
        ValueError: if a method's pseudo-labelling alone takes longer than the supervised training.
    """
    if not any(spec.budget.parity == "time" for spec in specs):
        return list(specs)
    kinds = [_kind(spec, machine) for spec in specs]
    results.mkdir(parents=True, exist_ok=True)
    with locked(results / f".{FILE}.lock"):
        known = _read(results / FILE)
        new = {kind: spec for kind, spec in zip(kinds, specs, strict=True) if kind not in known}
        if new:
            known |= {kind: _facts(new[kind], machine, scale) for kind, scale in _measured(new, machine)}
            write_json(results / FILE, {"schema": SCHEMA, "scales": known})
    made = [_with(spec, known[kind]["scale"]) for spec, kind in zip(specs, kinds, strict=True)]
    for line in dict.fromkeys(map(_line, made)):
        say(line)
    return made


def _kind(spec: RunSpec, machine: Machine) -> str:
    return digest([replace(spec, seed=0).key, machine.kind])


def _with(spec: RunSpec, scale: float) -> RunSpec:
    return replace(spec, budget=replace(spec.budget, scale=scale))


def _measured(specs: Mapping[str, RunSpec], machine: Machine) -> Iterator[tuple[str, float]]:
    """The scale of each kind of run, to two digits, from a look at how long its steps and its pseudo-labelling take."""
    yardsticks = {kind: replace(spec, method=YARDSTICK, options={}) for kind, spec in specs.items()}
    others = [kind for kind, spec in specs.items() if spec.method != YARDSTICK]
    yield from ((kind, 1.0) for kind in specs if kind not in others)
    needed = {spec.key: spec for each in (yardsticks, specs) for spec in (each[kind] for kind in others)}
    with TemporaryDirectory() as nothing_done:
        told = forecast([*needed.values()], Path(nothing_done), machine.device, machine.workers, machine.threads)
        found = {each.spec.key: each for each in told}
    for kind in others:
        yardstick, own = found[yardsticks[kind].key], found[specs[kind].key]
        room = yardstick.training - own.labelling
        scale = room / own.training
        if scale * own.spec.budget.steps < own.trainings:
            raise ValueError(
                f"--parity time: {own.spec.method} labels for {own.labelling:.0f} s, and {own.spec.budget.steps:,} "
                f"steps of supervised training take {yardstick.training:.0f} s; raise --budget"
            )
        yield kind, float(f"{scale:.2g}")


def _facts(spec: RunSpec, machine: Machine, scale: float) -> dict[str, Any]:
    """What the file says of a scale, for people too."""
    named = {"dataset": spec.dataset, "method": spec.method, "options": spec.options, "fraction": spec.fraction}
    return {**named, "steps": spec.budget.steps, "device": machine.kind, "scale": scale}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    check_schema(content, SCHEMA)
    scales: dict[str, Any] = content["scales"]
    return scales


def _line(spec: RunSpec) -> str:
    own, whole = spec.budget.own.steps, spec.budget.steps
    return f"equal time: {spec.method} on {spec.dataset} has {own:,} steps where supervised training has {whole:,}"
