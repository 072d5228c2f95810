"""Which runs a grid holds, and running those that are not done: one process for each device."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark import done, registry, remedies
from atso_bench.benchmark.done import finished, remembered
from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.machine.devices import sharing
from atso_bench.benchmark.machine.processor import cores
from atso_bench.benchmark.machine.progress import Lines, Progress, on
from atso_bench.benchmark.spec import Budget, LabelFraction, RunSpec
from atso_bench.benchmark.store import asked
from atso_bench.benchmark.store.locks import locked
from atso_bench.benchmark.store.record import failure_path, write_failure
from atso_bench.benchmark.training.execution import PLAIN, Execution, settled

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from atso_bench.benchmark.run import Bench
    from atso_bench.benchmark.task import Dataset

UPPER_BOUND = ("supervised", LabelFraction("100"))


@dataclass(frozen=True)
class Options:
    """``--option`` by what it is for: ``recipe.batch=8``, ``atso.subsets=4``."""

    methods: dict[str, dict[str, Any]]
    recipe: dict[str, Any]

    @classmethod
    def parse(cls, texts: Sequence[str], methods: Sequence[str]) -> Options:
        """Read ``NAME.OPTION=VALUE``; the value is JSON or else a string.

        Raises:
            ValueError: if the text has another form, or ``NAME`` is neither ``recipe`` nor a method of this grid.
        """
        found: dict[str, dict[str, Any]] = {}
        for text in texts:
            target, equals, value = text.partition("=")
            name, dot, option = target.partition(".")
            if not (equals and dot and option):
                raise ValueError(f"--option must be NAME.OPTION=VALUE, such as atso.subsets=4, got {text!r}")
            if name not in ("recipe", *methods):
                raise ValueError(
                    f"--option {text!r}: {name!r} is neither 'recipe' nor one of the methods, {', '.join(methods)}"
                )
            found.setdefault(name, {})[option.replace("-", "_")] = _value(value)
        return cls({k: v for k, v in found.items() if k != "recipe"}, found.get("recipe", {}))


def make_specs(
    datasets: Sequence[str],
    methods: Sequence[str],
    fractions: Sequence[str],
    seeds: Sequence[int],
    budget: Budget,
    options: Options,
    *,
    upper_bound: bool = False,
    half_budget: bool = False,
    **common: Any,
) -> list[RunSpec]:
    """All combinations; methods that share M0 follow each other, and datasets have their full names.

    ``common`` are fields of ``RunSpec``; a list in ``lists`` may be the name of one that the dataset knows.
    """
    cells: list[tuple[str, str, LabelFraction, int, Budget]] = [
        (dataset, method, LabelFraction(fraction), seed, budget)
        for dataset, fraction, seed, method in product(datasets, fractions, seeds, methods)
    ]
    if upper_bound:
        method, fraction = UPPER_BOUND
        cells += [(dataset, method, fraction, seed, budget) for dataset, seed in product(datasets, seeds)]
    if half_budget:
        half, places = budget.halved, product(datasets, map(LabelFraction, fractions), seeds)
        cells += [(dataset, UPPER_BOUND[0], fraction, seed, half) for dataset, fraction, seed in places]
    configuration, given = common.pop("configuration", ""), common.pop("lists", {})
    known = {dataset: registry.dataset(dataset, configuration) for dataset in datasets}
    if nameless := [dataset for dataset, found in known.items() if not found.name]:
        raise ValueError(f"{nameless[0]} is not one dataset: {known[nameless[0]].is_ready()[1]}")
    recipes = {name: dataset.settled(options.recipe) for name, dataset in known.items()}
    if "split_by" in common and all(common["split_by"] == dataset.groupings[0] for dataset in known.values()):
        common.pop("split_by")  # spelled out, it is no other run
    specs = []
    for name, method, fraction, seed, steps in dict.fromkeys(cells):
        dataset = known[name]
        # a wrong option is an error before anything runs; a default that is spelled out is no other run
        chosen = registry.method(method, options.methods.get(method, {})).model_dump(exclude_defaults=True)
        specs.append(
            RunSpec(
                dataset.name,
                method,
                fraction,
                seed,
                steps,
                configuration=dataset.configuration,
                options=chosen,
                recipe=recipes[name],
                lists=_lists(dataset, fraction, given, common.get("validation", 0.0)),
                **common,
            )
        )
    return specs


def _lists(dataset: Dataset, fraction: str, given: Mapping[str, Any], validation: float) -> dict[str, list[str]]:
    """The lists that are given, by their names too; without any, the one that the configuration's protocol has.

    With all labels there is nothing to choose. A protocol's list that does not fit (other frames, other fractions, a
    part of the pool set apart as V) gives way to a drawn split, as the record then says.
    """
    if fraction == "100":
        return {part: ids for part, ids in given.items() if part != "labelled"}
    if not given and dataset.default_list and not validation:
        with contextlib.suppress(LookupError, ValueError):
            return {"labelled": list(dataset.published(dataset.default_list, fraction))}
    return {
        part: list(dataset.published(ids, fraction) if isinstance(ids, str) else ids) for part, ids in given.items()
    }


def work(
    specs: Sequence[RunSpec],
    results: Path,
    device: str,
    workers: int,
    since: float = 0.0,
    threads: int = 1,
    began: float = math.inf,
    shown: Progress | None = None,
    profile: bool = False,
    execution: Execution = PLAIN,
    together: int = 1,
) -> int:
    """Do the runs that are not done, one after the other; returns how many failed.

    A run that another process is busy with comes last: by then it is done, or its process has died and it is done here.
    A run that fails leaves a record of the failure; the others go on. Records and phases from before ``since`` (seconds
    of the epoch) do not count as done. A run that failed after ``began``, in another process, is not tried here again.
    """
    from atso_bench.benchmark.run import Bench

    with settled(execution):
        settle(device, threads)
        bench = Bench(results, device, workers, shown or on(sys.stdout), since, profile, execution, together)
        return _do_all(specs, bench, began)


def _do_all(specs: Sequence[RunSpec], bench: Bench, began: float) -> int:
    failed, busy, identity = 0, [], remembered()
    for number, spec in enumerate(specs, start=1):
        done = _do_alone(spec, bench, f"[{number}/{len(specs)}]", began, identity, wait=False)
        if done is None:
            busy.append((number, spec))
        else:
            failed += not done
    for number, spec in busy:
        bench.progress.note(f"[{number}/{len(specs)}] {spec.title}: waiting for another process")
        failed += not _do_alone(spec, bench, f"[{number}/{len(specs)}]", began, identity, wait=True)
    return failed


def _do_alone(
    spec: RunSpec, bench: Bench, place: str, began: float, identity: Callable[[str, str], str], *, wait: bool
) -> bool | None:
    """Whether the run is done, None if another process has it; one that may not be touched is no end of the grid."""
    try:
        with _claim(bench.results, spec, wait=wait) as free:
            return _do(spec, bench, place, began, identity) if free else None
    except OSError as error:
        if error.errno == errno.ENOLCK:  # it holds for all of them
            raise
        bench.progress.note(f"{place} {spec.title}: running\n    failed: {_keep(error, spec, bench.results)}")
        return False


def settle(device: str, threads: int) -> None:
    """Make ``device`` this process's own, and let torch have ``threads`` threads unless the user says how many."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.set_device(torch.device(device).index or 0)  # "cuda" alone has no index, and set_device wants one
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)


