"""Losses of a run's trainings while they go on: a line of JSON a window, and event files for TensorBoard."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from atso_bench.benchmark.store.files import jsonable, write_text

FOLDER, FILE = "curves", "losses.jsonl"
"""In a results folder, and in the folder of a run below it."""


def check_tensorboard() -> None:
    """Refuse event files where nothing can write them.

    Raises:
        ValueError: saying what to install.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError("--tensorboard needs TensorBoard; install it with: pip install 'atso-bench[tensorboard]'")


class Curves:
    """Writes what `LossLog` has read from the device anyway. A disk that is full costs curves, but no run.

    A line is ``{"phase": "M0", "step": 60, "loss": 0.5, "terms": {"labelled": 0.5}}``: means over the steps since the
    line before. Phases that were stored already, by this run or another, are written when the run takes them.
    """

    def __init__(self, folder: Path | None, *, tensorboard: bool = False) -> None:
        """``folder`` is the run's; None writes nothing."""
        self.folder, self._events = folder, tensorboard
        self._writer: Any = None

    def begin(self, phase: str, losses: Mapping[str, Sequence[float]]) -> None:
        """A phase begins, with what is known of it from before; its other lines are of a process that was killed."""
        if self.folder is None:
            return
        kept = [line for line in read(self.folder) if line["phase"] != phase]
        known = [_line(phase, *window) for window in _windows(losses)]
        with contextlib.suppress(OSError):
            write_text(self.folder / FILE, "".join(json.dumps(line) + "\n" for line in [*kept, *known]))
            for line in self._fresh_events([*kept, *known], known):
                self._write_event(line)

    def add(self, phase: str, step: int, terms: Mapping[str, float]) -> None:
        """A window has ended at ``step``, with these means."""
        if self.folder is None:
            return
        line = _line(phase, step, terms)
        with contextlib.suppress(OSError):
            with (self.folder / FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            self._write_event(line)

    def _fresh_events(self, every: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the event files lack: all of it in a new process, which writes them afresh."""
        if not self._events:
            return []
        if self._writer is not None:
            return new
        from torch.utils.tensorboard import SummaryWriter

        folder = str(self.folder)
        for file in Path(folder).glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = SummaryWriter(folder)
        return every

    def _write_event(self, line: Mapping[str, Any]) -> None:
        if self._writer is None:
            return
        for name, value in {"loss": line["loss"], **line["terms"]}.items():
            if value is not None:
                self._writer.add_scalar(f"{line['phase']}/{name}", value, line["step"])
        self._writer.flush()


NONE = Curves(None)


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's file; the last may be half written. Empty where there is none."""
    found = []
    with contextlib.suppress(OSError):
        for text in (folder / FILE).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(text))
    return found


def _line(phase: str, step: int, terms: Mapping[str, float]) -> dict[str, Any]:
    facts: dict[str, Any] = jsonable({"phase": phase, "step": step, "loss": sum(terms.values()), "terms": dict(terms)})
    return facts


def _windows(losses: Mapping[str, Sequence[float]]) -> Iterator[tuple[int, dict[str, float]]]:
    """Steps and terms of what `LossLog` and a record keep by term."""
    terms = {name: values for name, values in losses.items() if name != "step"}
    for place, step in enumerate(losses.get("step", ())):
        yield int(step), {name: values[place] for name, values in terms.items() if place < len(values)}
