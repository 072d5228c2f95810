"""The command line: reads options, calls the rest, prints results. Heavy imports wait until a command needs them."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from atso_bench import __version__
from atso_bench.benchmark import readiness, remedies
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.options import CONFIGURATION, GridOptions, takes_grid

if TYPE_CHECKING:
    pass

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compare ATSO and other semi-supervised segmentation methods on equal terms, at several label fractions.",
)

Out = Annotated[Path, typer.Option(envvar="ATSO_BENCH_OUT", help="Results folder: records, stages and report.")]
_LETTERS = "In the descriptions above, S means the labelled cases and R the unlabelled ones.\n"
_RECIPE = """recipe           Training constants, the same for all methods; defaults depend on configuration and budget.
    recipe.patch=[48,48]  size of a training patch: voxels (or pixels) along each axis
    recipe.batch=8  patches in an optimiser step, labelled and unlabelled together
    recipe.labelled_share=0.5  share of the labelled patches in a batch that has others too
    recipe.extra_unlabelled=false  true: labelled patches fill the batch, and unlabelled ones come on top
    recipe.lr, recipe.momentum, recipe.nesterov, recipe.weight_decay, recipe.clip  of stochastic gradient descent
    recipe.mirror  average predictions of the test set over mirrored inputs
    recipe.mirror_pseudo  the same when pseudo labels are written
  volumes only
    recipe.width=8  features in the network's first stage
    recipe.augmentation=batched  nnU-Net's transforms on whole batches; nnunet: its own code, sample by sample
  street scenes only
    recipe.encoder=resnet50, recipe.output_stride=16, recipe.decoder=256  of DeepLabV3+
    recipe.weights=none  initial weights of the encoder: none, imagenet, or a file (.safetensors, .pth)
    recipe.weights_sha256  hash that the weights file must have; default: the hash that it has now
    recipe.scales=[0.5,2]  range of the random scale
    recipe.ohem_threshold=0.7, recipe.ohem_kept=0.1  hard example mining on true labels; threshold null: all pixels
    recipe.evaluation=whole  or sliding, with recipe.window, recipe.stride, recipe.shift"""
Configuration = Annotated[str, typer.Option(help=CONFIGURATION)]


@app.command()
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
    job: Annotated[str, typer.Option(hidden=True, help="The order that the task belongs to; engines give it.")] = "",
) -> None:
    """Train and score methods at label fractions; write records and a report.

    Several methods, fractions, seeds or datasets span a grid.

    Finished runs are not repeated. To continue an interrupted command, repeat it.

    Other machines do the runs with --on (docs/scaling.md).
    """
    with _plainly(stopping.GOES_ON):
        if keep not in ("records", "models", "all"):
            raise ValueError(f"--keep must be records, models or all, got {keep!r}")
        readiness.check_folder(out)
        readiness.check_writable(out)
        if compile_ and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
            raise ValueError("--compile needs a C++ compiler, but none was found; install g++ or omit --compile")
        from atso_bench.benchmark.engines import command
        from atso_bench.benchmark.engines.order import Order
        from atso_bench.benchmark.training.execution import Execution

        execution = Execution(compiled=compile_, deterministic=deterministic)
        order = Order(out, grid_options.workers, grid_options.device, fresh, profile, execution)
        if only:
            raise typer.Exit(command.one(only, order, job))
        engine = command.engine(on, settings, dry_run=dry_run, share_gpus=share_gpus)
        specs = grid_options.specs()
        devices = [] if engine else grid_options.devices()
        order = order if engine else replace(order, workers=grid_options.workers_for(devices))
        readiness.make_ready(specs, typer.echo)
        failed = command.run(specs, order, engine, devices)
        if failed is None:
            typer.echo(_afterwards(out, keep))
            return
        if failed < len(specs):
            from atso_bench.reports.build import build

            typer.echo(f"report: {build(out)}")
        if not failed and keep != "all":
            _clean(out, keep)
    if failed:
        typer.echo(f"{failed} of {len(specs)} runs failed; the same command will try them again", err=True)
        raise typer.Exit(1)


def _afterwards(out: Path, keep: str) -> str:
    """What to give when runs are done that go on behind the command."""
    said = f"when the runs are done, `atso-bench report {out}` makes the report"
    return said if keep == "all" else f"{said}, and `atso-bench clean {out} --keep {keep}` removes what is not to stay"


@app.command()
@takes_grid
def plan(
    grid_options: GridOptions,
    out: Out = Path("results"),
    format_: Annotated[
        str,
        typer.Option("--format", help="text, or jsonl: a line for each task, for other programs (docs/scaling.md)."),
    ] = "text",
) -> None:
    """Show what `run` would do with these options: what is done already, and the time and memory of the rest.

    It times a little of each kind of work on one device.

    Times are right within about 25 %, the memory of a run's process within 15 %.

    Loader processes need memory of their own. Of a GPU it says how many such runs fit at once.
    """
    with _plainly():
        if format_ not in ("text", "jsonl"):
            raise ValueError(f"--format must be text or jsonl, got {format_!r}")
        specs, devices = grid_options.specs(), grid_options.devices()
        readiness.check_folder(out)
        readiness.make_ready(specs, lambda note: typer.echo(note, err=format_ == "jsonl"))
        from atso_bench.benchmark.engines.local import threads_for
        from atso_bench.benchmark.forecast.plan import forecast

        workers = grid_options.workers_for(devices)
        forecasts = forecast(specs, out, devices[0], workers, threads_for(devices, workers))
        if format_ == "jsonl":
            from atso_bench.benchmark.engines import command
            from atso_bench.benchmark.engines.order import Order

            order = Order(out, grid_options.workers, grid_options.device)
            for line in command.planned(specs, order, forecasts):
                typer.echo(line)
            return
        from atso_bench.benchmark.forecast.lines import lines

        for line in lines(forecasts, devices[0]):
            typer.echo(line)
        from atso_bench.reports.pages.limits import at_hand

        for line in at_hand(out, specs):
            typer.echo(line)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(envvar="ATSO_BENCH_OUT", help="Results folder.")] = Path("results"),
) -> None:
    """Say how far the runs of a results folder are: done, running where, waiting for what, failed why, time left."""
    with _plainly():
        from atso_bench.benchmark.engines.status import lines

        for line in lines(folder):
            typer.echo(line)


@app.command()
def clean(
    folder: Annotated[Path, typer.Argument(envvar="ATSO_BENCH_OUT", help="Results folder.")] = Path("results"),
    keep: Annotated[str, typer.Option(help="records, or models (and records).")] = "models",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove what finished runs no longer need: their phases, and with --keep records their models too."""
    with _plainly():
        _clean(folder, keep, dry=dry_run)


