"""The command that finds a method for a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark import readiness
from atso_bench.benchmark.commands.common import Out, plainly
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.options import CONFIGURATION, METHODS, GridOptions


def advise(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset, see `list datasets`.")],
    hours: Annotated[
        float,
        typer.Option(min=0.0, help="Hours that all runs together may take on one such device (GPU-hours, CPU-hours)."),
    ],
    fraction: Annotated[
        str, typer.Option("--fraction", "-f", help="Labelled share of the training cases, or 16cases.")
    ] = "10",
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help=METHODS)] = None,
    validation: Annotated[
        float, typer.Option(help="Percent of the training cases that decide; not trained on.")
    ] = 20.0,
    budget: Annotated[str, typer.Option(help="Optimiser steps of a whole run, as `run` has it.")] = "small",
    parity: Annotated[str, typer.Option(help="total, line or phase, as `run` has it.")] = "total",
    configuration: Annotated[str, typer.Option(help=CONFIGURATION)] = "",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="Option of a method or the recipe.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1; several with commas.")] = "auto",
    workers: Annotated[int, typer.Option(min=-1, help="Loader processes for each device.")] = -1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    out: Out = Path("results"),
) -> None:
    """Find a method for a dataset within N hours: a race on the validation set, of which the better half goes on.

    It prints its plan, then makes rounds of runs (docs/own-data.md), and ends with a recommendation and how certain it
    is, or says that the methods cannot be told apart within these hours. Stopped, the same command goes on.
    """
    with plainly(stopping.GOES_ON):
        options = GridOptions(
            method=method or ["all"],
            fraction=[fraction],
            dataset=[dataset],
            budget=budget,
            parity=parity,
            configuration=configuration,
            option=option or [],
            validation=validation,
            scored="validation",
            device=device,
            workers=workers,
        )
        specs, devices = options.specs(), options.devices()
        if len(specs) < 2:
            raise ValueError("a race takes two methods or more; name them with -m, or leave it out for all")
        if not hours > 0:
            raise ValueError(f"--hours must be more than 0, got {hours:g}")
        readiness.check_folder(out)
        readiness.check_writable(out)
        readiness.make_ready(specs, typer.echo)
        from atso_bench.benchmark import grid
        from atso_bench.benchmark.advice import costs
        from atso_bench.benchmark.advice.race import Race
        from atso_bench.benchmark.engines.order import Order

        order = Order(out, options.workers_for(devices), device)
        race = Race(
            {spec.method: spec for spec in specs}, out, 3600 * hours, lambda runs: grid.run_grid(runs, order, devices)
        )
        for note in costs.of_validation(specs[0]):
            typer.echo(f"note: {note}")
        if not race.resume():
            typer.echo("timing a few steps of each method")
            race.costs = costs.of_runs(specs, out, devices, order.workers)
        for line in race.plan():
            typer.echo(line)
        if not dry_run:
            for line in race.run(typer.echo):
                typer.echo(line)
