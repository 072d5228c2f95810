"""A run's final model, for use elsewhere."""

from __future__ import annotations

from pathlib import Path

from atso_bench.benchmark.finding import find
from atso_bench.benchmark.models import open_model


def export(run: str, folder: Path, results: Path) -> str:
    """Write the model of ``run`` to ``folder``; returns what to do with it. The data need not be there.

    Args:
        run: see `finding.find`.
        folder: what to make; it must not exist yet or be empty.
        results: the folder that holds ``records/`` and ``stages/``.

    Raises:
        ValueError: if there is no such run, or its model cannot be had.
    """
    chosen = find(run, results)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; choose a new folder")
    model = open_model(chosen)
    if len(model.networks) > 1:
        raise ValueError(
            f"the model of {model.record.spec.title} is an ensemble, which cannot be exported as one network; "
            "`atso-bench predict` uses it as it is, or train with final=last"
        )
    return model.trained.task.export(model.networks[0], folder, model.facts)
