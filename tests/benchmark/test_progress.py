"""Progress: rich on a terminal, lines elsewhere, and nothing that a name could do to either."""

from __future__ import annotations

import io
from functools import partial

import pytest

from atso_bench.benchmark.machine import progress
from atso_bench.benchmark.machine.progress import Lines, Live, on, silent


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress.time, "monotonic", made)
    return made


def test_lines_come_at_the_start_every_20_seconds_and_at_the_end(clock: Clock) -> None:
    lines: list[str] = []
    with Lines(lines.append).phase("M0", 960, "steps") as bar:
        for step in range(960):
            clock.now += 1 / 32
            bar.advance(loss=0.512 if step % 100 == 0 else None)
    assert lines == [
        "M0  0/960 steps",
        "M0  640/960 steps  loss 0.512  32 steps/s  10 s left",
        "M0  960/960 steps  loss 0.512  32 steps/s  30 s",
    ]


def test_what_was_done_before_does_not_count_as_speed(clock: Clock) -> None:
    lines: list[str] = []
    with Lines(lines.append).phase("M0", 1200, "steps", done=1000) as bar:
        clock.now += 10
        bar.advance(100)
    assert lines == ["M0  1000/1200 steps", "M0  1100/1200 steps  10 steps/s  10 s left"]


@pytest.mark.parametrize(("rate", "left"), [(10, "100 s"), (0.5, "33 min"), (0.01, "27.8 h")])
def test_time_left_has_a_unit_that_fits(rate: float, left: str, clock: Clock) -> None:
    lines: list[str] = []
    with Lines(lines.append).phase("M0", 1001, "steps") as bar:
        clock.now += 1 / rate
        bar.advance()
    assert lines[-1].endswith(f"{left} left")


def test_a_phase_that_fails_says_how_far_it_came() -> None:
    lines: list[str] = []

    def fail() -> None:
        with Lines(lines.append).phase("M0", 9, "cases") as bar:
            bar.advance(4)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert lines[-1].startswith("M0  4/9 cases")


NAME = "[/red] {braces} %s \x1b[31m\r[bold]x"


def test_a_name_is_never_markup_nor_an_escape_sequence() -> None:
    from rich.console import Console

    for terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, color_system=None, width=200)
        for shown in (Live(console), Lines(partial(print, file=stream))):
            with shown.phase(NAME, 2, "cases") as bar:
                shown.note(f"warning: {NAME}")
                bar.advance(2)
            shown.note("first\nsecond")
        assert stream.getvalue().count("[/red] {braces} %s ?[31m?[bold]x") >= 4
        assert stream.getvalue().count("warning: [/red] {braces}") == 2
        assert "\x1b[31m" not in stream.getvalue()
        assert stream.getvalue().count("first\nsecond\n") == 2


def test_the_live_display_shows_name_count_loss_and_speed() -> None:
    from rich.console import Console

    stream = io.StringIO()
    with Live(Console(file=stream, force_terminal=True, width=200)).phase("M0", 3, "steps") as bar:
        bar.advance(3, loss=0.25)
    for part in ("M0", "3/3 steps", "loss 0.250", "steps/s"):
        assert part in stream.getvalue()


def test_the_form_follows_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with on(stream).phase("M0", 1, "cases") as bar:
        bar.advance()
    assert stream.getvalue().startswith("M0  0/1 cases\nM0  1/1 cases")
    monkeypatch.setattr(stream, "isatty", lambda: True)
    assert isinstance(on(stream), Live)


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with silent().phase("M0", 1, "cases") as bar:
        bar.advance(loss=0.5)
    silent().note("nothing")
    assert capsys.readouterr() == ("", "")


def test_advancing_costs_a_few_microseconds_at_most() -> None:
    import timeit

    with silent().phase("M0", 10**6, "steps") as bar:
        assert timeit.timeit(bar.advance, number=10_000) < 0.5  # seconds, on a busy machine; mostly 0.003


def test_what_takes_long_and_cannot_say_how_far_it_is_says_that_it_goes_on() -> None:
    lines: list[str] = []
    with progress.patience(Lines(lines.append), "setting up M0", every=0.01):
        while len(lines) < 2:
            progress.time.sleep(0.01)
    assert lines[0].startswith("    setting up M0: 0 s so far")
    told = len(lines)
    progress.time.sleep(0.05)
    assert len(lines) == told


def test_what_is_quick_says_nothing() -> None:
    lines: list[str] = []
    with progress.patience(Lines(lines.append), "setting up M0"):
        pass
    assert not lines
