"""The documentation is whole: pages can be reached, links lead somewhere, every field of a record is explained."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Phase, Record

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
SITE: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
MKDOCS = Path(sys.executable).with_name("mkdocs")
OTHERS = {"--help", "--gpus", "--shm-size"}  # of other programs
every_text = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)


def body(page: Path) -> str:
    """A page without what stands in fences, in which brackets are not links."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def in_nav(entries: Any) -> list[str]:
    """The pages that the navigation names, in order."""
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [page for entry in values for page in in_nav(entry)]


def anchors(page: Path) -> set[str]:
    """The places in a page that a link may name, as Python-Markdown spells them."""
    titles = re.findall(r"^#+ (.+)$", body(page), re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower() for title in titles)
    return {re.sub(r"[-\s]+", "-", title) for title in words}


def test_the_navigation_names_every_page_once() -> None:
    assert sorted(in_nav(SITE["nav"])) == [page.name for page in PAGES]


@every_text
def test_every_link_leads_to_a_file_and_a_heading(text: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", body(text)):
        if "://" in target:
            continue
        name, _, place = target.partition("#")
        file = text.parent / name if name else text
        assert file.exists(), f"{text.name} links to {target}"
        if place:
            assert place in anchors(file), f"{text.name} links to {target}"


@every_text
def test_every_option_that_is_named_exists(text: Path) -> None:
    known: Any = get_command(app)
    options = {
        name: {option for each in command.params for option in each.opts} for name, command in known.commands.items()
    }
    written = text.read_text(encoding="utf-8")
    for name, rest in re.findall(r"atso-bench ([a-z]+)([^\n|`#]*)", written):
        assert set(re.findall(r"(?<!\w)--[a-z-]+", rest)) <= options.get(name, set()) | {"--help"}, (name, rest)
    named = set(re.findall(r"`(--[a-z][a-z-]+)[ =`]", written))
    assert named <= set().union(*options.values()) | OTHERS, named


def test_every_file_that_is_named_exists() -> None:
    for text in TEXTS:
        for path in re.findall(r"`((?:benchmark|datasets|methods|reports|tests)/[\w/.-]+\.\w+)`", body(text)):
            example = path.endswith(("my_method.py", "my_dataset.py"))
            assert example or (ROOT / path).exists(), f"{text.name} names {path}"


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        (Record, "The record's fields"),
        (RunSpec, "`spec`: what was run"),
        (Phase, "`phases`: where the time went"),
    ],
)
def test_the_page_of_the_record_explains_every_field_and_no_other(kind: type, heading: str) -> None:
    page = (DOCS / "record.md").read_text(encoding="utf-8")
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\|[^|]*\|[^|]+\|$", section, re.MULTILINE)
    assert sorted(rows) == sorted(field.name for field in fields(kind))


def test_the_page_of_the_record_explains_the_budget() -> None:
    row = re.search(r"^\| `budget` .*$", (DOCS / "record.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert row
    assert {field.name for field in fields(Budget)} <= set(re.findall(r"`(\w+)`", row[0]))


@pytest.mark.skipif(not MKDOCS.exists(), reason="mkdocs is not in this environment")
def test_the_site_is_built_without_a_warning_and_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [str(MKDOCS), "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "architecture" / "index.html").read_text(encoding="utf-8")
    loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"?([^\"\s>]+)", page)
    loaded += re.findall(r"<link[^>]+rel=\"?(?:stylesheet|preconnect|icon)\"?[^>]*href=\"?([^\"\s>]+)", page)
    assert loaded
    assert not [place for place in loaded if "://" in place or place.startswith("//")]