def _clean(folder: Path, keep: str, *, dry: bool = False) -> None:
    from atso_bench.benchmark.store.clean import clean

    freed = clean(folder, keep, dry=dry)
    typer.echo(f"{'would free' if dry else 'freed'} {freed.bytes / 2**20:.1f} MiB in {freed.files} files")


@app.command(name="list")
def list_(
    kind: Annotated[str, typer.Argument(help="methods or datasets")],
) -> None:
    """List the methods with their options, or the datasets and whether their data are ready."""
    with _plainly():
        from atso_bench.benchmark import registry

        if kind not in ("methods", "datasets"):
            raise ValueError(f"list takes `methods` or `datasets`, got {kind!r}")
        for name in registry.names(kind):
            found = registry.load(kind, name)
            named = f" [{', '.join(found.groups)}]" if kind == "methods" else ""
            typer.echo(f"{name:20} {_first_line(found)}{named}")
            if kind == "methods":
                for option, field in found.model_fields.items():
                    typer.echo(f"    {name}.{option}={field.default}  {field.description or ''}{_choices(field)}")
                for preset, values in found.presets.items():
                    stands = ", ".join(f"{option}={value}" for option, value in values.items())
                    typer.echo(f"    {name}.preset={preset}  {stands}")
            else:
                typer.echo(f"    {_presence(name)}")
        if kind == "methods":
            typer.echo(_LETTERS + _RECIPE)


