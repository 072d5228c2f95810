"""The tables of docs/study.md and of the README are those that the report makes of the records in docs/study.

``ATSO_BENCH_WRITE=1 pytest tests/reports/test_study.py`` writes them anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from records import blank

from atso_bench.reports.certainty.evidence import _Scored
from atso_bench.reports.data.frame import Group, read
from atso_bench.reports.pages.page import Cell, Section, Table, to_markdown
from atso_bench.reports.words import NONE, decimals, ranges, signed

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "docs" / "study"
PAGES = [ROOT / "README.md", ROOT / "docs" / "study.md"]
BLOCK = re.compile(r"(<!-- table: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
CELLS = [(1, "previous"), (1, "m0"), (2, "previous"), (2, "m0")]
"""Ways from self-learning, the first, to ATSO: into how many parts, and where a student starts."""
STARTS = {"previous": "the previous student", "m0": "the first model"}


@pytest.fixture(scope="module")
def tables() -> dict[str, str]:
    """Markdown of the report's tables by their titles, and that of the ablation."""
    groups = read(STUDY).groups()
    text = to_markdown("study", [chapter.section for chapter in blank(groups)])
    found = dict(re.findall(r"^(.+?):\n\n((?:\|.*\n)+)", text, re.MULTILINE))
    longest = max(groups, key=lambda group: len(group.runs))
    made = to_markdown("ablation", [Section("Ablation", parts=[ablation(longest)])])
    return {**found, **dict(re.findall(r"^(.+?):\n\n((?:\|.*\n)+)", made, re.MULTILINE))}


def ablation(group: Group) -> Table:
    """ATSO's two ideas against self-learning, which has neither, over the seeds that both have."""
    scored, runs = _Scored(group), group.cells
    fraction = next(iter(group.fractions))
    rows = []
    for parts, start in CELLS:
        label = label_of(group, parts, start)
        if not label:
            continue
        test = scored.test(runs, (fraction, label), (fraction, "self-learning"))
        ends = NONE if test.reason else f"{signed(test.low)} to {signed(test.high)}"
        mean = group.means_at(fraction).get(label, float("nan"))
        seeds = ranges(runs[fraction, label]["seed"].tolist()) if (fraction, label) in runs else NONE
        same = label == "self-learning"
        gain = [Cell(NONE), Cell(NONE)] if same else [Cell(signed(test.difference)), Cell(ends)]
        rows.append([Cell(label), Cell(str(parts)), Cell(STARTS[start]), Cell(decimals(mean)), *gain, Cell(seeds)])
    heads = ["method", "parts", "a student starts from", "Dice", "against self-learning", "95 % interval", "seeds"]
    return Table("Ablation", heads, rows, words=3)


def label_of(group: Group, parts: int, start: str) -> str:
    """What the report calls ATSO with these options; empty where it was not run."""
    if (parts, start) == CELLS[0]:
        return "self-learning"
    for runs in group.cells.values():
        options = runs.iloc[0]["options"]
        if runs.iloc[0]["method"] == "atso" and (options["subsets"], options["restart"]) == (parts, start):
            return str(runs.iloc[0]["label"])
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_the_reports(page, tables):
    text = page.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert blocks
    wanted = BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]}{block[4]}", text)
    if os.environ.get("ATSO_BENCH_WRITE"):
        page.write_text(wanted, encoding="utf-8")
    else:
        assert text == wanted


def test_every_record_is_a_result_of_this_study():
    runs = read(STUDY).runs
    assert set(runs["dataset"]) == {"hippocampus"}
    assert set(runs["parity"]) == {"line"}
    assert not read(STUDY).failures
