"""The story of a report: what was compared, the scores, what they cost, what to doubt, and where it all comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from atso_bench.benchmark.spec import digest
from atso_bench.reports.certainty.evidence import Evidence, evidence
from atso_bench.reports.certainty.headroom import compared, shorter
from atso_bench.reports.data import frame
from atso_bench.reports.data.frame import Frames, Group, read
from atso_bench.reports.data.listing import matching, record_files
from atso_bench.reports.data.missing import Missing, missing
from atso_bench.reports.data.tidy import write_tidy
from atso_bench.reports.data.workers import Map, workers
from atso_bench.reports.figures import cases, cost, label_efficiency, mimicking
from atso_bench.reports.figures.overlays import Overlays, overlays
from atso_bench.reports.pages import provenance, ranks, tables
from atso_bench.reports.pages.comparison import Art, comparison
from atso_bench.reports.pages.folder import Files
from atso_bench.reports.pages.page import Section, Strip, Table, facts_table, to_html, to_markdown
from atso_bench.reports.pages.short import short
from atso_bench.reports.words import count, decimals, plain, shared


@dataclass(frozen=True)
class Chapter:
    """One comparison's part of a report, and the files that belong to it."""

    known: Evidence
    section: Section
    files: Files


def build(results: Path, where: str = "") -> Path:
    """Make ``results/report`` from the records: the page, Markdown, tidy tables, figures, LaTeX.

    Args:
        results: the folder that holds ``records/``.
        where: an expression that a run has to fulfil, see `matching`; such a report has a folder of its own, and does
            not name the runs that are missing.

    Returns:
        The path of ``index.html``.

    Raises:
        ValueError: if there is neither a record nor a failure, or no folder to write to.
    """
    folder = results / (f"report-{digest(where, 8)}" if where else "report")
    for path in (results, folder):
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; a report needs a results folder and writes into its folder report/")
    if folder.is_symlink() and not folder.resolve().is_relative_to(results.resolve()):
        raise ValueError(f"{folder} is a link that leads out of {results}; remove it: the report writes there")
    listed = matching(results, where) if where else record_files(results)
    with workers(listed) as pooled:
        frames = read(results, pooled or map, listed)
        gone, unreadable = ([], []) if where else missing(results, frames)
        frames.failures.extend(unreadable)
        found = frames.groups()
        groups = compared(found)
        coming = _chapters(groups, found, results, pooled or map)
        write_tidy(frames, folder)
        chapters = list(coming)
    files = Files()
    for each in chapters:
        files.update(each.files)
    ranked = ranks.ranks_by_fraction(groups)
    over_datasets = ranked.section([files.picture(each.drawing) for each in ranked.rankings]) if ranked else None
    sections = story(frames, groups, chapters, over_datasets, gone)
    title = "ATSO-Bench: " + (", ".join(sorted({group.facts["dataset"] for group in groups})) or "no finished run")
    files["report.md"] = to_markdown(title, sections).encode()
    files["index.html"] = to_html(title, sections).encode()
    files.write(folder)
    return folder / "index.html"


def story(
    frames: Frames,
    groups: Sequence[Group],
    chapters: Sequence[Chapter],
    ranked: Section | None = None,
    gone: Sequence[Missing] = (),
) -> list[Section]:
    """All sections of the report, in order."""
    sections = [each.section for each in chapters]
    names = [each.title for each in sections]
    if groups:
        known, anchors = [each.known for each in chapters], [each.anchor for each in sections]
        sections.insert(0, short(groups, known, names, anchors, len(frames.failures), len(gone)))
    if ranked is not None:
        sections.append(ranked)
    sections.append(_compared(frames, groups, names))
    if len(frames.runs):
        sections.append(provenance.warnings(frames.runs))
    if frames.failures:
        sections.append(provenance.failed(frames.failures))
    if gone:
        sections.append(provenance.not_there(gone))
    if len(frames.runs):
        sections.append(provenance.provenance(frames.runs))
    return sections


