"""The story of a report: what was compared, the scores, what they cost, what to doubt, and where it all comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from atso_bench.reports import (
    answers,
    figures,
    figures_cases,
    figures_cost,
    figures_mimicking,
    provenance,
    ranks,
    tables,
)
from atso_bench.reports.comparison import Art, comparison
from atso_bench.reports.evidence import Evidence, evidence
from atso_bench.reports.folder import Folder
from atso_bench.reports.frame import Frames, Group, read
from atso_bench.reports.missing import Missing, missing
from atso_bench.reports.overlays import Overlays, overlays
from atso_bench.reports.page import Section, Strip, Table, count, decimals, facts_table, plain, to_html, to_markdown
from atso_bench.reports.tidy import write_tidy


def build(results: Path) -> Path:
    """Make ``results/report`` from the records: the page, Markdown, tidy tables, figures, LaTeX.

    Returns:
        The path of ``index.html``.

    Raises:
        ValueError: if there is neither a record nor a failure.
    """
    frames = read(results)
    gone, unreadable = missing(results, frames)
    frames.failures.extend(unreadable)
    groups = frames.groups()
    known = [evidence(group) for group in groups]
    folder = Folder(results / "report")
    art = [draw(folder, group, each, overlays(group, results)) for group, each in zip(groups, known, strict=True)]
    ranked = ranks.ranks_by_fraction(groups)
    diagrams = [folder.picture(each.drawing) for each in ranked.rankings] if ranked else []
    sections = story(frames, groups, known, art, ranked.section(diagrams) if ranked else None, gone)
    title = "ATSO-Bench: " + (", ".join(sorted({group.facts["dataset"] for group in groups})) or "no finished run")
    for group, section in zip(groups, sections[1:], strict=False):  # the first is the answer in short
        _for_papers(folder, group, section)
    write_tidy(frames, folder.path)
    folder.write("report.md", to_markdown(title, sections))
    page = folder.write("index.html", to_html(title, sections))
    folder.remove_old()
    return page


def story(
    frames: Frames,
    groups: Sequence[Group],
    known: Sequence[Evidence],
    art: Sequence[Art],
    ranked: Section | None = None,
    gone: Sequence[Missing] = (),
) -> list[Section]:
    """All sections of the report, in order."""
    titles = _titles(groups)
    anchors = [f"comparison-{place}" for place in range(1, len(groups) + 1)]
    sections = [answers.short(groups, known, titles, anchors)] if groups else []
    sections += map(comparison, groups, known, titles, anchors, art)
    if ranked is not None:
        sections.append(ranked)
    sections.append(_compared(frames, groups, titles))
    if len(frames.runs):
        sections.append(provenance.warnings(frames.runs))
    if frames.failures:
        sections.append(provenance.failed(frames.failures))
    if gone:
        sections.append(provenance.not_there(gone))
    if len(frames.runs):
        sections.append(provenance.provenance(frames.runs))
    return sections


def draw(folder: Folder, group: Group, known: Evidence, seen: Overlays | None) -> Art:
    """Every figure and picture of a comparison, written beside the page."""
    drawn = [
        figures.label_efficiency(group, known),
        figures_cases.by_case(group),
        figures_cost.cost(group),
        figures_cost.phases(group),
        figures_mimicking.mimicking(group),
        seen.legend if seen else None,
    ]
    pictures = {each.name: folder.picture(each, group.name) for each in drawn if each is not None}
    strips = []
    for sheet in seen.sheets if seen else ():
        tiles = [
            (tile.words, folder.tile(tile, f"{sheet.rank}-{place}", group.name))
            for place, tile in enumerate(sheet.tiles)
        ]
        mean = f"mean {tables.headline(group)} {decimals(sheet.mean)}"
        strips.append(Strip(f"{sheet.rank.capitalize()}: {sheet.case}, {mean}", tiles))
    return Art(pictures, strips, seen)


def _for_papers(folder: Folder, group: Group, section: Section) -> None:
    """The tables of a comparison as LaTeX, by the section that they stand in."""
    for part in (section, *section.sections):
        name = "scores" if part is section else re.sub(r"[^a-z0-9]+", "-", part.title.lower()).strip("-")[:60]
        found = [each for each in part.parts if isinstance(each, Table)]
        for place, table in enumerate(found, start=1):
            folder.latex(table, f"{name}-{place}" if len(found) > 1 else name, group)


def _compared(frames: Frames, groups: Sequence[Group], titles: Sequence[str]) -> Section:
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


def _titles(groups: Sequence[Group]) -> list[str]:
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
