"""The command ``export-runs``: records for experiment trackers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark.commands.common import Folder, plainly


def export_runs(
    to: Annotated[str, typer.Option("--to", help="mlflow or wandb (Weights & Biases, offline).")],
    folder: Folder = Path("results"),
    into: Annotated[Path | None, typer.Option("--into", help="Folder to write to; default: export in FOLDER.")] = None,
) -> None:
    """Export records to an experiment tracker: options, scores, times and losses of every finished run.

    Nothing goes over a network. What was exported before is not written again.
    """
    with plainly():
        from atso_bench.benchmark.trackers import export

        typer.echo(export(folder, to, into or folder / "export"))
