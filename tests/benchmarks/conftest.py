"""How benchmarks measure: ours and an opponent in turns, in one process, and a table with the goals at the end.

A benchmark is a test that asks for ``race``. ``make bench`` runs all of them, on a GPU where there is one.
``make test`` runs each of them once, on little data, and measures nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from racing import HEAD, TABLE, Action, Goal, Row, now

ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.benchmark(timer=now))


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Every benchmark by one core: what one of several processes has, and the least noise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def race(request: pytest.FixtureRequest) -> Callable[..., Row | None]:
    """Measure ours against an opponent, a round of each in turns, and add a row to the table.

    Args (of the function that this gives):
        part: what is measured.
        ours, theirs: what is timed; without ``theirs`` ours is timed alone.
        opponent: who ``theirs`` is.
        goal: what is aimed at, or None.
        rounds: of each; medians count.
        work: how often one call does the thing: the table has the time of one.
        charged: seconds that the opponent takes beside each call, measured apart.
    """
    if TABLE is None:
        return once
    benchmark: Any = request.getfixturevalue("benchmark")

    def run(
        part: str,
        ours: Action,
        theirs: Action | None = None,
        *,
        opponent: str = "",
        goal: Goal | None = None,
        rounds: int = 15,
        work: int = 1,
        charged: float = 0.0,
    ) -> Row:
        opponents: list[float] = []

        def before() -> None:
            if theirs is not None:
                start = now()
                theirs()
                opponents.append(now() - start + charged)

        for action in (theirs, ours):  # warms up
            if action is not None:
                action()
        benchmark.pedantic(ours, setup=before, rounds=rounds, warmup_rounds=0)
        mine = benchmark.stats.stats.data
        ratio = statistics.median(a / b for a, b in zip(opponents, mine, strict=True)) if opponents else float("nan")
        their = statistics.median(opponents) if opponents else float("nan")
        row = Row(part, opponent, their / work, statistics.median(mine) / work, ratio, goal)
        benchmark.extra_info.update(part=part, opponent=opponent, theirs=row.theirs, ours=row.ours, ratio=ratio)
        request.config.stash[ROWS].append(row)
        return row

    return run


def once(part: str, ours: Action, theirs: Action | None = None, **more: Any) -> None:
    """No race, just a try."""
    ours()
    if theirs is not None:
        theirs()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows))]
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    words = f"{where}, torch {torch.__version__}; medians of rounds taken in turns"
    terminalreporter.write_line("")
    for line in [*lines, "", words]:
        terminalreporter.write_line(line)
    if TABLE is not None:
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text("\n".join([*lines, "", words + ".", ""]), encoding="utf-8")
