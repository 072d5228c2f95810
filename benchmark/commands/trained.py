"""The commands on a trained model: ``predict`` and ``export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from atso_bench.benchmark.commands.common import Out, plainly

RUN = (
    "Which run: its key, or the beginning of it; dataset/method/fraction/seed (phantom/atso/10/0), of which the end "
    "may be left out; or the file of its record. `export` alone lists all."
)


def predict(
    images: Annotated[Path, typer.Option("-i", "--images", help="Folder of images, named as those of the dataset.")],
    to: Annotated[Path, typer.Option("-o", "--to", help="Folder to write the segmentations to.")],
    run: Annotated[str, typer.Argument(help=RUN)] = "",
    best: Annotated[
        bool,
        typer.Option(
            "--best",
            help="Of all runs, or those that RUN names, take the best on the validation set; without one, on the test "
            "set, and say so.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    out: Out = Path("results"),
) -> None:
    """Segment new images with a run's model, as the test set was segmented. The training data need not be there.

    Volumes: nnU-Net's names, CASE_0000.nii.gz, a file for each channel. Frames: PNG, JPEG, TIFF or BMP.

    Segmentations have the geometry of their image, and the values of the dataset's labels.
    """
    with plainly():
        from atso_bench.benchmark import finding
        from atso_bench.benchmark.engines.local import threads_for
        from atso_bench.benchmark.engines.task import settle
        from atso_bench.benchmark.machine.devices import devices
        from atso_bench.benchmark.machine.progress import on

        if not run and not best:
            raise ValueError("name a run, or give --best; these are there:\n  " + "\n  ".join(finding.listing(out)))
        chosen = finding.best(run, out) if best else finding.find(run, out)
        first = devices(device)[0]
        from atso_bench.benchmark.models import open_model
        from atso_bench.benchmark.predict import check_out
        from atso_bench.benchmark.predict import predict as write

        check_out(to, images)
        model = open_model(chosen)
        typer.echo(f"{model.record.spec.key}: {model.record.spec.title}{chosen.why and ', '}{chosen.why}", err=True)
        settle(first, threads_for([first], 0))
        found = write(model, images, to, device=first, shown=on(sys.stdout), say=typer.echo, why=chosen.why)
        typer.echo(f"{len(found)} {model.trained.task.metric.cases} -> {to}")


def export(
    run: Annotated[str, typer.Argument(help=RUN)] = "",
    to: Annotated[Path | None, typer.Option("--to", help="Folder to create.")] = None,
    out: Out = Path("results"),
) -> None:
    """Export a run's model: as an nnU-Net model folder, or for frames as safetensors with an example.

    Without RUN, list the runs and their keys. The training data need not be there.
    """
    with plainly():
        if not run:
            from atso_bench.benchmark.finding import listing

            for line in listing(out) or [f"there is no finished run in {out}"]:
                typer.echo(line)
            return
        if to is None:
            raise ValueError(f"give the folder to create: atso-bench export {run} --to FOLDER")
        from atso_bench.benchmark.export import export as write

        typer.echo(write(run, to, out))
