"""Two makings of one run, side by side: weights, pseudo labels, scores, and the machines that made them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atso_bench.benchmark.store.files import jsonable
from atso_bench.benchmark.store.packs import DamagedError
from atso_bench.benchmark.store.record import Phase, Record
from atso_bench.benchmark.store.stages import Stages

_DECIDE = ("processor", "threads", "python", "gpu", "cuda", "precision", "compiled", "deterministic", "commit")
"""Of a record's environment what decides rounding, beside the versions, the device and the instruction set."""


@dataclass(frozen=True)
class PhaseAgain:
    """A phase that was repeated.

    Attributes:
        name: the phase's.
        by: what was compared: ``weights`` or ``labels`` bit for bit; ``losses``, every one that a record holds, where
            the stages are gone; empty where there was nothing to compare.
        same: whether they are the same, bit for bit; None where there was nothing to compare.
        largest: difference of two weights; None where it is not known.
    """

    name: str
    by: str
    same: bool | None
    largest: float | None = None

    @property
    def words(self) -> str:
        if self.same is None:
            return f"{self.name}: not compared, its stage is gone"
        if self.same:
            return f"{self.name}: {self.by} are the same, bit for bit"
        return f"{self.name}: {self.by} differ" + (f" by up to {self.largest:.2g}" if self.largest else "")


def phases(before: Record, old: Path, after: Record, new: Path) -> list[PhaseAgain]:
    """What became of each phase that was repeated, but for the evaluation, which the scores are of.

    Args:
        before: the record.
        old: its results folder, whose stages may be gone.
        after: the record of the repetition.
        new: its results folder.
    """
    had, has = ([each for each in record.phases if each.key] for record in (before, after))
    if [each.name for each in had] != [each.name for each in has]:
        return [PhaseAgain("course of the run", "phases", same=False)]
    pairs = [(one, two) for one, two in zip(had, has, strict=True) if not two.reused]
    return [_phase(one, Stages(old / "stages"), two, Stages(new / "stages")) for one, two in pairs]


def _phase(one: Phase, old: Stages, two: Phase, new: Stages) -> PhaseAgain:
    folders = old.folder(one.key), new.folder(two.key)
    if one.kind != "train":
        had, has = (_labels(folder) for folder in folders)
        return PhaseAgain(one.name, "labels", had == has) if had and has else PhaseAgain(one.name, "", None)
    found = weights(one.name, *(folder / "model.pt" for folder in folders))
    if found.same is None and one.losses and two.losses:
        return PhaseAgain(one.name, "losses", jsonable(one.losses) == jsonable(two.losses))
    return found


def weights(name: str, *files: Path) -> PhaseAgain:
    """Two files of weights, of which one may be gone or damaged."""
    had, has = (_weights(file) for file in files)
    if not had or not has:
        return PhaseAgain(name, "", None)
    if not ("average" in had and "average" in has):  # of a stage from before there were averages
        had, has = ({key: value for key, value in each.items() if key != "average"} for each in (had, has))
    had, has = dict(_flat(had)), dict(_flat(has))
    if {key: value.shape for key, value in had.items()} != {key: value.shape for key, value in has.items()}:
        return PhaseAgain(name, "weights", same=False)
    same = all(_bits(value).equal(_bits(has[key])) for key, value in had.items())
    apart = (float((value.double() - has[key].double()).abs().max()) for key, value in had.items() if value.numel())
    return PhaseAgain(name, "weights", same, None if same else max(apart, default=0.0))


def _bits(value: Tensor) -> Tensor:
    return value.contiguous().reshape(-1).view(torch.uint8)


def _flat(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of weights that lie in each other: those of a model, or of the models of a training."""
    if isinstance(state, Tensor):
        yield name, state
        return
    for key, inner in state.items() if isinstance(state, Mapping) else enumerate(state):
        yield from _flat(inner, f"{name}.{key}")


def _weights(file: Path) -> Mapping[str, Any]:
    with contextlib.suppress(DamagedError):
        return Stages.load(file) or {}
    return {}


def _labels(folder: Path) -> dict[str, str]:
    """Hashes of a finished labelling's labels; empty where they are gone."""
    if not (folder / "labels.json").exists():
        return {}
    return {case_id: stored.digest for case_id, stored in Stages.read_labels(folder)[0].items()}


def other_cases(before: Record, after: Record) -> list[str]:
    """Cases whose counts and scores are not the same, bit for bit, or that only one of the two scored."""
    one, two = jsonable(before.cases), jsonable(after.cases)
    return sorted(case_id for case_id in one.keys() | two.keys() if one.get(case_id) != two.get(case_id))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Why two makings need not be the same, bit for bit: software, processors and devices by name; empty if they must.

    Args:
        before: environment of a record.
        after: the same of its repetition.
    """
    found = [*_versions(before, after), *_machines(before, after), *_on_a_gpu(before, after)]
    if any(str(each.get("commit") or "").endswith("+") for each in (before, after)):
        found.append("commit: the code had changes that no commit holds")
    return found


def _versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    had, has = before.get("versions") or {}, after.get("versions") or {}
    for name in sorted(had.keys() | has.keys()):
        if had.get(name) != has.get(name):
            yield f"{name}: {had.get(name) or 'not there'} in the record, {has.get(name) or 'not there'} here"


def _machines(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name, had, has in [
        ("device", device(before), device(after)),
        (
            "machine",
            str(before.get("platform", "")).rpartition(" ")[2],
            str(after.get("platform", "")).rpartition(" ")[2],
        ),
        *((name, before.get(name), after.get(name)) for name in _DECIDE),
    ]:
        if had != has:
            yield f"{name}: {'not known' if had in (None, '') else had} in the record, {has} here"


def device(environment: Mapping[str, Any]) -> str:
    """``cpu`` or ``cuda``."""
    return str(environment.get("device", "")).partition(":")[0]


def _on_a_gpu(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if "cpu" == device(before) == device(after):
        return
    if not before.get("deterministic"):
        yield "on a GPU without --deterministic sums change from run to run"
    elif unsure := sorted({*(before.get("nondeterministic") or ()), *(after.get("nondeterministic") or ())}):
        yield f"torch has no deterministic algorithm on this GPU for {', '.join(unsure)}"
