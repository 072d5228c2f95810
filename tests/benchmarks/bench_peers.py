"""Our mean-teacher's step against loops as the peers write them, with the same network, loss and batch.

The opponents are written by us from the description of SSL4MIS and UA-MT in the literature's code, not copied.
"""

from __future__ import annotations

import copy
import logging
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import volumes
from bench_losses import parameter_by_parameter
from bench_metrics import directed
from racing import Action, faster, now, often, sized
from scipy import ndimage
from stepping import steps_of
from torch import nn

from atso_bench.benchmark.training.heads import main_head, rows
from atso_bench.benchmark.training.loop import Training
from atso_bench.benchmark.training.precision import autocast
from atso_bench.methods._consistency import noisy
from atso_bench.methods._losses import sigmoid_rampup, softmax_mse
from atso_bench.methods.mean_teacher import MeanTeacher
from atso_bench.methods.ua_mt import UncertaintyAwareMeanTeacher

pytestmark = pytest.mark.benchmark(group="mean teacher's step")
SIZE = {"width": sized(16, 4), "batch": sized(32, 2)}
STEPS = sized(3, 1)  # in a round
SCORED_EVERY = 200


@pytest.mark.parametrize("pipeline", ["same batches", "batches by nnU-Net's pipeline"])
def test_a_peers_loop(race: Callable[..., Any], device: torch.device, tmp_path: Path, pipeline: str) -> None:
    task = volumes.task("2d", **SIZE)
    other = task if pipeline.startswith("same") else volumes.task("2d", augmentation="nnunet", **SIZE)
    with steps_of(MeanTeacher(), task, tmp_path, device) as (training, ours):
        draws = {name: other.draws(pool, SIZE["batch"] // 2) for name, pool in training.job.pools.items()}
        step = ssl4mis(training, draws, tmp_path / "log.txt", device)
        scoring = seconds_of_scores(training.job.model, task, device)
        race(
            "mean-teacher's step, 2d, batch 32, data in process",
            often(ours, STEPS),
            often(step, STEPS),
            opponent=f"SSL4MIS's loop, {pipeline}, with 1/{SCORED_EVERY} of a scored volume (measured apart)",
            goal=faster(1),
            rounds=9,
            work=STEPS,
            charged=STEPS * scoring / SCORED_EVERY,
        )


def test_uncertainty(race: Callable[..., Any], device: torch.device, tmp_path: Path) -> None:
    """What UA-MT's noisy passes of the teacher cost."""
    task, opponent = volumes.task("2d", **SIZE), UncertaintyAwareMeanTeacher()
    with (
        steps_of(MeanTeacher(), task, tmp_path, device) as (_, ours),
        steps_of(opponent, task, tmp_path, device) as (_, theirs),
    ):
        race(
            "mean-teacher's step, 2d, batch 32, data in process",
            often(ours, STEPS),
            often(theirs, STEPS),
            opponent=f"UA-MT: {opponent.passes} more passes of the teacher, one by one",
            rounds=4,
            work=STEPS,
        )


def ssl4mis(training: Training, draws: Mapping[str, Any], log: Path, device: torch.device) -> Action:
    """A plain loop: SGD without clipping, teacher in training mode, average by parameter, values logged each step."""
    task, method = training.means.task, MeanTeacher()
    student, teacher = copy.deepcopy(training.job.model), copy.deepcopy(training.job.model)
    teacher.requires_grad_(False)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    logger = logging.getLogger("peer")
    logger.handlers, logger.propagate = [logging.FileHandler(log)], False
    logger.setLevel(logging.INFO)
    done = 0

    def step() -> None:
        nonlocal done
        image, label = draws["labelled"].finish(draws["labelled"].read(), device)
        unlabelled, _ = draws["unlabelled"].finish(draws["unlabelled"].read(), device)
        n = len(image)
        with autocast(device):
            output = student(torch.cat([image, unlabelled]))
            with torch.no_grad():
                target = main_head(teacher(noisy(unlabelled, method.noise, method.noise_clip)))
            supervised = task.loss(rows(output, 0, n), label)
            consistency = softmax_mse(main_head(output)[n:], target)
        weight = 0.1 * sigmoid_rampup(done / training.job.steps, 1)
        loss = supervised + weight * consistency
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        parameter_by_parameter(teacher, student)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - done / training.job.steps) ** 0.9
        done += 1
        logger.info("step %d: loss %f, supervised %f, consistency %f, weight %f", done, loss.item(), supervised.item(),
                    consistency.item(), weight)  # fmt: skip

    return step


@torch.no_grad()
def seconds_of_scores(network: nn.Module, task: Any, device: torch.device) -> float:
    """Predict a volume slice by slice, zoomed to the patch and back; Dice and HD95 of each class by whole volumes."""
    name = next(iter(task.labels))
    image, truth = np.array(task.images[name].array[0]), np.array(task.labels[name])
    taken = []
    for _ in range(sized(3, 1)):
        start = now()
        network.eval()
        prediction = np.zeros_like(truth)
        for number, layer in enumerate(image):
            factors = [size / have for size, have in zip(task.recipe.patch, layer.shape, strict=True)]
            zoomed = torch.from_numpy(ndimage.zoom(layer, factors, order=0))[None, None].to(device)
            found = network(zoomed).argmax(1)[0].cpu().numpy()
            prediction[number] = ndimage.zoom(found, [1 / factor for factor in factors], order=0)
        for value in range(1, len(task.classes)):
            score(prediction == value, truth == value)
        network.train()
        taken.append(now() - start)
    return statistics.median(taken)


def score(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Dice and HD95; a class that was not found has no distance."""
    if not prediction.any() or not truth.any():
        return 0.0, 0.0
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    both = np.hstack([directed(prediction, truth, (1.0,) * 3), directed(truth, prediction, (1.0,) * 3)])
    return float(dice), float(np.percentile(both, 95))
