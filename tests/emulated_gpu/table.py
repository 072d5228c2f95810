"""Prints waits and queued operations of a step, by method and kind: ``python emulated.py table.py [KIND ...]``."""

from __future__ import annotations

import statistics
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import fake_cuda
from kinds import KINDS, LOG, METHODS, Seen, fit, opened, watched


def row(seen: list[Seen]) -> tuple[float, float, Counter[str]]:
    """Waits and operations of a step in the last training that learns from unlabelled cases, and where it waited.

    First steps, which send constants, are left out, and so is the reading of the losses.
    """
    last = [step for step in seen if step.phase == seen[-1].phase and step.number > 1]
    places: Counter[str] = Counter()
    for step in last:
        places.update({place: waits for place, waits in step.waits.items() if LOG not in place})
    return places.total() / len(last), statistics.mean(step.operations for step in last), places


def main(kinds: list[str]) -> None:
    warnings.simplefilter("ignore")
    emulation = fake_cuda.install()
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds or KINDS:
            task, data = opened(kind, Path(folder) / "data")
            for name in METHODS:
                with watched(emulation) as seen:
                    fit(name, task, data, Path(folder) / kind / name)
                waits, operations, places = row(seen)
                print(f"| {kind} | {name} | {waits:.1f} | {operations:.0f} |", dict(places), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
