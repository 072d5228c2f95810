"""The command line: reads options, calls the rest, prints results. Heavy imports wait until a command needs them."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from atso_bench import __version__
from atso_bench.benchmark import remedies
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.options import CONFIGURATION, GridOptions, takes_grid
from atso_bench.benchmark.spec import RunSpec

if TYPE_CHECKING:
    from atso_bench.benchmark.forecast.plan import Forecast

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
) -> None:
    """Train and score methods at label fractions; write records and a report.

    Several methods, fractions, seeds or datasets span a grid.

    Finished runs are not repeated. To continue an interrupted command, repeat it.
    """
    with _plainly(stopping.GOES_ON):
        specs, devices = grid_options.specs(), grid_options.devices()
        _check_folder(out)
        _check_writable(out)
        if compile_ and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
            raise ValueError("--compile needs a C++ compiler, but none was found; install g++ or omit --compile")
        _make_ready(specs)
        from atso_bench.benchmark.grid import run_grid
        from atso_bench.benchmark.training.execution import Execution

        workers = grid_options.workers_for(devices)
        execution = Execution(compiled=compile_, deterministic=deterministic)
        failed = run_grid(specs, out, devices, workers, fresh=fresh, profile=profile, execution=execution)
        if failed < len(specs):
            from atso_bench.reports.build import build

            typer.echo(f"report: {build(out)}")
    if failed:
        typer.echo(f"{failed} of {len(specs)} runs failed; the same command will try them again", err=True)
        raise typer.Exit(1)


@app.command()
@takes_grid
def plan(grid_options: GridOptions, out: Out = Path("results")) -> None:
    """Show what `run` would do with these options: what is done already, and the time and memory of the rest.

    It times a little of each kind of work on one device.

    Times are right within about 25 %, the memory of a run's process within 15 %.

    Loader processes need memory of their own. Of a GPU it says how many such runs fit at once.
    """
    with _plainly():
        specs, devices = grid_options.specs(), grid_options.devices()
        _check_folder(out)
        _make_ready(specs)
        from atso_bench.benchmark.forecast.plan import forecast
        from atso_bench.benchmark.grid import threads_for

        workers = grid_options.workers_for(devices)
        total: dict[str, float] = {}
        stored: dict[str, float] = {}
        alone, peak = 0.0, 0
        for found in forecast(specs, out, devices[0], workers, threads_for(devices, workers)):
            typer.echo(_forecast_line(found))
            alone += sum(found.seconds.values())
            peak = max(peak, found.device_bytes or 0)
            total |= found.seconds
            stored |= found.stored
        together = sum(total.values())
        typer.echo(f"total: {_duration(together)} on one {devices[0]} device")
        if alone > together:
            share = f"{_duration(alone - together)} ({100 * (1 - together / alone):.0f} %)"
            typer.echo(f"{share} saved, because phases that several runs share are computed once")
        if peak:
            typer.echo(_fitting_line(devices[0], peak))
        if stored:
            typer.echo(f"{_duration(sum(stored.values()))} saved, because {len(stored)} phases are already stored")
        from atso_bench.reports.pages.limits import at_hand

        for line in at_hand(out, specs):
            typer.echo(line)


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
) -> None:
    """Rebuild the report from the records: HTML, Markdown, CSV, Parquet, LaTeX tables and figures (docs/report.md)."""
    with _plainly():
        from atso_bench.reports.data import listing, workers

        workers.prepare(listing.record_files(folder))
        from atso_bench.reports.build import build

        try:
            page = build(folder)
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


def _check_folder(out: Path) -> None:
    """A results folder that is a file, or lies below one, is an error before anything is created."""
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"--out {out}: {nearest} is a file; give a folder, which need not exist yet")


def _check_writable(out: Path) -> None:
    """A results folder that cannot be written to is an error before anything is trained."""
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    inside = [path for path in nearest.iterdir() if path.is_dir()] if nearest == out.absolute() else []
    for folder in (nearest, *inside):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"--out {out}: {folder} is not writable; change its permissions, or choose another folder")


def _make_ready(specs: Sequence[RunSpec]) -> None:
    """Stop before anything runs if a dataset is not there, or if a split or the recipe is impossible."""
    from atso_bench.benchmark import registry, split_notes
    from atso_bench.benchmark.splits import make_split

    for dataset, configuration in dict.fromkeys((spec.dataset, spec.configuration) for spec in specs):
        found = registry.dataset(dataset, configuration)
        found.ready(typer.echo)
        own = [spec for spec in specs if (spec.dataset, spec.configuration) == (dataset, configuration)]
        splits = [make_split(found, spec) for spec in own]
        for note in split_notes.of_grid(own, splits, (*found.pool, *found.test)):
            typer.echo(f"note: {note}")
        # the same recipe for the whole grid; the identity needs all that it names
        try:
            found.task(splits[0].labelled, (), own[0].budget, own[0].recipe).identity  # noqa: B018
        except ValueError as error:
            raise ValueError(f"{dataset}: {error}") from error


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


def _forecast_line(found: Forecast) -> str:
    if found.done:
        return f"{found.spec.title}: done"
    memory = found.device_bytes or found.process_bytes
    return (
        f"{found.spec.title}: {_duration(sum(found.seconds.values()))}, "
        f"{found.trainings} training{'s' * (found.trainings != 1)}, {found.steps} steps, "
        f"{found.cases} cases to label, {memory / 2**30:.1f} GiB"
    )


def _fitting_line(device: str, peak: int) -> str:
    import torch

    from atso_bench.benchmark.forecast.plan import fitting

    number = fitting(torch.device(device), peak)
    gpu = device if ":" in device else f"{device}:0"
    if number == 1:
        return f"one such run fits on {gpu}"
    return f"{number} such runs fit on {gpu} at once: --device '{gpu}*{number}'; their times compare with no others"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(app())
