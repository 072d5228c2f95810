"""What a comparison of two results folders found, and how it reads on a console."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atso_bench.reports.words import count, decimals, ranges

WORDS = {
    "equal": "all scores of all cases are identical, bit for bit",
    "alike": "the difference is within the tolerance",
    "noise": "beyond the tolerance, but within the spread over seeds",
    "worse": "worse by more than tolerance and noise, or no longer defined",
    "better": "better by more than tolerance and noise, or newly defined",
    "undefined": "no score on either side",
}
WIDTH = 100
COLUMNS = {"method": 20, "labels": 20, "seeds": 7, "baseline": 8, "candidate": 9, "change": 7, "noise": 6, "verdict": 9}
SHOWN = 20
"""So many reasons or notes; the rest are counted."""


@dataclass(frozen=True)
class Difference:
    """One cell of the table: a method at a label fraction in a comparison.

    Attributes:
        comparison: dataset, configuration and budget.
        metric: ``Dice`` or ``mIoU``.
        method: with the options that were asked for.
        labels: the label fraction in words.
        seeds: those that both folders have.
        baseline: mean over the seeds that are defined on both sides; NaN where there is none.
        candidate: likewise.
        noise: pooled sample standard deviation over these seeds; NaN for fewer than two.
        word: one of ``WORDS``.
    """

    comparison: str
    metric: str
    method: str
    labels: str
    seeds: tuple[int, ...]
    baseline: float
    candidate: float
    noise: float
    word: str

    @property
    def change(self) -> float:
        return self.candidate - self.baseline


@dataclass(frozen=True)
class Verdict:
    """What a comparison found.

    Attributes:
        baseline: the results folder that sets the mark.
        candidate: the one that is judged.
        tolerance: how much lower a mean may be.
        differences: the cells that both have.
        reasons: why something cannot be compared; empty where all of the baseline could be.
        notes: what differs and decides nothing: versions, commits, machines, times.
    """

    baseline: Path
    candidate: Path
    tolerance: float
    differences: tuple[Difference, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def code(self) -> int:
        """0: nothing is worse. 1: something is, whatever else could not be compared. 2: not comparable."""
        if any(each.word == "worse" for each in self.differences):
            return 1
        return 2 if self.reasons or not self.differences else 0


def lines(verdict: Verdict) -> list[str]:
    """The verdict for a console of 100 columns; what came from a file cannot steer the terminal."""
    found = [f"baseline   {verdict.baseline}", f"candidate  {verdict.candidate}"]
    title = ""
    for each in verdict.differences:
        if title != (title := f"{each.comparison}: {each.metric}"):
            found += ["", *_wrap(title, WIDTH), _line(dict(zip(COLUMNS, COLUMNS, strict=True)))]
        found += _rows(each)
    if verdict.differences:
        used = {each.word for each in verdict.differences}
        found += ["", *(f"{word:9}  {meaning}" for word, meaning in WORDS.items() if word in used)]
        noise = "noise: pooled standard deviation over seeds, unknown with one seed."
        found.append(f"Tolerance {verdict.tolerance:g}; {noise}")
    for head, said in (("Not comparable:", verdict.reasons), ("Also:", verdict.notes)):
        found += ["", head, *_items(said)] if said else []
    return ["".join(sign if sign.isprintable() else "\ufffd" for sign in line) for line in [*found, "", _last(verdict)]]


def _rows(each: Difference) -> list[str]:
    """A row of the table; long names go on below."""
    texts = {"method": each.method, "labels": each.labels, "seeds": ranges(each.seeds)}
    wrapped = {name: _wrap(text, COLUMNS[name]) or [""] for name, text in texts.items()}
    change = decimals(each.change) if math.isnan(each.change) else f"{each.change:+.4f}"
    means = {"baseline": decimals(each.baseline, 4), "candidate": decimals(each.candidate, 4), "change": change}
    numbers = {**means, "noise": decimals(each.noise, 4), "verdict": each.word}
    height = max(len(part) for part in wrapped.values())
    rows = [{name: part[place] for name, part in wrapped.items() if place < len(part)} for place in range(height)]
    return [_line({**row, **(numbers if place == 0 else {})}) for place, row in enumerate(rows)]


def _line(texts: dict[str, str]) -> str:
    words = ("method", "labels", "seeds", "verdict")
    parts = [f"{texts.get(name, ''):{'<' if name in words else '>'}{width}}" for name, width in COLUMNS.items()]
    return "  ".join(parts).rstrip()


def _items(said: tuple[str, ...]) -> Iterator[str]:
    for text in said[:SHOWN]:
        for place, line in enumerate(_wrap(text, WIDTH - 2)):
            yield f"{'  ' if place else '- '}{line}"
    if len(said) > SHOWN:
        yield f"- and {len(said) - SHOWN:,} more"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _last(verdict: Verdict) -> str:
    cells = verdict.differences
    parts = {word: sum(each.word == word for each in cells) for word in WORDS}
    told = ", ".join(f"{amount:,} {word}" for word, amount in parts.items() if amount) or "nothing to compare"
    ends = {0: "Not worse", 1: "Worse", 2: "Not comparable"}
    return f"{ends[verdict.code]}: {count(len(cells), 'cell')}, {told}; exit code {verdict.code}."
