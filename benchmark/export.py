"""A run's final model, for use elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from atso_bench.benchmark import registry
from atso_bench.benchmark.run import model_file, open_task
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.stages import Stages


def export(run: str, folder: Path, results: Path) -> str:
    """Write the model of ``run`` to ``folder``; returns what to do with it.

    Args:
        run: a record's file, or the key in its name.
        folder: what to make; it must not exist yet or be empty.
        results: the folder that holds ``records/`` and ``stages/``.

    Raises:
        ValueError: if there is no such run, or its model cannot be had.
    """
    path = _find(run, results)
    results = next((folder.parent for folder in path.absolute().parents if folder.name == "records"), results)
    record = Record.read(path)
    spec = record.spec
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; choose a new folder")
    weights = Stages.load(model_file(results, spec))
    if weights is None:
        raise ValueError(f"the weights of {spec.title} are not in {results / 'stages'}; repeat the run with --fresh")
    dataset = registry.dataset(spec.dataset, spec.configuration)
    if dataset.identity != record.data:
        raise ValueError(f"the data of {spec.dataset} has changed since {spec.title}; its plan may no longer fit")
    split = make_split(dataset, spec)
    task = open_task(spec, dataset, split, ())
    model = task.network(start=False)
    if set(weights) != set(model.state_dict()):
        raise ValueError(
            f"the model of {spec.title} is an ensemble, which cannot be exported as one network; use final=last"
        )
    model.load_state_dict(weights)
    facts = {"spec": asdict(spec), "score": record.score, "environment": record.environment}
    return task.export(model, folder, facts)


def _find(run: str, results: Path) -> Path:
    if Path(run).is_file():
        return Path(run)
    found = [path for path in (results / "records").rglob(f"*{run}*.json") if ".failed" not in path.name]
    if len(found) != 1:
        raise ValueError(f"{run!r} matches {len(found)} records in {results / 'records'}; give a record's file or key")
    return found[0]
