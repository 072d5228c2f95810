"""The functions that ``import atso_bench`` offers, by the words of the command line.

Arguments are those of ``atso-bench run``, in the plural; one value may stand where several are taken. What is wrong is
a ``ValueError`` or ``LookupError`` with the message of the command line.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark import plugins as plugin_folders
from atso_bench.benchmark import readiness
from atso_bench.benchmark.machine import progress as talking
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.options import GridOptions
from atso_bench.benchmark.python.answers import Comparison, Plan, Results, Scores
from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.store.record import Record, failure_path, read_all

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Several = str | int | float | Sequence[str | int | float]
"""One value or several."""


def run(
    methods: Several,
    fractions: Several,
    *,
    datasets: Several = "phantom",
    sources: Several = (),
    seeds: Several = 0,
    budget: str | int = "small",
    parity: str = "total",
    configuration: str = "",
    options: Mapping[str, Any] | None = None,
    upper_bound: bool = False,
    half_budget: bool = False,
    validation: float = 0.0,
    scored: str = "test",
    split_lists: Mapping[str, str | Path] | None = None,
    split_by: str = "",
    folds: int = 0,
    device: str = "auto",
    workers: int = -1,
    plugins: Sequence[str | Path] = (),
    out: str | Path = "results",
    fresh: bool = False,
    quiet: bool = False,
) -> Results:
    """Train and score a grid of runs; those that are finished are not repeated.

    Runs that fail are named in the result, and the others go on. Ctrl-C (in a notebook: Interrupt) saves, and the same
    call goes on from there. With several devices, a script needs ``if __name__ == "__main__":`` around the call.

    Args:
        methods: names or groups.
        fractions: labelled share of the training cases: ``10`` (percent), ``"1/16"`` or ``"16cases"``.
        datasets: names; their data must be ready.
        sources: for transfer, datasets whose labels are learnt from.
        seeds: numbers, or a range such as ``"0-4"``.
        budget: ``"smoke"``, ``"demo"``, ``"small"``, ``"standard"``, or optimiser steps.
        parity: what has the budget: ``"total"``, ``"line"``, ``"phase"`` or ``"time"``.
        configuration: of the datasets; empty for their first.
        options: of methods and recipe by their names: ``{"atso.subsets": 4, "recipe.batch": 8}``.
        upper_bound: add supervised training with all labels.
        half_budget: add supervised training with half the steps.
        validation: percent of the training cases to set apart.
        scored: ``"test"`` or ``"validation"``.
        split_lists: files (or a built-in list's name) by part: ``pool``, ``labelled``, ``validation``, ``test``.
        split_by: what a split keeps whole.
        folds: how many, so that each labelled case is a test case once; 0 for a fixed test set.
        device: as ``--device``.
        workers: loader processes for each device; -1 for as many as the cores allow.
        plugins: folders with methods and datasets of your own.
        out: results folder.
        fresh: repeat finished runs.
        quiet: show no progress.

    Raises:
        ValueError: if an argument is wrong, or the data are not ready.
        LookupError: if a method or dataset does not exist.
    """
    given = locals()
    for name in ("out", "fresh", "quiet"):
        given.pop(name)
    return _run(_grid(**given), Path(out), fresh=fresh, quiet=quiet)


def plan(methods: Several, fractions: Several, *, out: str | Path = "results", **more: Any) -> Plan:
    """Say what `run` would do with these arguments: what is done, time and memory of the rest, from a few test steps.

    Args:
        methods: as for `run`.
        fractions: as for `run`.
        out: results folder.
        more: the other arguments of `run` that say what is to be run, and where.

    Raises:
        ValueError: if an argument is wrong, or the data are not ready.
        LookupError: if a method or dataset does not exist.
    """
    options = _grid(methods=methods, fractions=fractions, **more)
    options.check()
    specs, devices = options.specs(), options.devices()
    readiness.check_folder(Path(out))
    readiness.make_ready(specs, lambda note: None)
    from atso_bench.benchmark.engines.local import threads_for
    from atso_bench.benchmark.forecast.plan import forecast

    workers = options.workers_for(devices)
    specs = readiness.timed(specs, Path(out), devices, workers, lambda note: None)
    found = forecast(specs, Path(out), devices[0], workers, threads_for(devices, workers))
    return Plan(devices[0], tuple(found))


def read(folder: str | Path) -> Results:
    """The finished runs of a results folder, whoever made them; nothing is trained.

    Raises:
        ValueError: if there is no such folder, or a record cannot be read.
    """
    folder = Path(folder)
    if not (folder / "records").is_dir():
        raise ValueError(f"{folder} holds no records/; is it a results folder?")
    return Results(folder, tuple(read_all(folder)), {})


def evaluate(
    prediction: str | Path | NDArray[np.integer[Any]],
    reference: str | Path | NDArray[np.integer[Any]],
    *,
    spacing: Sequence[float] | None = None,
    classes: Sequence[str] | None = None,
    ignore: int | None = None,
    allow_missing: bool = False,
    ignore_origin: bool = False,
) -> Scores:
    """Score one segmentation against the true one, or a folder of them against a folder.

    Args:
        prediction: labels ``(*spatial)`` of 2 or 3 axes, or a folder of files.
        reference: the true labels in the same form.
        spacing: of arrays: millimetres by axis; 1 without it.
        classes: of arrays: names by label, the background first; ``class 1``, ``class 2`` ... without them.
        ignore: of arrays: the reference's label that belongs to no class.
        allow_missing: of folders: score only the cases that both have.
        ignore_origin: of folders: compare voxel by voxel, whatever the headers say of the origin.

    Raises:
        ValueError: if the two do not fit each other.
    """
    if isinstance(prediction, str | Path) and isinstance(reference, str | Path):
        from atso_bench.benchmark.scoring.evaluate import evaluate_folders

        with tempfile.TemporaryDirectory() as folder:
            places = Path(prediction), Path(reference), Path(folder, "scores.csv")
            found = evaluate_folders(*places, allow_missing=allow_missing, ignore_origin=ignore_origin)
        return Scores(found.cases, (*(f"not scored: {case}" for case in found.missing), *found.notes))
    if isinstance(prediction, str | Path) or isinstance(reference, str | Path):
        raise ValueError("evaluate takes two folders or two arrays, not one of each")
    return _of_arrays(prediction, reference, spacing, classes, ignore)


def compare(baseline: str | Path, candidate: str | Path, *, tolerance: float = 0.01) -> Comparison:
    """Say what became worse between two results folders.

    Args:
        baseline: the results folder that sets the mark.
        candidate: the one that is judged.
        tolerance: by how much a mean Dice or mIoU may be lower.

    Raises:
        ValueError: if one of them holds no records.
    """
    from atso_bench.reports.compare import compare as judge

    return Comparison(judge(Path(baseline), Path(candidate), tolerance=tolerance))


def _grid(**given: Any) -> GridOptions:
    """The options of the command line that these arguments stand for."""
    plugin_folders.join(given.get("plugins", ()))
    lists = [f"{part}={file}" for part, file in (given.pop("split_lists", None) or {}).items()]
    options = [f"{name}={_value(value)}" for name, value in (given.pop("options", None) or {}).items()]
    several = {
        "method": "methods",
        "fraction": "fractions",
        "dataset": "datasets",
        "seed": "seeds",
        "source": "sources",
    }
    named: dict[str, Any] = {one: _texts(given.pop(name)) for one, name in several.items() if name in given}
    given |= {"budget": str(given["budget"])} if "budget" in given else {}
    given |= {"plugins": list(map(Path, given["plugins"]))} if "plugins" in given else {}
    try:
        return GridOptions(**named, **given, split_list=lists, option=options)
    except TypeError as error:  # a keyword of ``plan`` that does not exist
        raise ValueError(f"{error}".replace("GridOptions.__init__()", "plan()")) from None


def _texts(values: Several) -> list[str]:
    return [str(each) for each in ([values] if isinstance(values, str | int | float) else values)]


def _value(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def _run(options: GridOptions, out: Path, *, fresh: bool, quiet: bool) -> Results:
    from atso_bench.benchmark import grid
    from atso_bench.benchmark.engines.order import Order

    options.check()
    readiness.check_folder(out)
    readiness.check_writable(out)
    specs, devices = options.specs(), options.devices()
    with talking.quietly(quiet), _stoppable():
        say = (lambda line: None) if quiet else print
        readiness.make_ready(specs, say)
        order = Order(out, options.workers_for(devices), options.device, fresh)
        specs = readiness.timed(specs, out, devices, order.workers, say)
        grid.run_grid(specs, order, devices)
    return _results(out, specs)


def _results(out: Path, specs: Sequence[RunSpec]) -> Results:
    records = []
    for spec in specs:
        with contextlib.suppress(ValueError, FileNotFoundError):  # one that cannot be read is among the failures
            records.append(Record.read(out / "records" / spec.path))
    failed = {spec.title: str(path) for spec in specs if (path := failure_path(out, spec)).is_file()}
    return Results(out, tuple(records), failed)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """A signal saves, where signals can be heard."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with stopping.at_once():
        yield


def _of_arrays(
    prediction: Any, reference: Any, spacing: Sequence[float] | None, classes: Sequence[str] | None, ignore: int | None
) -> Scores:
    from atso_bench.benchmark.scoring.metrics import score_case

    predicted, true = _labels(prediction, "prediction"), _labels(reference, "reference")
    most = max(int(each[each != ignore].max(initial=0)) for each in (predicted, true))
    names = tuple(classes or ("background", *(f"class {value}" for value in range(1, most + 1))))
    if most >= len(names):
        raise ValueError(f"a label is {most}, but classes names {len(names)}: {', '.join(names)}")
    found = score_case(predicted, true, names, spacing or (1.0,) * true.ndim, ignore=ignore)
    return Scores({"case": found}, () if spacing else ("no spacing was given: distances are in voxels",))


def _labels(array: Any, name: str) -> NDArray[np.int64]:
    import numpy as np

    found = np.asarray(array)
    if found.dtype.kind not in "iub":
        raise ValueError(f"{name} holds {found.dtype}, not labels; take the argmax of probabilities first")
    return found.astype(np.int64)
