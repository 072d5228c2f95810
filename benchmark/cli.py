"""The command line. Each command is a function in ``commands/``; heavy imports wait until one needs them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from atso_bench import __version__
from atso_bench.benchmark.commands import advise, check, folder, known, others, publish, runs, trackers, trained, verify

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compare ATSO and other semi-supervised segmentation methods on equal terms, at several label fractions.",
)
COMMANDS = (
    runs.run,
    runs.plan,
    folder.status,
    folder.clean,
    known.list_,
    known.prepare,
    check.check,
    folder.report,
    folder.compare,
    others.evaluate,
    advise.advise,
    trained.predict,
    trained.export,
    verify.verify,
    publish.publish,
    trackers.export_runs,
    others.doctor,
)
"""In the order in which ``--help`` lists them."""

for command in COMMANDS:
    app.command(command.__name__.strip("_").replace("_", "-"))(command)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("-V", "--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


if __name__ == "__main__":
    sys.exit(app())