def _do(spec: RunSpec, bench: Bench, place: str, began: float, identity: Callable[[str, str], str]) -> bool:
    """Do one run unless it is done; False if it failed."""
    from atso_bench.benchmark.run import execute
    from atso_bench.benchmark.training.profiling import profile_path

    failure = failure_path(bench.results, spec)
    try:
        if failure.exists() and failure.stat().st_mtime >= began:
            bench.progress.note(f"{place} {spec.title}: failed in another process")
            return False
        found, why = done.found(bench.results, spec, bench.since, identity)
        bench.progress.note(f"{place} {spec.title}: {'already done' if found else 'running'}{why and f' again: {why}'}")
        if found and bench.profile and not profile_path(bench.results, spec).exists():
            bench.progress.note("    it has no profile; --fresh repeats the run with one")
        found = found or execute(spec, bench)
        failure.unlink(missing_ok=True)  # of a process that did not see the record
        score = "undefined" if math.isnan(found.score) else f"{found.score:.4f}"
        bench.progress.note(f"    {found.metric} {score} in {sum(found.seconds.values()):.0f} s")
    except Exception as error:
        bench.progress.note(f"    failed: {_keep(error, spec, bench.results)}")
        _let_go(error)
        return False
    return True


def _keep(error: Exception, spec: RunSpec, results: Path) -> str:
    """Write the failure's record; returns what there is to say."""
    said = f"{type(error).__name__}: {remedies.message(error)}"
    try:
        path = write_failure(results, spec, getattr(error, "phase", "set-up"), error)
    except OSError as other:
        return f"{said}\n    its record could not be written either: {remedies.message(other)}"
    return f"{said}\n    see {path}"


