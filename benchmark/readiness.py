"""Whether a grid can begin: its folder, its data, its splits. What cannot be is said before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from atso_bench.benchmark import registry, split_notes
from atso_bench.benchmark.spec import RunSpec

_OTHERS = ("index", "jobs", "logs")
"""Folders of a results folder that a run on this machine does not need to write to."""


def check_folder(out: Path) -> None:
    """A results folder that is a file, or lies below one, is an error before anything is created.

    Raises:
        ValueError: saying which.
    """
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"--out {out}: {nearest} is a file; give a folder, which need not exist yet")


def check_writable(out: Path) -> None:
    """A results folder that cannot be written to is an error before anything is trained.

    Raises:
        ValueError: saying which folder.
    """
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    inside = [path for path in nearest.iterdir() if path.is_dir()] if nearest == out.absolute() else []
    needed = [folder for folder in inside if folder.name not in _OTHERS]  # another user's may be there too
    for folder in (nearest, *needed):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"--out {out}: {folder} is not writable; change its permissions, or choose another folder")


def make_ready(specs: Sequence[RunSpec], say: Callable[[str], None]) -> None:
    """Stop before anything runs if a dataset is not there, or if a split or the recipe is impossible.

    Args:
        specs: the runs.
        say: gets what has to be said of data and splits.

    Raises:
        ValueError: if a run is not possible.
    """
    from atso_bench.benchmark.splits import make_split

    for dataset, configuration in dict.fromkeys((spec.dataset, spec.configuration) for spec in specs):
        found = registry.dataset(dataset, configuration)
        found.ready(say)
        own = [spec for spec in specs if (spec.dataset, spec.configuration) == (dataset, configuration)]
        firsts: dict[tuple[Hashable, ...], RunSpec] = {}
        for spec in own:
            firsts.setdefault(_cases(spec), spec)  # all methods have the same splits
        own = list(firsts.values())
        splits = [make_split(found, spec) for spec in own]
        for note in split_notes.of_grid(own, splits, (*found.pool, *found.test)):
            say(f"note: {note}")
        # the same recipe for the whole grid; the identity needs all that it names
        try:
            found.task(splits[0].labelled, (), own[0].budget, own[0].recipe).identity  # noqa: B018
        except ValueError as error:
            raise ValueError(f"{dataset}: {error}") from error


def _cases(spec: RunSpec) -> tuple[Hashable, ...]:
    """What decides the split of one dataset's run."""
    lists = tuple((part, tuple(ids)) for part, ids in spec.lists.items())
    return spec.fraction, spec.seed, spec.validation, spec.scored, spec.split_by, spec.folds, spec.fold, lists


def timed(
    specs: list[RunSpec], out: Path, devices: Sequence[str], workers: int, say: Callable[[str], None]
) -> list[RunSpec]:
    """With parity ``time`` the runs have the steps that fit into the time of supervised training."""
    if all(spec.budget.parity != "time" for spec in specs):
        return specs
    from atso_bench.benchmark.engines.local import threads_for
    from atso_bench.benchmark.forecast.equal_time import Machine, scaled

    return scaled(specs, out, Machine(devices[0], workers, threads_for(devices, workers)), say)
