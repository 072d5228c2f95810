"""Segments new images with a run's model, as the evaluator segments those of the test set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from atso_bench.benchmark.machine.progress import Progress
from atso_bench.benchmark.models import Model
from atso_bench.benchmark.store.files import write_json
from atso_bench.benchmark.trained import Input
from atso_bench.benchmark.training.labels import finite

FACTS = "atso_bench.json"
"""In the folder of predictions: which model made them."""


def predict(
    model: Model,
    images: Path,
    out: Path,
    *,
    device: str = "cpu",
    shown: Progress,
    say: Callable[[str], None],
    why: str = "",
) -> list[Path]:
    """Write a segmentation of every image of a folder, in its own geometry; all images are checked before.

    Args:
        model: what predicts.
        images: folder of the images, named as those of the dataset.
        out: folder to fill; it must not exist yet or be empty.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        shown: where progress is shown.
        say: gets what ought to be known of the images.
        why: how the model was chosen, for the folder of predictions.

    Returns:
        The files of segmentations.

    Raises:
        ValueError: if the folder is not empty, or naming every image that cannot be segmented.
    """
    check_out(out, images)
    inputs, notes = model.trained.inputs(images, say)
    for note in notes:
        say(f"note: {note}")
    out.mkdir(parents=True, exist_ok=True)
    with shown.phase("prediction", len(inputs), model.trained.task.metric.cases) as bar:
        written = []
        for path in _written(model, inputs, out, torch.device(device)):
            written.append(path)
            bar.advance()
    facts = {**model.facts, "run": model.record.spec.key, "chosen": why, "device": device}
    for name, content in {**model.trained.beside(), FACTS: facts}.items():
        write_json(out / name, content)
    return written


def check_out(out: Path, images: Path) -> None:
    """Raise ValueError where predictions would mix with other files."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"-o {out} is a file; give a folder, which need not exist yet")
    if out.exists() and out.resolve() == images.resolve():
        raise ValueError(f"-o {out} holds the images; give another folder")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"-o {out} is not empty; give a new folder, or remove what is there")


def _written(model: Model, inputs: list[Input], out: Path, device: torch.device) -> Iterator[Path]:
    task, network = model.trained.task, model.network.to(device)
    for one in inputs:
        with model.trained.opened(one) as image:
            slabs = task.slabs(network, image, device, mirror=task.recipe.mirror)
            label = task.restore(image, finite(slabs, one.id))
            yield model.trained.write(one, label, out)