def _let_go(error: BaseException) -> None:
    """Release what the frames of a failed run hold, such as tensors on the device: the next run needs the room.

    Raises:
        DeviceLostError: if the device answers no more; CUDA has no way back within a process.
    """
    torch = sys.modules.get("torch")
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__, seen = None, seen.__cause__ or seen.__context__
    gc.collect()
    if torch is not None and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except RuntimeError as lost:
            raise remedies.DeviceLostError(lost) from None


def run_grid(
    specs: Sequence[RunSpec],
    results: Path,
    devices: Sequence[str],
    workers: int,
    *,
    fresh: bool,
    profile: bool = False,
    execution: Execution = PLAIN,
) -> int:
    """Do the runs on all devices, a process for each; returns how many failed.

    Which runs they are is written down first, so that a report can name those that never came to an end.
    """
    data = {key: registry.dataset(*key).identity for key in {(spec.dataset, spec.configuration) for spec in specs}}
    asked.write(results, specs, data)
    threads = threads_for(devices, workers)
    began = time.time()
    since = began if fresh else 0.0
    if len(devices) == 1:
        return work(specs, results, devices[0], workers, since, threads, profile=profile, execution=execution)
    import multiprocessing

    spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    each = functools.partial(work, profile=profile, execution=execution)
    parts = [
        functools.partial(
            each,
            own_first(specs, k, len(devices)),
            *(results, device, workers, since, threads, began),
            together=sharing(devices, device),
        )
        for k, device in enumerate(devices)
    ]
    names = [f"{number} ({device})" for number, device in enumerate(devices, start=1)]
    _together([spawn.Process(target=_part, args=each) for each in zip(names, parts, strict=True)])
    return sum(not _done(results, spec, since, data) for spec in specs)  # also those of a process that died


def _done(results: Path, spec: RunSpec, since: float, data: Mapping[tuple[str, str], str]) -> bool:
    """Whether the run has a record, made from the data as it was at first; it may be gone since."""
    try:
        return finished(results, spec, since, lambda dataset, configuration: data[dataset, configuration]) is not None
    except (OSError, ValueError):  # one that may not be read, or not by this version
        return False


def _together(processes: Sequence[BaseProcess]) -> None:
    """Start them and wait for their end; a stop that this process is asked for is passed on to them, and they save."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # else the first start would end the postponement of signals
    try:
        with stopping.postponed():
            for process in processes:
                process.start()
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        try:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()
        except KeyboardInterrupt:  # once more: no more time to save
            for process in processes:
                process.kill()
        raise


def _part(name: str, do: Callable[..., int]) -> None:
    """One process of several: its lines begin with its name, because the processes' output is mixed."""
    shown = Lines(lambda line: print(f"{name}: {line}", flush=True))
    try:
        with stopping.at_once():
            stopping.leave_to_parent(signal.SIGINT)  # which passes it on as SIGTERM
            do(shown=shown)
    except stopping.Interrupted as stop:
        shown.note(str(stop))
        sys.exit(stop.code)
    except Exception as error:
        shown.note(f"stopped: {type(error).__name__}: {error}")
        sys.exit(1)


def threads_for(devices: Sequence[str], workers: int) -> int:
    """The cores, divided among the processes; more threads than cores only fight each other."""
    return max(1, cores() // len(devices) - workers)


def own_first(specs: Sequence[RunSpec], k: int, n: int) -> list[RunSpec]:
    """All runs, first those that are process ``k``'s of ``n``; runs that share M0 go to one process."""
    cells = list(dict.fromkeys((spec.dataset, spec.fraction, spec.seed) for spec in specs))
    mine = set(cells[k::n])
    return sorted(specs, key=lambda spec: (spec.dataset, spec.fraction, spec.seed) not in mine)


@contextlib.contextmanager
def _claim(results: Path, spec: RunSpec, *, wait: bool) -> Iterator[bool]:
    """True if this process alone has the run now; the kernel releases it when the process ends, however it ends."""
    folder = results / "stages" / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / spec.key, wait=wait) as free:
        yield free


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # of thousands of brackets
        return text
