"""The command that repeats a run: ``verify``."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark.commands.common import Json, Out, plainly, say_json
from atso_bench.benchmark.commands.trained import RUN
from atso_bench.benchmark.options import Plugins


def verify(
    run: Annotated[str, typer.Argument(metavar="RECORD", help=RUN)],
    phases: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Repeat only this share of the phases, drawn at random, from the stored ones: 0.1."
        ),
    ] = 1.0,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="By how much Dice or mIoU may differ where the same bits are not expected.")
    ] = 0.01,
    note: Annotated[
        bool,
        typer.Option(
            "--note", help="Keep the outcome in verified/ of its results, for `publish`; of a file alone, beside it."
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto: the kind of device that the run had, if it is here; cpu, cuda or cuda:1.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes; they change no result.")] = 1,
    plugins: Plugins = None,
    json_: Json = False,
    out: Out = Path("results"),
) -> None:
    """Run a finished run again, in a temporary folder, and say whether weights and scores are the same.

    Bit for bit on the same kind of processor with the same software; elsewhere the score within --tolerance, and what
    differs is named. Exit code: 0 the same, 1 differs, 2 cannot be verified (data missing or changed, other code).
    """
    with plainly():
        from atso_bench.benchmark import finding
        from atso_bench.benchmark.machine.progress import on
        from atso_bench.benchmark.store.record import Record

        if not phases:
            raise ValueError("--phases must be above 0: the share of the phases to repeat")
        chosen = finding.find(run, out)
        record = Record.read(chosen.path)
        shown = on(sys.stderr if json_ else sys.stdout)
        place = _device(device, record.environment.get("device", "cpu"))
        from atso_bench.benchmark import verify as verifying
        from atso_bench.benchmark.run import Bench
        from atso_bench.benchmark.store import verified

        chosen = verifying.own(chosen)
        verifying.check(record, shown.note)
        shown.note(f"{record.spec.key}: {record.spec.title}")
        with tempfile.TemporaryDirectory(prefix="atso-bench-") as folder:
            new = Path(folder)
            how = verifying.bench(record, Bench(new, place, workers, shown))
            if phases < 1:
                drawn = verifying.draw(record, chosen.results, how, phases)
                shown.note(f"repeating {', '.join(drawn)}; where it differs, all that follows from it too")
            found = verifying.judge(chosen, record, verifying.again(record, how), new, tolerance)
        if json_:
            say_json(asdict(found))
        for line in [] if json_ else verifying.lines(found, record.metric):
            typer.echo(line)
        if note:
            shown.note(f"noted in {verified.add(chosen.results, found)}")
    raise typer.Exit(int(found.verdict == "differs"))


def _device(text: str, recorded: str) -> str:
    """The device that is named; with ``auto`` the first of the recorded kind, or the CPU where there is none."""
    from atso_bench.benchmark.machine.devices import devices

    return "cpu" if text == "auto" and recorded == "cpu" else devices(text)[0]
