"""Fits of methods on the toy."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any, NamedTuple

from atso_bench.benchmark import registry
from atso_bench.benchmark.contract.toy import ToyDataset
from atso_bench.benchmark.spec import Budget, Parity, RunSpec
from atso_bench.benchmark.splits import Split, make_split
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.descent import steps_behind

STEPS = 28
TOY = ToyDataset()


class Fit(NamedTuple):
    """What a fit leaves: hash of the final weights, the trainer, the split, and the steps of the result's own line."""

    weights: str
    trainer: Trainer
    split: Split
    line: int


def fitted(
    name: str,
    folder: Path,
    dataset: Any = TOY,
    fraction: str = "10",
    *,
    parity: Parity = "total",
    workers: int = 0,
    seed: int = 0,
    data: TrainData | None = None,
    **options: Any,
) -> Fit:
    """Fit the method on the toy, with its stages in ``folder``."""
    method = registry.method(name, options)
    spec = RunSpec(dataset.name, name, fraction, seed, Budget.parse(str(STEPS), parity))  # type: ignore[arg-type]
    split = make_split(dataset, spec)
    task = dataset.task(split.labelled, (*split.labelled, *split.unlabelled), spec.budget, {})
    trainer = Trainer(task, spec.budget, spec.seed, Stages(folder), workers=workers, method=method)
    data = data or TrainData(Pool(split.labelled, task.images, task.labels), Pool(split.unlabelled, task.images))
    model = method.fit(trainer, data)
    return Fit(weights_digest(model), trainer, split, steps_behind(model))


class Fits:
    """Fits of one method; each has a stage store of its own below ``root``."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self._root, self._numbers = name, root, itertools.count()
        self.usual = functools.cache(self._usual)

    @property
    def learns_from_labels_alone(self) -> bool:
        """Whether unlabelled images are to change nothing."""
        alone = ("supervised", "supervised-ema")
        return self.name in alone or getattr(registry.load("methods", self.name), "labels_alone", False)

    def folder(self) -> Path:
        """A new stage store."""
        return self._root / f"{self.name}-{next(self._numbers)}"

    def fit(self, dataset: Any = TOY, fraction: str = "10", *, folder: Path | None = None, **more: Any) -> Fit:
        """One fit, as `fitted` makes it."""
        return fitted(self.name, folder or self.folder(), dataset, fraction, **more)

    def _usual(self, seed: int = 0) -> Fit:
        """The fit with the method's defaults, made once; not to be changed."""
        return self.fit(seed=seed)
