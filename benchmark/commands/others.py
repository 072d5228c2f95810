"""The commands that need neither runs nor datasets: ``evaluate`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark.commands.common import Json, Out, plainly, say_json


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
    json_: Json = False,
) -> None:
    """Score a folder of predicted segmentations against a folder of true ones."""
    with plainly():
        from atso_bench.benchmark.scoring.evaluate import evaluate_folders, lines

        found = evaluate_folders(
            predictions, references, output, allow_missing=allow_missing, ignore_origin=ignore_origin
        )
        if json_:
            facts = {"metric": found.metric.name, "summary": found.summary, "cases": found.cases}
            say_json({**facts, "missing": found.missing, "notes": found.notes, "output": found.output})
            return
        for line in lines(found):
            typer.echo(line)


def doctor(out: Out = Path("results"), json_: Json = False) -> None:
    """Check Python, torch, CUDA, nnU-Net's paths, disk and permissions; say what is missing and what to do."""
    from atso_bench.benchmark.machine.doctor import checks

    found = checks(out)
    if json_:
        say_json(found)
    for check in [] if json_ else found:
        typer.echo(f"{check.status:8} {check.name}: {check.found}")
        if check.status != "ok":
            typer.echo(f"         {check.remedy}")
    raise typer.Exit(int(any(check.status == "problem" for check in found)))