def _chapters(groups: Sequence[Group], found: Sequence[Group], results: Path, each: Map) -> Iterable[Chapter]:
    anchors = [f"comparison-{place}" for place in range(1, len(groups) + 1)]
    if len(groups) < 2:
        each = map  # nothing to share
    fewer = [shorter(group, found) for group in groups]
    return each(chapter, groups, titles(groups), anchors, repeat(results), fewer)


def chapter(group: Group, title: str, anchor: str, results: Path, fewer_steps: Group | None = None) -> Chapter:
    """All that is made of one comparison."""
    known, seen, files = evidence(group, fewer_steps), overlays(group, results), Files()
    section = comparison(group, known, title, anchor, draw(files, group, known, seen))
    _for_papers(files, group, section)
    return Chapter(known, section, files)


def draw(files: Files, group: Group, known: Evidence, seen: Overlays | None) -> Art:
    """Every figure and picture of a comparison."""
    drawn = [
        label_efficiency.label_efficiency(group, known),
        cases.by_case(group),
        cost.cost(group),
        cost.phases(group),
        mimicking.mimicking(group),
        seen.legend if seen else None,
    ]
    pictures = {each.name: files.picture(each, group.name) for each in drawn if each is not None}
    strips = []
    for sheet in seen.sheets if seen else ():
        tiles = [
            (tile.words, files.tile(tile, f"case-{sheet.rank}-{place}", group.name))
            for place, tile in enumerate(sheet.tiles)
        ]
        mean = f"mean {frame.headline(group)} {decimals(sheet.mean)}"
        strips.append(Strip(f"{sheet.rank.capitalize()}: {sheet.case}, {mean}", tiles))
    return Art(pictures, strips, seen)


def _for_papers(files: Files, group: Group, section: Section) -> None:
    """The tables of a comparison as LaTeX, by the section that they stand in."""
    for part in (section, *section.sections):
        name = "scores" if part is section else re.sub(r"[^a-z0-9]+", "-", part.title.lower()).strip("-")[:60]
        found = [each for each in part.parts if isinstance(each, Table)]
        for place, table in enumerate(found, start=1):
            files.latex(table, f"{name}-{place}" if len(found) > 1 else name, group.name)


def _compared(frames: Frames, groups: Sequence[Group], names: Sequence[str]) -> Section:
    runs, failures = count(len(frames.runs), "finished run"), count(len(frames.failures), "failure")
    words = [f"{runs}, {failures}, {count(len(groups), 'comparison')}."]
    if not groups:
        return Section("What was compared", "compared", [*words, "There is no score to show."])
    summaries = [tables.summary(group) for group in groups]
    if len(groups) > 1:
        facts = [group.facts for group in groups]
        differ = [name for name in facts[0] if any(each[name] != facts[0][name] for each in facts)]
        words.append(
            f"The comparisons differ in: {', '.join(differ)}. Do not compare their scores with each other; no table "
            "mixes them."
        )
    heads = ["value"] if len(groups) == 1 else names
    return Section("What was compared", "compared", words, [facts_table("What was compared", heads, summaries)])


def titles(groups: Sequence[Group]) -> list[str]:
    """Dataset, configuration and budget; numbered where that does not tell them apart."""
    found = []
    for group in groups:
        facts = group.facts
        # a small budget's crops are not those of the configuration's name
        crop = f" (crops of {plain(facts['recipe'].get('patch'))})" if group.case == "frame" else ""
        where = "" if facts["scored"] == "test" else ", validation scores"
        where += f", {facts['folds']} folds" if facts["folds"] else ""
        steps = f"{facts['steps']:,} steps {shared(facts['parity'])}"
        found.append(f"{facts['dataset']}, {facts['configuration']}{crop}, {steps}{where}")
    return [
        f"{title} ({found[: place + 1].count(title)} of {found.count(title)})" if found.count(title) > 1 else title
        for place, title in enumerate(found)
    ]
