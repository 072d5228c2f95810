"""The command that makes a site of a results folder: ``publish``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark.commands.common import Folder, plainly


def publish(
    to: Annotated[Path, typer.Option("--to", help="Folder of the site: new, empty, or published before.")],
    folder: Folder = Path("results"),
) -> None:
    """Make a static site of a results folder, which any file host serves: report, records, verifications, how to join.

    Paths of this machine are shortened, and a record that still holds one, or the user's name, is an error: nothing is
    written then. The same results give the same files.
    """
    with plainly():
        from atso_bench.reports.data import listing, workers

        workers.prepare(listing.record_files(folder))
        from atso_bench.reports.publish import publish as write

        number = write(folder, to, typer.echo)
        typer.echo(f"{number} finished run{'s' * (number != 1)} -> {to / 'index.html'}")
