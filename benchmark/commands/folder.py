"""The commands on a results folder: ``status``, ``clean``, ``report``, ``compare``."""

from __future__ import annotations

import errno
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark.commands.common import Folder, Json, plainly, say_json


def status(folder: Folder = Path("results"), json_: Json = False) -> None:
    """Say how far the runs of a results folder are: done, running where, waiting for what, failed why, time left."""
    with plainly():
        from atso_bench.benchmark.engines.status import facts, lines

        if json_:
            say_json(facts(folder))
            return
        for line in lines(folder):
            typer.echo(line)


def clean(
    folder: Folder = Path("results"),
    keep: Annotated[str, typer.Option(help="records, or models (and records).")] = "models",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove what finished runs no longer need: their phases, and with --keep records their models too."""
    with plainly():
        cleaned(folder, keep, dry=dry_run)


def cleaned(folder: Path, keep: str, *, dry: bool = False) -> None:
    from atso_bench.benchmark.store.clean import clean

    freed = clean(folder, keep, dry=dry)
    typer.echo(f"{'would free' if dry else 'freed'} {freed.bytes / 2**20:.1f} MiB in {freed.files} files")


def report(
    folder: Folder = Path("results"),
    where: Annotated[
        str, typer.Option(help="Only of some runs: \"dataset=='la' and budget=='standard'\" (docs/scaling.md).")
    ] = "",
) -> None:
    """Rebuild the report from the records: HTML, Markdown, CSV, Parquet, LaTeX tables and figures (docs/report.md)."""
    with plainly():
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


def compare(
    baseline: Annotated[Path, typer.Argument(help="Results folder to compare with.", exists=True)],
    candidate: Annotated[Path, typer.Argument(help="Results folder to judge.", exists=True)],
    tolerance: Annotated[float, typer.Option(help="By how much a mean Dice or mIoU may be lower.")] = 0.01,
    json_: Json = False,
) -> None:
    """Say what became worse. Exit code: 0 nothing, 1 worse beyond tolerance and noise, 2 not comparable."""
    with plainly():
        from atso_bench.reports.compare import compare as judge
        from atso_bench.reports.verdict import lines

        verdict = judge(baseline, candidate, tolerance=tolerance)
        if json_:
            say_json({**asdict(verdict), "code": verdict.code})
        for line in [] if json_ else lines(verdict):
            typer.echo(line)
    raise typer.Exit(verdict.code)
