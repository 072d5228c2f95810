"""``atso-bench``: options in, calls to the rest, words out. Nothing heavy is imported before a command needs it."""

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
    help="A fair benchmark of semi-supervised segmentation: ATSO beside its baselines, across label fractions.",
)

Out = Annotated[Path, typer.Option(envvar="ATSO_BENCH_OUT", help="Folder for records, stages and report.")]
_RECIPE = """recipe           Training constants, the same for all methods; configuration and budget give the defaults.
    recipe.patch=[48,48]  voxels of a training patch by axis, or pixels of a crop
    recipe.batch=8  patches in an optimiser step, labelled and unlabelled together
    recipe.lr, recipe.momentum, recipe.nesterov, recipe.weight_decay, recipe.clip  of stochastic gradient descent
    recipe.mirror, recipe.mirror_pseudo  average over mirrored inputs on T, or when pseudo labels are written
  volumes only
    recipe.width=8  features in the network's first stage
    recipe.augmentation=batched  nnU-Net's transforms for whole batches; nnunet: its own code, sample by sample
  street scenes only
    recipe.encoder=resnet50, recipe.output_stride=16, recipe.decoder=256  of DeepLabV3+
    recipe.weights=none  what the encoder starts from: none, imagenet, or a file (.safetensors, .pth)
    recipe.weights_sha256  the file's hash; another file is refused; by default the hash that it has now
    recipe.scales=[0.5,2]  the range of the random scale
    recipe.ohem_threshold=0.7, recipe.ohem_kept=0.1  hard pixels of true labels; threshold null: all pixels
    recipe.evaluation=whole  or sliding, with recipe.window, recipe.stride, recipe.shift"""
Configuration = Annotated[str, typer.Option(help=CONFIGURATION)]


@app.command()
@takes_grid
def run(
    grid_options: GridOptions,
    out: Out = Path("results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again what is done, phases too.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time of each run went; also in OUT/profiles.")
    ] = False,
    compile_: Annotated[
        bool,
        typer.Option(
            "--compile", help="Train with torch.compile: its first step takes up to minutes, which are shown."
        ),
    ] = False,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="On a GPU: what torch can do, slower; the record names what it cannot. A CPU always is.",
        ),
    ] = False,
) -> None:
    """Train and score methods at label fractions; write records and a report.

    Several methods, fractions, seeds or datasets span a grid. What is done is not done again, and a killed run goes on
    where it was: give the same command once more.
    """
    with _plainly(stopping.GOES_ON):
        specs, devices = grid_options.specs(), grid_options.devices()
        _check_folder(out)
        _check_writable(out)
        if compile_ and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
            raise ValueError("--compile needs a C++ compiler; install g++, or leave --compile out")
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
        typer.echo(f"{failed} of {len(specs)} runs failed; the same command tries them again", err=True)
        raise typer.Exit(1)


@app.command()
@takes_grid
def plan(grid_options: GridOptions, out: Out = Path("results")) -> None:
    """Say what `run` would do with these options, what is done already, and the time and memory it will take.

    A little of each kind of work is timed, on one device: training steps, cases to label, to compare and to score.
    Expect the times within a quarter, the memory of a run's process within 15 %; loader processes have their own.
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
        alone = 0.0
        for found in forecast(specs, out, devices[0], workers, threads_for(devices, workers)):
            typer.echo(_forecast_line(found))
            alone += sum(found.seconds.values())
            total |= found.seconds
            stored |= found.stored
        together = sum(total.values())
        typer.echo(f"together {_duration(together)} on one {devices[0]}")
        if alone > together:
            share = f"{_duration(alone - together)} ({100 * (1 - together / alone):.0f} %)"
            typer.echo(f"{share} saved by phases that several runs share: each is computed once")
        if stored:
            typer.echo(f"{_duration(sum(stored.values()))} saved by {len(stored)} phases that are in the store already")


@app.command(name="list")
def list_(
    kind: Annotated[str, typer.Argument(help="methods or datasets")],
) -> None:
    """Show the methods with their options, or the datasets and whether their data is there."""
    with _plainly():
        from atso_bench.benchmark import registry

        if kind not in ("methods", "datasets"):
            raise ValueError(f"list shows methods or datasets, got {kind!r}")
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
            typer.echo(_RECIPE)


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="Dataset; an nnU-Net dataset's name or id; or frames-NAME.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="The folder or archive that the data comes in.", exists=True)
    ] = None,
    configuration: Configuration = "",
) -> None:
    """Import a dataset, check every file, and preprocess it, so that `run` can use it."""
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
    """Build the report again: the page, Markdown, CSV, Parquet, LaTeX tables and figures (docs/report.md)."""
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
                f"{folder} cannot be written to, and its report lies in it; copy its folders records, pictures and "
                "asked to where you may write, and report there"
            ) from error
        typer.echo(f"report: {page}")


@app.command()
def compare(
    baseline: Annotated[Path, typer.Argument(help="Results folder that sets the mark.", exists=True)],
    candidate: Annotated[Path, typer.Argument(help="Results folder that is judged.", exists=True)],
    tolerance: Annotated[float, typer.Option(help="How much lower a mean Dice or mIoU may be.")] = 0.01,
) -> None:
    """Say what became worse: exit code 0 nothing, 1 worse beyond tolerance and noise, 2 not comparable."""
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
    output: Annotated[Path, typer.Option(help="The CSV to write.")] = Path("scores.csv"),
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Score the cases that both have.")] = False,
    ignore_origin: Annotated[
        bool,
        typer.Option(
            "--ignore-origin", help="Compare voxel by voxel, whatever origin and direction the headers of a pair say."
        ),
    ] = False,
) -> None:
    """Score any two folders of segmentations with the benchmark's own evaluator."""
    with _plainly():
        from atso_bench.benchmark.scoring.evaluate import evaluate_folders, lines

        found = evaluate_folders(
            predictions, references, output, allow_missing=allow_missing, ignore_origin=ignore_origin
        )
        for line in lines(found):
            typer.echo(line)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A record's file, or the key in its name.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to make.")],
    out: Out = Path("results"),
) -> None:
    """Write a run's model for use elsewhere: as an nnU-Net model folder; of frames, as safetensors with an example."""
    with _plainly():
        from atso_bench.benchmark.export import export as write

        typer.echo(write(run, to, out))


@app.command()
def doctor(out: Out = Path("results")) -> None:
    """Look at Python, torch, CUDA, nnU-Net's paths, disk and rights; say what is missing and what to do."""
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
    """Wrong input ends in a message and exit code 2, a signal in one and 130 or 143; without a traceback.

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
        hint = "if the input is right, this is a fault of the program; ATSO_BENCH_TRACEBACK=1 shows where"
        typer.echo(f"error: {type(error).__name__}: {error} ({hint})", err=True)
        raise typer.Exit(1) from None


def _check_folder(out: Path) -> None:
    """A results folder that is a file, or lies below one, is an error before anything is made."""
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"--out {out}: {nearest} is a file; name a folder, which need not exist yet")


def _check_writable(out: Path) -> None:
    """A results folder that cannot be written to is an error before anything is trained."""
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    inside = [path for path in nearest.iterdir() if path.is_dir()] if nearest == out.absolute() else []
    for folder in (nearest, *inside):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(
                f"--out {out}: {folder} cannot be written to; change its permissions, or choose another folder"
            )


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


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(app())
