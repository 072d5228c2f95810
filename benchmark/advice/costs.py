"""What a race is planned with: the seconds of a run of each method, and how many cases decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atso_bench.benchmark import registry
from atso_bench.benchmark.engines.local import threads_for
from atso_bench.benchmark.forecast.plan import Forecast, forecast
from atso_bench.benchmark.spec import RunSpec
from atso_bench.benchmark.split_notes import FEWEST_TEST
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.record import Record


def of_runs(specs: Sequence[RunSpec], results: Path, devices: Sequence[str], workers: int) -> dict[str, float]:
    """Seconds of a whole run by method: of its record if it is done, else foretold; what is shared counts in full."""
    coming = forecast(specs, results, devices[0], workers, threads_for(devices, workers))
    return {found.spec.method: _seconds(found, results) for found in coming}


def _seconds(found: Forecast, results: Path) -> float:
    if found.done:
        return sum(Record.read(results / "records" / found.spec.path).seconds.values())
    return sum(found.seconds.values()) + sum(found.stored.values())


def of_validation(spec: RunSpec) -> list[str]:
    """That a validation set is too small to tell methods apart."""
    split = make_split(registry.dataset(spec.dataset, spec.configuration), spec)
    cases = len(split.validation)
    if cases >= FEWEST_TEST:
        return []
    return [
        f"the validation set has {cases} case(s), and no difference can be significant with fewer than {FEWEST_TEST}; "
        "give a larger --validation"
    ]
