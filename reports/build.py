"""The story of a report: what was compared, the scores, what they cost, what to doubt, and where it all comes from."""

from __future__ import annotations

import math
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from atso_bench.benchmark.record import atomic
from atso_bench.reports import answers, figures, literature, natural, tables
from atso_bench.reports.drawing import in_page
from atso_bench.reports.evidence import evidence
from atso_bench.reports.frame import Frames, Group, read, tidy
from atso_bench.reports.page import (
    NONE,
    Cell,
    Picture,
    Section,
    Table,
    count,
    decimals,
    facts_table,
    plain,
    to_html,
    to_markdown,
)
from atso_bench.reports.rows import Failure


def build(results: Path) -> Path:
    """Make ``results/report`` from the records: ``index.html``, ``report.md``, ``results.csv`` and ``figures/``.

    Returns:
        The path of ``index.html``.

    Raises:
        ValueError: if there is neither a record nor a failure.
    """
    frames = read(results)
    groups = frames.groups()
    report = results / "report"
    pictures = [_draw(report, group) for group in groups]
    _remove_old_figures(report / "figures", groups)
    title = "ATSO-Bench: " + (", ".join(sorted({group.facts["dataset"] for group in groups})) or "no finished run")
    sections = story(frames, groups, pictures)
    with atomic(report / "results.csv") as partial:
        tidy(frames).to_csv(partial, index=False, lineterminator="\n")
    _write(report / "report.md", to_markdown(title, sections))
    _write(report / "index.html", to_html(title, sections))
    return report / "index.html"


def story(frames: Frames, groups: list[Group], pictures: list[Picture]) -> list[Section]:
    """All sections of the report, in order."""
    titles = _titles(groups)
    sections = [_compared(frames, groups, titles)]
    for place, (group, title, picture) in enumerate(zip(groups, titles, pictures, strict=True), start=1):
        sections.append(_comparison(group, title, f"comparison-{place}", picture))
    if len(frames.runs):
        sections.append(_warnings(frames.runs))
    if frames.failures:
        sections.append(_failures(frames.failures))
    if len(frames.runs):
        sections.append(_provenance(frames.runs))
    return sections


def _compared(frames: Frames, groups: list[Group], titles: list[str]) -> Section:
    runs, failures = count(len(frames.runs), "finished run"), count(len(frames.failures), "failure")
    words = [f"{runs}, {failures}, {count(len(groups), 'comparison')}."]
    if not groups:
        return Section("What was compared", "compared", [*words, "There is no score to show."])
    summaries = [tables.summary(group) for group in groups]
    if len(groups) > 1:
        facts = [group.facts for group in groups]
        differ = [name for name in facts[0] if any(each[name] != facts[0][name] for each in facts)]
        words.append(
            f"The comparisons differ in: {', '.join(differ)}. Scores of different comparisons must not be compared, "
            "and no table below mixes them."
        )
    heads = ["value"] if len(groups) == 1 else titles
    return Section("What was compared", "compared", words, [facts_table("What was compared", heads, summaries)])


def _titles(groups: list[Group]) -> list[str]:
    """Dataset, configuration and budget; numbered where that does not tell them apart."""
    found = []
    for group in groups:
        facts = group.facts
        share = "in total" if facts["parity"] == "total" else "each training"
        # a small budget's crops are not those of the configuration's name
        crop = f" (crops of {plain(facts['recipe'].get('patch'))})" if group.natural else ""
        found.append(f"{facts['dataset']}, {facts['configuration']}{crop}, {facts['steps']:,} steps {share}")
    return [
        f"{title} ({found[: place + 1].count(title)} of {found.count(title)})" if found.count(title) > 1 else title
        for place, title in enumerate(found)
    ]


def _comparison(group: Group, title: str, anchor: str, picture: Picture) -> Section:
    score = tables.headline(group)
    known = evidence(group)
    ends = f" and, where it can be said, the 95 % interval over other {group.case}s and other seeds"
    bold = (
        "the sentences above say whether a lead may be chance"
        if known.tested
        else "no test was made, so a small lead may be chance"
    )
    words = [
        *answers.leaders(group, known),
        f"Mean {score} on {tables.part(group)} ± sample standard deviation over seeds; in small print the number of "
        f"seeds n{ends if known.estimates else ''}. With one seed there is no deviation, and an interval is over "
        f"{group.case}s only. Bold is the highest mean of its column and nothing more: {bold}.",
        *tables.cautions(group),
    ]
    parts: list[Section] = [
        *([answers.tests(group, known)] if known.against else []),
        Section(
            "Label efficiency",
            words=[
                "Lines join means over seeds, rings are single seeds, bars are one standard deviation each way. "
                f"Methods stand a little apart at the same number of {group.case}s so that they can be told apart."
                + (" The dashed line is the upper bound." if group.runs["upper"].any() else ""),
                *answers.needed(group, known),
            ],
            parts=[picture],
        ),
        _by_class(group),
        Section(
            "Time and memory",
            words=[
                "Phases that were shared (another method's same training, or an interrupted run's) were computed once "
                "but count in full for each method. Steps/s and samples/s are of training. Diagnostics are labels "
                "that no training sees; their time is not in the sum. The process's memory is the peak so far, which "
                "earlier runs of the same process may have set; on a CPU there is no device memory. Extra forward "
                f"passes are no steps of the budget: patches that a teacher saw, and {group.case}s that were "
                "pseudo-labelled."
            ],
            parts=[tables.costs(group)],
        ),
    ]
    if len(group.diagnostics):
        parts.append(_mimicking(group))
    parts += _published(group)
    return Section(title, anchor, words, [tables.scores(group, known.estimates)], parts)


