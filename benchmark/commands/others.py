"""The commands that need neither runs nor datasets: ``evaluate`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark.commands.common import Out, plainly


def evaluate(
    predictions: Annotated[Path, typer.Option(help="Folder of predicted segmentations.", exists=True)],
    references: Annotated[Path, typer.Option(help="Folder of true segmentations.", exists=True)],
    output: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("scores.csv"),
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score only the cases that both folders have.")
    ] = False,
    ignore_origin: Annotated[
        bool,
        typer.Option(
            "--ignore-origin", help="Compare voxel by voxel, even if origin or direction differ in the headers."
        ),
    ] = False,
) -> None:
    """Score a folder of predicted segmentations against a folder of true ones."""
    with plainly():
        from atso_bench.benchmark.scoring.evaluate import evaluate_folders, lines

        found = evaluate_folders(
            predictions, references, output, allow_missing=allow_missing, ignore_origin=ignore_origin
        )
        for line in lines(found):
            typer.echo(line)


def doctor(out: Out = Path("results")) -> None:
    """Check Python, torch, CUDA, nnU-Net's paths, disk and permissions; say what is missing and what to do."""
    from atso_bench.benchmark.machine.doctor import checks

    problems = 0
    for check in checks(out):
        typer.echo(f"{check.status:8} {check.name}: {check.found}")
        if check.status != "ok":
            typer.echo(f"         {check.remedy}")
        problems += check.status == "problem"
    raise typer.Exit(1 if problems else 0)
