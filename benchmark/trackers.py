"""Records as runs of an experiment tracker: MLflow, or Weights & Biases, without a network."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from atso_bench.benchmark.store.files import jsonable
from atso_bench.benchmark.store.record import Record, read_all

PROJECT = "atso-bench"


def export(results: Path, to: str, into: Path) -> str:
    """Write a run for each record; returns how to look at them. Runs that were exported before are not written again.

    Args:
        results: the results folder.
        to: ``mlflow`` or ``wandb``.
        into: the folder to write into.

    Raises:
        ValueError: if there is no such tracker, it is not installed, or there is no record.
    """
    if to not in TRACKERS:
        raise ValueError(f"--to must be {' or '.join(TRACKERS)}, got {to!r}")
    records = read_all(results) if (results / "records").is_dir() else []
    if not records:
        raise ValueError(f"{results} holds no records to export")
    try:
        library = import_module(to)
    except ImportError as error:
        raise ValueError(f"--to {to} needs {to}; install it with: pip install 'atso-bench[{to}]'") from error
    into.mkdir(parents=True, exist_ok=True)
    done = into / f".{to}-exported"
    known = set(done.read_text("utf-8").split()) if done.is_file() else set()
    new = [record for record in records if record.spec.key not in known]
    with _environment_as_before():
        TRACKERS[to](library, new, into.absolute())
    done.write_text("".join(f"{record.spec.key}\n" for record in records), "utf-8")
    before = f", {len(records) - len(new)} were there" if len(new) < len(records) else ""
    return f"exported {len(new)} runs{before}; look at them with: {_viewer(to, into)}"


def _viewer(to: str, into: Path) -> str:
    if to == "wandb":
        return f"wandb sync {into}/wandb/offline-run-*"
    return f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {_uri(into)}"


@contextlib.contextmanager
def _environment_as_before() -> Iterator[None]:
    """What a tracker, or we for it, put into the variables is gone after the block."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def facts(record: Record) -> dict[str, Any]:
    """What was run, flat."""
    spec = record.spec
    options = {f"option.{name}": value for name, value in record.options.items()}
    recipe = {f"recipe.{name}": value for name, value in record.recipe.items()}
    about = {name: getattr(spec, name) for name in ("dataset", "configuration", "method", "seed", "scored", "key")}
    labelled = {"fraction": str(spec.fraction), "labelled": len(record.split["labelled"])}
    found: dict[str, Any] = jsonable(
        {**about, **labelled, "steps": spec.budget.steps, "parity": spec.budget.parity, **options, **recipe}
    )
    return found


def metrics(record: Record) -> dict[str, float]:
    """The score, each metric's mean, and seconds by kind of phase; what is undefined is left out."""
    means = {f"test.{name}": found["mean"] for name, found in record.summary["metrics"].items()}
    seconds = {f"seconds.{kind}": each for kind, each in record.seconds.items()}
    found = {"score": record.score, **means, **seconds}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def curve(record: Record) -> Iterator[tuple[int, dict[str, float]]]:
    """Loss terms by phase, with the steps counted over all trainings of the run."""
    before = 0
    for phase in record.phases:
        terms = {name: values for name, values in phase.losses.items() if name != "step"}
        for place, step in enumerate(phase.losses.get("step", ())):
            values = {f"{phase.name}.{name}": each[place] for name, each in terms.items() if place < len(each)}
            yield before + int(step), {name: value for name, value in values.items() if value is not None}
        before += phase.steps


def _to_mlflow(library: Any, records: list[Record], into: Path) -> None:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # newer ones prefer a database, which needs all of MLflow
    client = library.MlflowClient(tracking_uri=_uri(into))
    found = client.get_experiment_by_name(PROJECT)
    experiment = found.experiment_id if found else client.create_experiment(PROJECT)
    for record in records:
        run = client.create_run(experiment, run_name=record.spec.title).info.run_id
        for name, value in facts(record).items():
            client.log_param(run, _mlflow_name(name), str(value)[:500])
        for name, value in metrics(record).items():
            client.log_metric(run, _mlflow_name(name), value)
        for step, terms in curve(record):
            for name, value in terms.items():
                client.log_metric(run, _mlflow_name(name), value, step=step)
        client.set_terminated(run)


def _mlflow_name(name: str) -> str:
    """With the signs that MLflow takes."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)


def _to_wandb(library: Any, records: list[Record], into: Path) -> None:
    """Nothing of this machine goes along: records say what is to be known of theirs."""
    quiet = {"mode": "offline", "silent": True, "console": "off", "save_code": False, "disable_git": True}
    settings = library.Settings(**quiet, x_disable_stats=True, x_disable_meta=True)
    for record in records:
        about = {"name": record.spec.title, "group": record.spec.dataset, "id": record.spec.key}
        run = library.init(project=PROJECT, dir=str(into), config=facts(record), settings=settings, **about)
        for step, terms in curve(record):
            run.log(terms, step=step)
        run.summary.update(metrics(record))
        run.finish()
    library.teardown()


def _uri(into: Path) -> str:
    return (into.absolute() / "mlruns").as_uri()


TRACKERS: dict[str, Callable[[Any, list[Record], Path], None]] = {"mlflow": _to_mlflow, "wandb": _to_wandb}
