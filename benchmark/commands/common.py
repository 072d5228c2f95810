"""What commands share: options, and how they end when something is wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from atso_bench.benchmark import places, remedies
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.store.files import jsonable

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]


def _placed(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    """The folder that was given, or else the default one."""
    source = context.get_parameter_source(str(parameter.name))
    return places.results().path if source is not None and source.name == "DEFAULT" else value


_DEFAULT = "./results where it is in use, else ~/atso-bench/results"
Out = Annotated[
    Path,
    typer.Option(
        envvar=list(places.RESULTS),
        help="Results folder: records, stages and report.",
        callback=_placed,
        show_default=_DEFAULT,
    ),
]
Folder = Annotated[
    Path,
    typer.Argument(envvar=list(places.RESULTS), help="Results folder.", callback=_placed, show_default=_DEFAULT),
]


def say_json(value: Any) -> None:
    """Print a value as JSON: dataclasses as objects, paths as text, NaN as null."""
    typer.echo(json.dumps(jsonable(value), indent=1, default=_plain))


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


@contextmanager
def plainly(then: str = stopping.BEGINS_AGAIN) -> Iterator[None]:
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
        typer.echo(stop.words(then), err=True)
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
