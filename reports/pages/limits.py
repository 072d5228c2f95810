"""What a comparison can show: how much there is to win, which difference its seeds show, and whether steps bind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from atso_bench.benchmark.spec import RunSpec
from atso_bench.reports.certainty.evidence import Evidence
from atso_bench.reports.certainty.headroom import MOST_SEEDS, POWER, Headroom, headroom, shorter, with_fewer_steps
from atso_bench.reports.data.frame import Group, headline, read
from atso_bench.reports.data.listing import results_of
from atso_bench.reports.data.rows import BASELINE
from atso_bench.reports.pages.page import Cell, Section, Table
from atso_bench.reports.words import NONE, count, decimals, signed

MOST = 3000
"""Records that are read for the few lines of `plan`: some seconds."""


def warnings(group: Group, known: Evidence) -> list[str]:
    """Where this comparison cannot rank methods, or compares how fast they learn; with what would help."""
    said = []
    for fraction, found in known.headroom.items():
        where = group.fractions[fraction]
        if found.too_small:
            said.append(f"At {where}, this comparison cannot rank methods. {_no_room(found, headline(group))}")
        if found.steps_bind:
            said.append(f"At {where}, steps are the limit, not labels. {_steps(found, known.baseline)}")
    return said


def _no_room(found: Headroom, score: str) -> str:
    seeds = found.seeds_for(found.room)
    more = f", or {seeds} seeds" if seeds else ""
    return (
        f"All labels gain {signed(found.room)} {score}, and {count(found.seeds, 'seed')} show a difference of "
        f"{decimals(found.detectable)} or more. Take fewer labels or more steps{more}."
    )


def _steps(found: Headroom, baseline: str) -> str:
    lead = f"the best method leads it by {decimals(found.lead)}" if found.lead > 0 else "no method is ahead of it"
    return (
        f"From {found.fewer_steps:,} steps to this budget {baseline} gains {decimals(found.from_steps)}, and {lead}. "
        "The ranking may change with more steps."
    )


def section(group: Group, known: Evidence) -> Section:
    """The table, a row for each label fraction."""
    baseline, score = known.baseline, headline(group)
    words = [
        f"Headroom: what {baseline} gains with all labels (run with --upper-bound). Noise: the standard deviation over "
        f"seeds of the difference between a method and {baseline}. Smallest difference shown: what a paired t-test on "
        f"these seeds finds with probability {POWER:g}. Seeds for the lead: how many would find the best method's lead "
        f"in the same way. Gain from steps: what {baseline} gained from half the steps or fewer to this budget (run "
        "with --half-budget); more than the best lead means that steps are the limit, not labels."
    ]
    heads = ["label fraction", "headroom", "noise", "seeds", "smallest difference shown", "best lead"]
    heads += ["seeds for the lead", "gain from steps", "limit"]
    rows = [[Cell(group.fractions[fraction]), *_row(found)] for fraction, found in known.headroom.items()]
    table = Table(f"Headroom, {score}", heads, rows)
    return Section("What this comparison can show", words=words, parts=[table, *_closed(group, known)])


def _closed(group: Group, known: Evidence) -> list[Table]:
    """The share of the gap to all labels that each method closes."""
    rows = []
    for (fraction, label), found in known.closed.items():
        share = Cell(found.reason) if math.isnan(found.share) else Cell(_percent(found.share))
        ends = NONE if math.isnan(found.low) else f"{_percent(found.low)} to {_percent(found.high)}"
        rows.append([Cell(group.fractions[fraction]), Cell(label), share, Cell(ends)])
    heads = ["label fraction", "method", "gap closed", "95 % interval"]
    return [Table(f"Share of the gap between {known.baseline} and all labels", heads, rows, words=2)] if rows else []


def _percent(share: float) -> str:
    percent = round(100 * share)
    return f"{'−' if percent < 0 else ''}{abs(percent)} %"


def averages(group: Group) -> Section:
    """What the moving average of the weights gains, by method: no gain of the unlabelled cases."""
    words = [
        "The network that was trained, and the moving average of its weights. One of them is the method's result. What "
        "the average gains belongs to no method: compare students with students, and averages with averages."
    ]
    rows = []
    for (fraction, label), runs in group.cells.items():
        known = runs.dropna(subset=["student", "average"])
        if len(known):
            student, average = known["student"].mean(), known["average"].mean()
            scores = [Cell(decimals(student)), Cell(decimals(average)), Cell(signed(average - student))]
            rows.append([Cell(group.fractions[fraction]), Cell(label), *scores, Cell(str(len(known)))])
    heads = ["label fraction", "method", "student", "average", "gain of the average", "seeds"]
    table = Table(f"{headline(group)} on the validation set, mean over seeds", heads, rows, words=2)
    return Section("Student and average", words=words, parts=[table])


def at_hand(results: Path, specs: Sequence[RunSpec]) -> list[str]:
    """What the records in a results folder say of the headroom of planned runs, a line for each label fraction."""
    kinds = {(spec.dataset, spec.configuration, spec.budget.parity) for spec in specs}
    files = results_of(results, kinds)
    if not files:
        return []
    if len(files) > MOST:
        return [f"{len(files):,} records are at hand; `atso-bench report` says what they can show"]
    groups = read(results, files=files).groups()
    wanted = {(spec.dataset, spec.configuration, spec.budget.steps, spec.budget.parity, spec.folds) for spec in specs}
    facts = ("dataset", "configuration", "steps", "parity", "folds")
    said = []
    for group in groups:
        if tuple(group.facts[name] for name in facts) in wanted and group.facts["scored"] == "test":
            known = with_fewer_steps(headroom(group, BASELINE), group, shorter(group, groups))
            said += [f"{group.facts['dataset']}, {group.fractions[at]}: {_told(each)}" for at, each in known.items()]
    return said


def _told(found: Headroom) -> str:
    if math.isnan(found.room):
        return "headroom unknown; --upper-bound shows it"
    parts = [f"headroom {signed(found.room)}"]
    if not math.isnan(found.noise):
        parts.append(f"{found.seeds} seeds show a difference of {decimals(found.detectable)}")
    if seeds := found.seeds_for(found.lead):
        parts.append(f"the best lead, {decimals(found.lead)}, takes {seeds}")
    if found.steps_bind:
        parts.append("steps are the limit, not labels")
    return "; ".join(parts)


def _row(found: Headroom) -> list[Cell]:
    steps = f"from {found.fewer_steps:,} steps" if found.fewer_steps else ""
    limit = NONE if math.isnan(found.from_steps) else "steps" if found.steps_bind else "labels"
    needed = found.seeds_for(found.lead)
    unknown = NONE if math.isnan(found.noise) or not found.lead > 0 else f"> {MOST_SEEDS}"
    return [
        Cell(signed(found.room), "too little to rank methods" if found.too_small else ""),
        Cell(decimals(found.noise)),
        Cell(str(found.seeds)),
        Cell(decimals(found.detectable)),
        Cell(signed(found.lead)),
        Cell(str(needed) if needed else unknown),
        Cell(signed(found.from_steps), steps),
        Cell(limit),
    ]
