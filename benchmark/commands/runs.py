"""The commands that make runs: ``run`` and ``plan``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark import grid_file, places, readiness, scores
from atso_bench.benchmark.commands.common import Json, Out, plainly, say_json
from atso_bench.benchmark.commands.folder import cleaned
from atso_bench.benchmark.engines.known import check_name as check_engine
from atso_bench.benchmark.machine import progress, stopping
from atso_bench.benchmark.options import GridOptions, takes_grid
from atso_bench.benchmark.spec import RunSpec


@takes_grid
def run(
    grid_options: GridOptions,
    out: Out = Path("results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Repeat finished runs and phases.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time of each run went; also written to OUT/profiles.")
    ] = False,
    compile_: Annotated[
        bool,
        typer.Option("--compile", help="Train with torch.compile. The first step may take minutes; its time is shown."),
    ] = False,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="GPU: use deterministic algorithms where torch has them (slower). A CPU is always deterministic.",
        ),
    ] = False,
    on: Annotated[
        str, typer.Option(help="Where the runs are made: local (this machine), slurm, ray, or an installed engine.")
    ] = "local",
    settings: Annotated[
        list[str] | None,
        typer.Option("--slurm", "--ray", "--with", help="KEY=VALUE for the engine: --slurm partition=gpu."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="slurm: write the job scripts to OUT/jobs, and submit nothing.")
    ] = False,
    share_gpus: Annotated[
        bool, typer.Option("--share-gpus", help="Let several runs share a GPU. Their times are not comparable then.")
    ] = False,
    keep: Annotated[
        str, typer.Option(help="What stays when all runs are done: records, models (and records), or all (default).")
    ] = "all",
    only: Annotated[
        str, typer.Option(help="Do this one task, by its key in `plan --format jsonl`; the grid need not be given.")
    ] = "",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the losses as TensorBoard event files too, below OUT/curves.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but the scores, and what failed.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="A line of progress every 2 seconds, and tracebacks of what fails.")
    ] = False,
    job: Annotated[str, typer.Option(hidden=True, help="The order that the task belongs to; engines give it.")] = "",
) -> None:
    """Train and score methods at label fractions; write records and a report.

    Several methods, fractions, seeds or datasets span a grid.

    Finished runs are not repeated. To continue an interrupted command, repeat it.

    Other machines do the runs with --on (docs/scaling.md).
    """
    progress.talk(quiet=quiet, verbose=verbose)
    with plainly(stopping.GOES_ON):
        if not only:
            grid_options = _checked(grid_options, keep, on)
            if grid_options.saved():
                return
        _check_place(out, compile_)
        say = (lambda line: None) if quiet else typer.echo
        if not only:
            say(f"results: {out}; data: {places.data().path}")
        from atso_bench.benchmark.engines import command
        from atso_bench.benchmark.engines.order import Order
        from atso_bench.benchmark.training.curves import check_tensorboard
        from atso_bench.benchmark.training.execution import Execution

        if tensorboard:
            check_tensorboard()

        execution = Execution(compiled=compile_, deterministic=deterministic)
        order = Order(
            out, grid_options.workers, grid_options.device, fresh, profile, execution, tensorboard=tensorboard
        )
        if only:
            raise typer.Exit(command.one(only, order, job))
        engine = command.engine(on, settings, dry_run=dry_run, share_gpus=share_gpus)
        specs = grid_options.specs()
        devices = [] if engine else grid_options.devices()
        order = order if engine else replace(order, workers=grid_options.workers_for(devices))
        with progress.patience(progress.on(sys.stdout), "checking the data and the splits"):
            readiness.make_ready(specs, say)
        specs = readiness.timed(specs, out, devices, order.workers, say)
        if grid_options.file is not None:
            grid_file.keep(grid_options, out, grid_options.file.stem)
        failed = command.run(specs, order, engine, devices)
        if failed is None:
            typer.echo(_afterwards(out, keep))
            return
        _show(out, specs, failed)
        if not failed and keep != "all":
            cleaned(out, keep)
    if failed:
        typer.echo(f"{failed} of {len(specs)} runs failed; the same command will try them again", err=True)
        raise typer.Exit(1)


def _afterwards(out: Path, keep: str) -> str:
    """What to give when runs are done that go on behind the command."""
    said = f"when the runs are done, `atso-bench report {out}` makes the report"
    return said if keep == "all" else f"{said}, and `atso-bench clean {out} --keep {keep}` removes what is not to stay"


def _checked(options: GridOptions, keep: str, on: str) -> GridOptions:
    """The options, with those of a grid file; what is misspelled is refused before torch is imported."""
    if keep not in ("records", "models", "all"):
        raise ValueError(f"--keep must be records, models or all, got {keep!r}")
    options = options.complete()
    options.check()
    check_engine(on)
    if options.parity == "time" and on != "local":
        raise ValueError(f"--parity time measures steps on this machine, and --on {on} trains on others")
    return options


def _check_place(out: Path, compiled: bool) -> None:
    readiness.check_folder(out)
    readiness.check_writable(out)
    if compiled and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise ValueError("--compile needs a C++ compiler, but none was found; install g++ or omit --compile")


def _show(out: Path, specs: Sequence[RunSpec], failed: int) -> None:
    """The report, if there is anything for it, and the scores."""
    page = None
    if failed < len(specs):
        from atso_bench.reports.build import build

        page = build(out)
    for line in scores.lines(out, specs):
        typer.echo(line)
    if page:
        typer.echo(f"report: {page}")


@takes_grid
def plan(
    grid_options: GridOptions,
    out: Out = Path("results"),
    format_: Annotated[
        str,
        typer.Option("--format", help="text, or jsonl: a line for each task, for other programs (docs/scaling.md)."),
    ] = "text",
    json_: Json = False,
) -> None:
    """Show what `run` would do with these options: what is done already, and the time and memory of the rest.

    It times a little of each kind of work on one device.

    Times are right within about 25 %, the memory of a run's process within 15 %.

    Loader processes need memory of their own. Of a GPU it says how many such runs fit at once.
    """
    with plainly():
        if format_ not in ("text", "jsonl"):
            raise ValueError(f"--format must be text or jsonl, got {format_!r}")
        grid_options = grid_options.complete()
        if grid_options.saved():
            return
        specs, devices = grid_options.specs(), grid_options.devices()
        readiness.check_folder(out)

        def say(note: str) -> None:
            typer.echo(note, err=json_ or format_ == "jsonl")

        readiness.make_ready(specs, say)
        from atso_bench.benchmark.engines.local import threads_for
        from atso_bench.benchmark.forecast.plan import forecast

        workers = grid_options.workers_for(devices)
        specs = readiness.timed(specs, out, devices, workers, say)
        forecasts = forecast(specs, out, devices[0], workers, threads_for(devices, workers))
        if format_ == "jsonl":
            from atso_bench.benchmark.engines import command
            from atso_bench.benchmark.engines.order import Order

            order = Order(out, grid_options.workers, grid_options.device)
            for line in command.planned(specs, order, forecasts):
                typer.echo(line)
            return
        if json_:
            say_json({"device": devices[0], "runs": [found.facts() for found in forecasts]})
            return
        from atso_bench.benchmark.forecast.lines import lines

        for line in lines(forecasts, devices[0]):
            typer.echo(line)
        from atso_bench.reports.pages.limits import at_hand

        for line in at_hand(out, specs):
            typer.echo(line)
