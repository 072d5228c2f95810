"""One training step of ours, data included: against the bare arithmetic, and against nnU-Net's own trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import volumes
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from racing import Action, Goal, faster, often, overhead, sized
from stepping import steps_of
from torch import nn

from atso_bench.benchmark.training.loop import Training
from atso_bench.benchmark.training.precision import autocast
from atso_bench.methods.supervised import Supervised

pytestmark = pytest.mark.benchmark(group="training step")
SIZES = {"2d": {"width": sized(16, 4), "batch": sized(32, 4)}, "3d_fullres": {"width": sized(8, 4), "batch": 2}}
STEPS = sized(
    (3, 8), (1, 1)
)  # in a round, without and with a loader's process, which has up to 4 batches ready when it begins

RACES = [
    ("2d", 0, "bare step, batch at hand", overhead(1.05), 16),
    ("2d", 1, "bare step, batch at hand", overhead(1.05), 8),
    ("2d", 0, "the same with nnU-Net's pipeline", None, 4),
    ("2d", 0, "nnU-Net's trainer", faster(1), 4),
    ("3d_fullres", 0, "bare step, batch at hand", None, 3),
    ("3d_fullres", 0, "nnU-Net's trainer", faster(1), 3),
]


@pytest.mark.parametrize(("configuration", "workers", "opponent", "goal", "rounds"), RACES)
def test_a_step(
    race: Callable[..., Any],
    device: torch.device,
    tmp_path: Path,
    configuration: str,
    workers: int,
    opponent: str,
    goal: Goal | None,
    rounds: int,
) -> None:
    size = SIZES[configuration]
    task = volumes.task(configuration, **size)
    if opponent.startswith("the same"):
        per_sample = volumes.task(configuration, augmentation="nnunet", **size)
        with steps_of(Supervised(), per_sample, tmp_path, device) as (_, theirs):
            run(race, task, tmp_path, device, workers, lambda _: theirs, opponent, goal, rounds)
    elif opponent.startswith("bare"):
        run(race, task, tmp_path, device, workers, lambda training: bare(training, device), opponent, goal, rounds)
    else:
        theirs = nnunets(task, tmp_path / "nnunet", device)
        run(race, task, tmp_path, device, workers, lambda _: theirs, opponent, goal, rounds)


def run(
    race: Callable[..., Any],
    task: Any,
    folder: Path,
    device: torch.device,
    workers: int,
    theirs: Callable[[Training], Action],
    opponent: str,
    goal: Goal | None,
    rounds: int,
) -> None:
    with steps_of(Supervised(), task, folder, device, workers=workers) as (training, ours):
        dimensions, features = len(task.recipe.patch), task.details["features"]
        steps = STEPS[workers]
        by = "loader in its own process" if workers else "data in process"
        race(
            f"step, {dimensions}d, batch {task.recipe.batch}, features {features}, {by}",
            often(ours, steps),
            often(theirs(training), steps),
            opponent=opponent,
            goal=goal,
            rounds=rounds,
            work=steps,
        )


def bare(training: Training, device: torch.device) -> Action:
    """Forward, loss, backward, clip and optimiser on one batch that is already on the device."""
    task, recipe, draw = training.means.task, training.means.task.recipe, training.draws["labelled"]
    network = copy.deepcopy(training.job.model)
    optimizer = torch.optim.SGD(network.parameters(), **training.optimizer.defaults)
    image, label = draw.finish(draw.read(), device)
    assert label is not None

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device):
            loss = task.loss(network(image), label)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()

    return step


def nnunets(task: Any, folder: Path, device: torch.device) -> Action:
    """A step of nnU-Net's trainer on the same plan, with its own loader and augmentation, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("nnUNet_preprocessed", "nnUNet_results"):
            patch.setenv(name, str(folder / name))
        patch.setenv("nnUNet_compile", "F")  # compiling takes longer than all that is measured here
        plans = {**copy.deepcopy(task.plans), "continue_training": False}
        trainer = nnUNetTrainer(plans, task.configuration, 0, task.dataset_json, device)
        data = Path(trainer.preprocessed_dataset_folder)
        data.mkdir(parents=True)
        transforms = volumes.nnunets_transforms(task._geometry, trainer._get_deep_supervision_scales())
        loader = volumes.nnunets_loader(task, data, task.recipe.batch, transforms)
        trainer.initialize()
    trainer.network.train()
    np.random.seed(0)
    for _ in range(sized(5, 0)):  # its blur first measures which of two algorithms is faster
        loader.generate_train_batch()
    return lambda: trainer.train_step(loader.generate_train_batch())
