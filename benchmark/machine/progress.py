"""Progress of long work: a live display on a terminal, and occasional lines elsewhere."""

from __future__ import annotations

import contextlib
import html
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Bar:
    """How far one phase is. It is drawn at most every ``every`` seconds: most calls of `advance` only add."""

    name: str
    total: int
    unit: str
    done: int
    draw: Callable[[Bar], None]
    every: float
    loss: float | None = None

    def __post_init__(self) -> None:
        self.before, self.began, self.due = self.done, time.monotonic(), time.monotonic() + self.every

    def advance(self, n: int = 1, *, loss: float | None = None) -> None:
        """``n`` more units are done. Pass ``loss`` only where it was read anyway: reading it waits for the GPU."""
        self.done += n
        self.loss = self.loss if loss is None else loss
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + self.every
            self.draw(self)

    @property
    def state(self) -> str:
        """``400/1200 steps  loss 0.512  38.2 steps/s  21 s left``, as far as it is known; at the end the time taken."""
        seconds = time.monotonic() - self.began
        rate = (self.done - self.before) / seconds if seconds > 0 else 0.0
        words = [f"{self.done}/{self.total} {self.unit}", *([] if self.loss is None else [f"loss {self.loss:.3f}"])]
        if rate:
            words.append(f"{rate:.0f} {self.unit}/s" if rate >= 100 else f"{rate:.3g} {self.unit}/s")
            words.append(
                duration((self.total - self.done) / rate) + " left" if self.done < self.total else duration(seconds)
            )
        return "  ".join(words)


@dataclass(frozen=True)
class Lines:
    """A line when a phase begins, every ``every`` seconds, and when it ends: for logs. Names are never markup."""

    write: Callable[[str], object]
    every: float = 20.0

    @contextlib.contextmanager
    def phase(self, name: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
        """Begin ``total`` units of work, of which ``done`` are done already (a resumed phase)."""
        bar = Bar(name, total, unit, done, lambda bar: self.note(f"{name}  {bar.state}"), self.every)
        with _drawn_at_both_ends(bar):
            yield bar

    def note(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a log on a full disk, or nobody who listens, ends no run
            self.write(_plain(text))


@dataclass(frozen=True)
class Live:
    """A bar that moves, one for each phase: for people. Notes go above it."""

    console: Console

    @contextlib.contextmanager
    def phase(self, name: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
        from rich import progress as rich

        title, state = (rich.TextColumn(f"{{task.{key}}}", markup=False) for key in ("description", "fields[state]"))
        with rich.Progress(title, rich.BarColumn(), state, console=self.console) as shown:
            task = shown.add_task(_plain(name), total=total, completed=done, state=unit)
            bar = Bar(name, total, unit, done, lambda b: shown.update(task, completed=b.done, state=b.state), 0.1)
            try:
                yield bar
            finally:
                bar.draw(bar)

    def note(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self.console.print(_plain(text), markup=False, highlight=False)


@dataclass
class Noted:
    """Another form, of which one may ask at any time what is going on."""

    shown: Progress
    bar: Bar | None = None

    @contextlib.contextmanager
    def phase(self, name: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
        with self.shown.phase(name, total, unit, done) as bar:
            self.bar = bar
            try:
                yield bar
            finally:
                self.bar = None

    def note(self, text: str) -> None:
        self.shown.note(text)

    def state(self) -> str:
        """``M0  400/1200 steps ...``; empty between phases."""
        bar = self.bar
        return "" if bar is None else f"{bar.name}  {bar.state}"


@dataclass
class Phases:
    """Another form, and beside it a line for each phase that has ended: for whoever waits elsewhere."""

    shown: Lines | Live
    tell: Callable[[str], object]

    @contextlib.contextmanager
    def phase(self, name: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
        with self.shown.phase(name, total, unit, done) as bar:
            yield bar
        self.tell(f"{bar.name}  {bar.state}")

    def note(self, text: str) -> None:
        self.shown.note(text)


@dataclass
class Notebook:
    """A bar below the cell of a notebook, one for each phase that goes on; notes stay."""

    display: Callable[..., Any]

    @contextlib.contextmanager
    def phase(self, name: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
        handle = self.display(_Html(""), display_id=True)
        bar = Bar(name, total, unit, done, lambda bar: handle.update(_Html(_drawn(bar))), 0.5)
        with _drawn_at_both_ends(bar):
            yield bar

    def note(self, text: str) -> None:
        print(_plain(text), flush=True)


@dataclass(frozen=True, repr=False)
class _Html:
    text: str

    def __repr__(self) -> str:
        return "progress"  # where a notebook is shown as text

    def _repr_html_(self) -> str:
        return self.text


@contextlib.contextmanager
def _drawn_at_both_ends(bar: Bar) -> Iterator[None]:
    """A bar shows where its phase begins and where it ends, however it ends."""
    bar.draw(bar)
    try:
        yield
    finally:
        bar.draw(bar)


def _drawn(bar: Bar) -> str:
    meter = f'<progress value="{bar.done}" max="{bar.total}"></progress>'
    return f"<code>{html.escape(bar.name)} {meter} {html.escape(bar.state)}</code>"


Progress = Lines | Live | Noted | Phases | Notebook


@contextlib.contextmanager
def patience(shown: Progress, what: str, every: float = 10.0) -> Iterator[None]:
    """Say now and then that something goes on that cannot say how far it is; nothing where it is quick."""
    began, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(every):
            shown.note(f"    {what}: {duration(time.monotonic() - began)} so far")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


TALK = "ATSO_BENCH_TALK"
"""Variable by which processes of a command know how much they are to say."""


def talk(*, quiet: bool = False, verbose: bool = False) -> None:
    """How much is said from now on, here and in processes that begin from here."""
    if quiet or verbose:
        os.environ[TALK] = "quiet" if quiet else "verbose"
    if verbose:
        os.environ["ATSO_BENCH_TRACEBACK"] = "1"


@contextlib.contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """In the block nothing is said, if that is wanted."""
    before = os.environ.get(TALK)
    talk(quiet=quiet)
    try:
        yield
    finally:
        os.environ.pop(TALK, None)
        os.environ.update({TALK: before} if before is not None else {})


def told(write: Callable[[str], object]) -> Lines:
    """Lines as often as the user wants them; none if they want quiet."""
    wanted = os.environ.get(TALK)
    if wanted == "quiet":
        return Lines(lambda line: None, every=float("inf"))
    return Lines(write, every=2.0) if wanted == "verbose" else Lines(write)


def silent() -> Progress:
    """Nothing at all: for tests."""
    return Lines(write=lambda line: None, every=float("inf"))


def on(stream: TextIO) -> Progress:
    """The form that suits ``stream``, mostly ``sys.stdout``: live on a terminal, lines elsewhere."""
    if (display := _of_notebook()) and os.environ.get(TALK) != "quiet":
        return Notebook(display)
    if stream.isatty() and os.environ.get(TALK) != "quiet":
        from rich.console import Console

        return Live(Console(file=stream))
    return told(partial(print, file=stream, flush=True))


def _of_notebook() -> Callable[..., Any] | None:
    """How a notebook shows something, in one; nothing is imported for it elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules and "ipykernel" in sys.modules else None
    if not getattr(shell, "kernel", None):
        return None
    from IPython.display import display

    return cast("Callable[..., Any]", display)


def _plain(text: str) -> str:
    """No escape sequences, which could do anything to a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def duration(seconds: float) -> str:
    """``90 s``, ``12 min`` or ``3.4 h``."""
    small = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return small if seconds < 7200 else f"{seconds / 3600:.1f} h"
