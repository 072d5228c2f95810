"""A forecast in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atso_bench.benchmark.forecast.plan import Forecast
from atso_bench.benchmark.machine.progress import duration


def lines(forecasts: Iterable[Forecast], device: str) -> Iterator[str]:
    """A line for each run as soon as it is known, and what all of them take together on one such device."""
    total: dict[str, float] = {}
    stored: dict[str, float] = {}
    alone = 0.0
    for found in forecasts:
        yield _line(found)
        alone += sum(found.seconds.values())
        total |= found.seconds
        stored |= found.stored
    together = sum(total.values())
    yield f"total: {duration(together)} on one {device} device"
    if alone > together:
        share = f"{duration(alone - together)} ({100 * (1 - together / alone):.0f} %)"
        yield f"{share} saved, because phases that several runs share are computed once"
    if stored:
        yield f"{duration(sum(stored.values()))} saved, because {len(stored)} phases are already stored"


def _line(found: Forecast) -> str:
    if found.done:
        return f"{found.spec.title}: done"
    memory = found.device_bytes or found.process_bytes
    return (
        f"{found.spec.title}: {duration(sum(found.seconds.values()))}, "
        f"{found.trainings} training{'s' * (found.trainings != 1)}, {found.steps} steps, "
        f"{found.cases} cases to label, {memory / 2**30:.1f} GiB"
    )