def _published(group: Group) -> list[Section]:
    """What others published on this dataset; nothing where the data only has its name."""
    if any("not the official" in warning for warnings in group.runs["warnings"] for warning in warnings):
        return []
    dataset = group.facts["dataset"]
    ours = {protocol["name"]: protocol["differs"] for protocol in group.runs["protocol"] if protocol}
    table = literature.table(dataset, ours)
    return (
        [] if table is None else [Section("Published elsewhere", words=literature.words(dataset, ours), parts=[table])]
    )


def _by_class(group: Group) -> Section:
    if group.natural:
        return Section("By class", words=natural.words(group), parts=[natural.classes(group), natural.others(group)])
    words = (
        "Overlaps are undefined where prediction and reference are both empty, distances where either is: such "
        "cases are left out of a mean and counted beside it. Read a distance together with the empty "
        "predictions, for a missed organ has no distance."
    )
    return Section("By class", words=[words], parts=[tables.classes(group)])


def _mimicking(group: Group) -> Section:
    score = tables.headline(group)
    updated = "pixels" if group.natural else "voxels that are foreground before or after and"
    words = (
        f"What each student's labels changed, over the {group.case}s that it relabelled. Update rate: share of the "
        f"{updated} that changed. Agreement ({score}) of student and teacher: on those {group.case}s, and inside and "
        f"outside the student's own training subset. Pseudo-label {score}, corrected (wrong to right) and corrupted "
        "(right to wrong) are the evaluator's, which alone may open the hidden labels."
    )
    return Section("Lazy mimicking", words=[words], parts=[tables.mimicking(group)])


def _warnings(runs: pd.DataFrame) -> Section:
    """What all runs on a dataset say, once; then what single runs say."""
    rows = []
    for dataset, part in runs.groupby("dataset", sort=True):
        shared = dict.fromkeys(text for text in part["warnings"].iloc[0] if _in_all(text, part))
        rows += [[Cell(f"all {count(len(part), 'run')} on {dataset}"), Cell(text)] for text in shared]
        rows += [
            [Cell(run["title"], run["key"], link=_link(run["path"])), Cell(text)]
            for _, run in _ordered(part).iterrows()
            for text in run["warnings"]
            if text not in shared
        ]
    if not rows:
        return Section("Warnings", "warnings", ["No run left a warning."])
    return Section("Warnings", "warnings", [], [Table("Warnings by run", ["run", "warning"], rows, 2, long=True)])


def _in_all(text: str, runs: pd.DataFrame) -> bool:
    return len(runs) > 1 and all(text in warnings for warnings in runs["warnings"])


def _failures(failures: list[Failure]) -> Section:
    rows = [
        [Cell(failure.run, "" if failure.run == failure.path else failure.path, link=_link(failure.path))]
        + [Cell(text) for text in (failure.phase, failure.message, failure.retry)]
        for failure in failures
    ]
    table = Table("What failed", ["run", "phase", "message", "what to do"], rows, words=4, long=True)
    return Section("Failures", "failures", ["These runs are in no table above."], [table])


def _provenance(runs: pd.DataFrame) -> Section:
    makers = ["commit", "machine", "versions", "command"]
    made = runs[makers].drop_duplicates().sort_values(makers).reset_index(drop=True)
    number = {tuple(row): f"{index + 1}" for index, row in enumerate(made.to_numpy().tolist())}
    metrics = sorted(set(runs["metric"]))
    rows = [
        [
            Cell(run["path"], link=_link(run["path"])),
            *(Cell(decimals(run["score"] if run["metric"] == metric else math.nan, 4)) for metric in metrics),
            *(Cell(run[name] or NONE) for name in ("split", "data")),
            Cell(number[tuple(run[name] for name in makers)]),
        ]
        for _, run in _ordered(runs).iterrows()
    ]
    heads = ["record", *(tables.HEADLINE.get(metric, metric) for metric in metrics), "split", "data", "made by"]
    records = Table("The record of every run", heads, rows, words=len(heads), long=True)
    each = [[Cell(number[row]), *(Cell(text or NONE) for text in row)] for row in number]
    programs = Table("What made the records", ["made by", *makers], each, words=5, long=True)
    words = ["Paths are relative to the results folder. A + after a commit: files differed from it."]
    return Section("Provenance", "provenance", words, [records, programs])


def _ordered(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.sort_values(["dataset", "method", "labelled", "seed", "path"])


def _link(path: str) -> str:
    return "../" + quote(path)


# Files


def _draw(report: Path, group: Group) -> Picture:
    drawn = figures.label_efficiency(group, tables.headline(group))
    stem = f"{drawn.name}-{group.name}"
    for kind in ("svg", "png"):
        _write(report / "figures" / f"{stem}.{kind}", getattr(drawn, kind))
    return Picture(f"figures/{stem}.svg", in_page(drawn.svg), drawn.alt)


def _remove_old_figures(folder: Path, groups: list[Group]) -> None:
    """A figure of records that are gone would be taken for one of this report."""
    current = {f"label-efficiency-{group.name}" for group in groups}
    for file in folder.glob("label-efficiency-*.*"):
        if file.suffix in (".svg", ".png") and file.stem not in current:
            file.unlink()


def _write(path: Path, content: str | bytes) -> None:
    with atomic(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
