"""The key of a phase: the hash of all that determines it. Equal keys are the same phase, and it is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from atso_bench.benchmark.spec import Budget, digest
from atso_bench.benchmark.store.environment import versions
from atso_bench.benchmark.store.packs import PseudoLabels
from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.task import Pool, Task
from atso_bench.benchmark.training import origin
from atso_bench.benchmark.training.execution import Execution
from atso_bench.benchmark.training.imitation import Imitation
from atso_bench.benchmark.training.labels import Style
from atso_bench.benchmark.training.loop import Job, nothing
from atso_bench.benchmark.training.precision import EXACT, precision

VERSION = 2
"""Version of the loop; a change that changes weights raises it, so that old stages are not taken for new ones."""


class Keys:
    """Makes the keys of a run's phases, each of which knows those before it.

    A method's own phase depends on the method (name, code, options) and on all that the method may have seen. A phase
    that is the same for several methods depends on neither.
    """

    def __init__(
        self,
        task: Task,
        budget: Budget,
        seed: int,
        device: torch.device,
        execution: Execution,
        method: Any,
        weights: Callable[..., str] = weights_digest,
    ) -> None:
        """``weights`` gives the hash of several models."""
        self.task, self.budget, self.seed, self.weights = task, budget, seed, weights
        self._origin = None if method is None else origin.of(method)
        self._before: list[str] = []
        self._build: dict[bool, str] = {}
        self._ground = {
            "version": VERSION,
            "software": versions(),
            "device": device.type,  # a phase of another device would bring that device's seconds along
            **({"precision": found} if (found := precision(device)) != EXACT else {}),
            "task": task.identity,
            **{name: True for name, on in asdict(execution).items() if on},
        }

    def planned(self, model: nn.Module) -> None:
        """Remember how the task's network is built."""
        self._build = self._build or {learning: origin.build(model, learning=learning) for learning in (True, False)}

    def train(self, job: Job, ordinal: int) -> str:
        """The key of a training, the run's ``ordinal``-th."""
        return self._key(
            kind="train",
            seed=self.seed,
            ordinal=ordinal,
            steps=job.steps,
            origin=self.whose(job),
            pools=[[name, self._pool(pool)] for name, pool in job.pools.items()],
            weights=self.weights(*job.models),
            **({"rate": job.rate} if job.rate != 1 else {}),
        )

    def predict(self, model: nn.Module, pool: Pool, style: Style) -> str:
        """The key of a pseudo-labelling."""
        return self._key(
            kind="predict",
            ids=pool.ids,
            inference=self.task.details.get("evaluation"),
            origin={} if self.as_planned(model, [pool], learning=False) else self.own(),
            weights=self.weights(model),
            **style.facts,
        )

    def whose(self, job: Job) -> dict[str, Any]:
        """What a training depends on beside pools, weights and steps: the one place that says which are everybody's.

        Learning from labels as they are is one phase for all methods, as M0 is: the loss is the trainer's, so that no
        method's code is in it. The network must be the planned one, the images the task's.
        """
        step = job.step
        if not isinstance(step, Imitation):
            return self.own()
        everybodys = (
            step.task is self.task
            and step.model is job.model
            and all(step.pools.get(name) is pool for name, pool in job.pools.items())
            and not job.also
            and job.after is nothing
            and self.as_planned(job.model, job.pools.values(), learning=True)
        )
        return {"imitate": step.facts} if everybodys else self.own()

    def own(self) -> dict[str, Any]:
        """What a phase depends on in which a method's own code has a part: the method, and all that it has seen so far.

        Raises:
            RuntimeError: if it is not known whose it is.
        """
        if self._origin is None:
            raise RuntimeError("a phase of a method's own needs Trainer(..., method=...)")
        seen = {"budget": self.budget.facts, "seed": self.seed, "cases": list(self.task.images)}
        return {**self._origin, "seen": digest({**seen, "before": self._before})}

    def as_planned(self, model: nn.Module, pools: Iterable[Pool], *, learning: bool) -> bool:
        """Whether weights and case ids say all about a model and its pools, whichever method they come from."""
        alike = self._build.get(learning) == origin.build(model, learning=learning)
        return alike and all(pool.images is self.task.images for pool in pools)

    def _key(self, **facts: Any) -> str:
        key = digest({**self._ground, **facts}, length=24)
        self._before.append(key)
        return key

    def _pool(self, pool: Pool) -> dict[str, Any]:
        facts = {"ids": pool.ids, "pseudo": pool.pseudo}
        if isinstance(pool.labels, PseudoLabels):
            return {**facts, "labels": pool.labels.digest(pool.ids)}
        if pool.labels is not None and pool.labels is not self.task.labels:
            raise TypeError("a pool's labels are the task's own or what Trainer.predict wrote; others have no hash")
        return {**facts, "labels": "true" if pool.labels is not None else None}
