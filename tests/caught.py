"""A method's training, caught before it is carried out: its model, its loss and its pools."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fitting import TOY, fit

from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.loop import Job, Labelled, Unlabelled, seed_everything


def caught(name: str, folder: Any, dataset: Any = TOY, **options: Any) -> tuple[Job, Trainer]:
    """The one training of a method on the toy, and its trainer; nothing is learnt."""
    jobs: list[Job] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "carry_out", lambda trainer, job, *_: jobs.append(job))
        _, trainer, _ = fit(name, folder, dataset, **options)
    (job,) = jobs
    return job, trainer


def batch(trainer: Trainer, job: Job, number: int = 3) -> dict[str, Any]:
    """Patches of S with labels and of R without."""
    drawn = {}
    for name, pool in job.pools.items():
        seed_everything(0, 0, 0, stream=0)
        image, label = trainer.task.draws(pool, number)()
        drawn[name] = Unlabelled(image) if label is None else Labelled(image, label)
    torch.manual_seed(0)
    return drawn


def gradient(job: Job, loss: torch.Tensor) -> float:
    """Largest absolute derivative of a loss by a weight of the job's model."""
    given = torch.autograd.grad(loss, list(job.model.parameters()), allow_unused=True)
    return max((part.abs().max().item() for part in given if part is not None), default=0.0)
