"""The pages of a published folder beside its report: every record with its verification, and how to add one's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from atso_bench.benchmark.scoring.headline import named
from atso_bench.benchmark.spec import BUDGETS, RunSpec, digest
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.verified import FOLDER, Verification
from atso_bench.reports.data.rows import shell
from atso_bench.reports.pages.page import Cell, Section, Table, to_html
from atso_bench.reports.words import NONE, count, decimals

_OWN = "my-method"


@dataclass(frozen=True)
class Published:
    """A record on the site.

    Attributes:
        path: below the site's folder.
        record: what it holds.
        notes: of its verifications, oldest first.
    """

    path: str
    record: Record
    notes: Sequence[Verification]


def front(runs: Sequence[Published]) -> str:
    """The page that a visitor sees first."""
    seen = sum(bool(run.notes) for run in runs)
    words = [
        f"{count(len(runs), 'finished run')}, of which {seen} "
        f"{'has' if seen == 1 else 'have'} been verified: made again, and compared bit for bit."
    ]
    links = [
        [Cell("Report", link="report/index.html"), Cell("which method leads, how certain that is, and what it cost")],
        [
            Cell("Add your own", link="contribute.html"),
            Cell("how to make runs that compare with these, and verify them"),
        ],
    ]
    pages = Table("Pages", ["page", "content"], links, words=2)
    rows = [_row(run) for run in runs]
    heads = ["record", "method", "labelled", "seed", "metric", "score", "verified"]
    table = Table("Every finished run", heads, rows, words=7, long=True)
    found = Section("Records", "records", ["A record's link leads to the file itself."], [table] if rows else [])
    return to_html(_title(runs), [Section("Results", "results", words, [pages]), found])


def _title(runs: Sequence[Published]) -> str:
    return "ATSO-Bench: " + (", ".join(sorted({run.record.spec.dataset for run in runs})) or "no finished run")


def _row(run: Published) -> list[Cell]:
    spec, record = run.record.spec, run.record
    on = "" if spec.scored == "test" else "on the validation set"
    fold = f"fold {spec.fold} of {spec.folds}" if spec.folds else ""
    return [
        Cell(spec.dataset, ", ".join([spec.configuration, f"{spec.budget.steps:,} steps", *filter(None, [fold])]),
             link=quote(run.path)),
        Cell(spec.method, ", ".join(f"{name}={value}" for name, value in sorted(spec.options.items()))),
        Cell(spec.fraction if spec.fraction.cases is not None else f"{spec.fraction} %"),
        Cell(str(spec.seed)),
        Cell(named(record.metric).title, on),
        Cell(decimals(record.score, 4)),
        _verified(run),
    ]  # fmt: skip


def _verified(run: Published) -> Cell:
    if not run.notes:
        return Cell("no")
    last = run.notes[-1]
    against = sum(note.verdict == "differs" for note in run.notes)
    text = f"differs in {against} of {len(run.notes)}" if against else last.words
    machine = last.environment.get("gpu") or last.environment.get("processor") or NONE
    torch = (last.environment.get("versions") or {}).get("torch", NONE)
    return Cell(text, f"{last.when}, {machine}, torch {torch}", link=f"{FOLDER}/{quote(run.record.spec.key)}.json")


def contribute(runs: Sequence[Published]) -> str:
    """The page for whoever has a method, or a machine, of their own."""
    versions = sorted({_rules(run.record) for run in runs} - {""})
    same = f"Use version {' or '.join(versions)} of ATSO-Bench: results" if versions else "Results"
    steps = [
        ("Install ATSO-Bench", f"see its README. {same} compare within one major.minor number."),
        ("Write your method", "one file methods/my_method.py in a folder of your own; CONTRIBUTING.md has an example"),
        ("Hold the contract against it", f"atso-bench check {_OWN} --plugins FOLDER"),
        ("Make the runs", "the commands below, with --plugins FOLDER"),
        ("Verify some", "atso-bench verify FILE --note, best on another machine; FILE may be a record of this page"),
        ("Hand them over", "the folders records, pictures, asked and verified of your results, and the method's file"),
        ("Publish all", "copy these folders into those of the results; then atso-bench publish RESULTS --to DIR"),
    ]
    table = Table("Steps", ["step", "what to do"], [[Cell(each) for each in step] for step in steps], 2, long=True)
    words = [
        "Runs stand in one table only if they share data, test set, recipe, budget and metrics. The report sees to "
        "that: other runs get a table of their own.",
        "You need no method of your own: verifying a record that is here, or adding seeds, helps as much.",
    ]
    sections = [Section("How to add your own", "add", words, [table])]
    if runs:
        sections.append(Section("Runs that compare with these", "runs", [], [_commands(runs), _data(runs)]))
    return to_html("ATSO-Bench: add your own", sections)


def _rules(record: Record) -> str:
    version = str((record.environment.get("versions") or {}).get("atso-bench") or "")
    return ".".join(version.split(".")[:2])


def _commands(runs: Sequence[Published]) -> Table:
    """A command for each setting that runs share."""
    settings: dict[str, list[RunSpec]] = {}
    for run in runs:
        spec = run.record.spec
        facts = [spec.dataset, spec.configuration, spec.budget.facts, spec.recipe, spec.validation, spec.scored]
        settings.setdefault(digest([*facts, spec.split_by, spec.folds, spec.lists]), []).append(spec)
    rows = [[Cell(shell(_command(specs)), _lists(specs[0]))] for specs in settings.values()]
    return Table("Commands", ["command"], rows, words=1, long=True)


def _command(specs: Sequence[RunSpec]) -> list[str]:
    first = specs[0]
    fractions, seeds = ({getattr(spec, name): None for spec in specs} for name in ("fraction", "seed"))
    words = ["atso-bench", "run", "--method", _OWN]
    words += ["--dataset", first.dataset, "--configuration", first.configuration]
    words += ["--fraction", ",".join(fractions), "--seed", ",".join(map(str, sorted(seeds)))]
    words += ["--budget", _budget(first), "--parity", first.budget.parity]
    words += [word for name, value in first.recipe.items() for word in ("--option", f"recipe.{name}={_value(value)}")]
    words += ["--validation", f"{first.validation:g}"] if first.validation else []
    words += ["--scored", first.scored] if first.scored != "test" else []
    words += ["--split-by", first.split_by] if first.split_by else []
    return words + (["--folds", str(first.folds)] if first.folds else [])


def _budget(spec: RunSpec) -> str:
    name, steps = spec.budget.name, spec.budget.steps
    return name if name == str(steps) or BUDGETS.get(name) == steps else f"{name}:{steps}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _lists(spec: RunSpec) -> str:
    parts = [f"{part}=FILE" for part in spec.lists]
    return (
        f"with --split-list {' '.join(parts)}: the cases of spec.lists in a record, one on each line" if parts else ""
    )


def _data(runs: Sequence[Published]) -> Table:
    facts = sorted({(run.record.spec.dataset, run.record.spec.configuration, run.record.data) for run in runs})
    rows = [[Cell(each) for each in fact] for fact in facts]
    return Table(
        "Your data are the same if your records have these hashes", ["dataset", "configuration", "data"], rows, 3
    )