@app.command()
def prepare(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a dataset (see `list datasets`), name or id of an nnU-Net dataset, or frames-NAME."
        ),
    ],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder or archive that holds the data.", exists=True)
    ] = None,
    configuration: Configuration = "",
) -> None:
    """Import a dataset, check every file and preprocess it for `run`. If given again, verify what is there."""
    with _plainly():
        from atso_bench.benchmark import registry, split_notes

        dataset = registry.dataset(name, configuration)
        for line in dataset.prepare(source, typer.echo):
            typer.echo(line)
        for note in split_notes.of_test(len(dataset.test)):
            typer.echo(f"note: {note}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(envvar="ATSO_BENCH_OUT", help="Results folder.")] = Path("results"),
    where: Annotated[
        str, typer.Option(help="Only of some runs: \"dataset=='la' and budget=='standard'\" (docs/scaling.md).")
    ] = "",
) -> None:
    """Rebuild the report from the records: HTML, Markdown, CSV, Parquet, LaTeX tables and figures (docs/report.md)."""
    with _plainly():
        from atso_bench.reports.data import listing, workers

        workers.prepare([] if where else listing.record_files(folder))
        from atso_bench.reports.build import build

        try:
            page = build(folder, where)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            raise ValueError(
                f"{folder} is not writable, but the report is written into it; copy its folders records, pictures and "
                "asked to a writable place, and run `report` there"
            ) from error
        typer.echo(f"report: {page}")


@app.command()
def compare(
    baseline: Annotated[Path, typer.Argument(help="Results folder to compare with.", exists=True)],
    candidate: Annotated[Path, typer.Argument(help="Results folder to judge.", exists=True)],
    tolerance: Annotated[float, typer.Option(help="By how much a mean Dice or mIoU may be lower.")] = 0.01,
) -> None:
    """Say what became worse. Exit code: 0 nothing, 1 worse beyond tolerance and noise, 2 not comparable."""
    with _plainly():
        from atso_bench.reports.compare import compare as judge
        from atso_bench.reports.verdict import lines

        verdict = judge(baseline, candidate, tolerance=tolerance)
        for line in lines(verdict):
            typer.echo(line)
    raise typer.Exit(verdict.code)


@app.command()
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
    with _plainly():
        from atso_bench.benchmark.scoring.evaluate import evaluate_folders, lines

        found = evaluate_folders(
            predictions, references, output, allow_missing=allow_missing, ignore_origin=ignore_origin
        )
        for line in lines(found):
            typer.echo(line)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="File of a record, or the key in its name.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to create.")],
    out: Out = Path("results"),
) -> None:
    """Export a run's model: as an nnU-Net model folder, or for frames as safetensors with an example."""
    with _plainly():
        from atso_bench.benchmark.export import export as write

        typer.echo(write(run, to, out))


@app.command()
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


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@contextmanager
def _plainly(then: str = stopping.BEGINS_AGAIN) -> Iterator[None]:
    """Wrong input ends with a message and exit code 2, a signal with a message and 130 or 143; never with a traceback.

    Args:
        then: what the command does when it is given again after a signal.
    """
    try:
        with stopping.at_once():
            yield
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except stopping.Interrupted as stop:
        typer.echo(stop.told(then), err=True)
        raise typer.Exit(stop.code) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if os.environ.get("ATSO_BENCH_TRACEBACK"):
            raise
        if isinstance(error, ValueError | LookupError | OSError | MemoryError):
            typer.echo(f"error: {remedies.message(error)}", err=True)
            raise typer.Exit(2) from None
        if isinstance(error, remedies.DeviceLostError):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        hint = "if the input is right, this is a bug of the program; set ATSO_BENCH_TRACEBACK=1 to see where"
        typer.echo(f"error: {type(error).__name__}: {error} ({hint})", err=True)
        raise typer.Exit(1) from None


def _first_line(kind: Any) -> str:
    return (getattr(kind, "summary", "") or kind.__doc__ or "").strip().splitlines()[0]


def _choices(field: Any) -> str:
    """The values of an option that takes one of a few words."""
    words = [word for word in get_args(field.annotation) if isinstance(word, str)]
    return f" ({', '.join(words)})" if words else ""


def _presence(name: str) -> str:
    from atso_bench.benchmark import registry

    there, hint = registry.dataset(name).is_ready()
    return f"ready: {hint}" if there else hint


if __name__ == "__main__":
    sys.exit(app())
