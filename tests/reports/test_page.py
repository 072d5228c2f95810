"""The parts of a page as HTML and Markdown: anchors, folded tables, sizes of pictures, and the one script."""

import base64
import hashlib
import html
import io
import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

from atso_bench.reports.figures.drawing import WIDTH, drawing, in_page, styled
from atso_bench.reports.pages.page import (
    CARDS,
    FOLDED,
    MARKDOWN,
    VAST,
    Cell,
    Picture,
    Section,
    Strip,
    Table,
    markdown_text,
    to_html,
    to_markdown,
)


def table(rows: int, caption: str = "many", columns: int = 2) -> Table:
    heads = [f"head {column}" for column in range(columns)]
    return Table(caption, heads, [[Cell(f"cell {row}")] * columns for row in range(rows)])


def page(*parts: Table | Picture | Strip) -> str:
    return to_html("t", [Section("One", "one", parts=parts)])


def text(*parts: Table | Picture | Strip) -> str:
    return to_markdown("t", [Section("One", "one", parts=parts)])


def bitmap(width: int, height: int, kind: str = "png") -> Picture:
    file = io.BytesIO()
    Image.effect_noise((width, height), 80).save(file, kind)
    uri = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(f"figures/a_b (1).{kind}", uri, "a | slice")


# The script


def test_the_browser_is_told_the_hash_of_the_one_script() -> None:
    shown = page(table(3))
    (script,) = re.findall(r"<script>(.*?)</script>", shown, re.DOTALL)
    (told,) = re.findall(r"script-src 'sha256-([^']*)'", shown)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == told
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', shown)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    assert script.count("\n") < 60
    assert "&lt;" not in script


def test_only_tables_of_three_rows_and_full_heads_can_be_sorted() -> None:
    assert "sortable" in table(3).looks
    assert "sortable" not in table(2).looks
    facts = Table("facts", ["", "value"], [[Cell("a"), Cell("b")]] * 5)
    assert "sortable" not in facts.looks


def test_a_cell_that_says_much_may_take_several_lines() -> None:
    names = Table("names", ["name", "score"], [[Cell("x" * 29), Cell("0.5", "n" * 29)], [Cell("atso"), Cell("0.5")]])
    shown = page(names)
    (body,) = re.findall("<tbody>(.*)</tbody>", shown, re.DOTALL)
    assert re.findall('<(t[hd])[^>]*?(?: class="([^"]*)")?>', body) == [
        ("th", " wordy"),
        ("td", "number wordy"),
        ("th", ""),
        ("td", "number"),
    ]


# Anchors


def test_every_section_has_an_anchor_of_its_own() -> None:
    twins = [Section("By class"), Section("By  class!"), Section("–")]
    sections = [Section("a", "one", sections=twins), Section("b", "two", sections=twins), Section("Two: <b>")]
    shown = to_html("t", sections)
    ids = re.findall(r'<section id="([^"]*)"', shown)
    ones, twos = ([each, f"{each}-by-class", f"{each}-by-class-2", f"{each}-2"] for each in ("one", "two"))
    assert ids == [*ones, *twos, "two-b"]
    assert re.findall(r'href="#([^"]*)"', shown) == ids


def test_sections_below_sections_are_shown_on_every_level() -> None:
    deep = Section("A", "a", sections=[Section("B", sections=[Section("C", sections=[Section("D", words=["last"])])])])
    shown, written = to_html("t", [deep]), to_markdown("t", [deep])
    assert re.findall(r"<h(\d)>(\w)</h\d>", shown) == [("1", "t"), ("2", "A"), ("3", "B"), ("4", "C"), ("4", "D")]
    assert re.findall(r"^(#+) (\w)$", written, re.MULTILINE) == [
        ("#", "t"),
        ("##", "A"),
        ("###", "B"),
        ("####", "C"),
        ("#####", "D"),
    ]
    assert "<p>last</p>" in shown


def test_anchors_of_cells_and_links_to_them_are_escaped_alike() -> None:
    odd = 'a "b" <c> & d'
    shown = page(Table("links", ["x"], [[Cell("here", anchor=odd)], [Cell("there", link=f"#{odd}")]]))
    assert "<c>" not in shown
    (anchor,) = re.findall(r'<th scope="row" id="([^"]*)"', shown)
    assert html.unescape(anchor) == odd
    assert f'href="#{anchor}"' in shown


# Long tables


@pytest.mark.parametrize(("rows", "folded", "vast"), [(FOLDED, 0, 0), (FOLDED + 1, 1, 0), (VAST + 1, 1, 1)])
def test_long_tables_are_folded_behind_their_caption(rows: int, folded: int, vast: int) -> None:
    shown = page(table(rows))
    assert len(re.findall(f'<details class="folded[^>]*><summary>many: {rows} rows</summary>', shown)) == folded
    assert shown.count('class="folded vast"') == vast
    assert shown.count("<caption>many</caption>") == 1 - folded
    assert shown.count("cell ") == 2 * rows
    assert text(table(rows)).count(f"<details><summary>many: {rows} rows</summary>\n\n|") == folded


def test_markdown_fits_a_comment_and_says_where_the_rest_is() -> None:
    short, long, longest = table(20, "short"), table(150, "long", columns=20), table(900, "longest", columns=9)
    assert "index.html" not in text(short, long)
    written = text(short, long, longest)
    assert len(written) <= MARKDOWN
    assert "longest: 900 rows, in index.html." in written
    assert written.count("| cell ") == 20 * 2 + 150 * 20
    written = text(short, long, long, longest)
    assert len(written) <= MARKDOWN
    assert written.count("long: 150 rows, in index.html.") == 2
    assert written.count("| cell ") == 20 * 2


def test_markdown_never_leaves_out_a_short_table() -> None:
    many = [table(FOLDED, f"table {place}", columns=9) for place in range(30)]
    written = text(*many)
    assert len(written) > MARKDOWN
    assert written.count("| cell ") == 30 * FOLDED * 9


# Pictures


def test_a_picture_says_its_own_size() -> None:
    with styled():
        drawn = drawing("a", "a", Figure(figsize=(WIDTH, 2 * WIDTH)))
    width, height = Picture("a.svg", in_page(drawn.svg), "").size or (0, 0)
    assert width == pytest.approx(72 * WIDTH, abs=0.1)
    assert height == pytest.approx(2 * width, abs=0.1)
    assert bitmap(50, 40).size == (50, 40)
    assert bitmap(480, 360, "jpeg").size == (480, 360)
    for uri in ("data:,", "data:image/png;base64,AAAA", "data:image/svg+xml;base64,AAAA", ""):
        assert Picture("a.png", uri, "").size is None


def test_small_slices_keep_their_pixels_and_large_frames_are_smooth() -> None:
    small, large = (page(Strip("case", [("image", bitmap(side, side))] * 3)) for side in (50, 480))
    assert small.count('width="50" height="50" class="pixels"') == 3
    assert large.count('width="480" height="480">') == 3


@pytest.mark.parametrize(
    ("tiles", "side", "columns"),
    [
        (6, 50, (3, 6, 6, 6)),
        (7, 50, (4, 4, 7, 7)),  # 4 and 3, and no picture alone in its row
        (10, 50, (4, 5, 5, 5)),
        (20, 50, (4, 5, 5, 5)),
        (3, 50, (3, 4, 5, 5)),  # few are no larger than many
        (7, 480, (2, 2, 4, 4)),
    ],
)
def test_the_rows_of_a_strip_are_about_equally_long(tiles: int, side: int, columns: tuple[int, ...]) -> None:
    strip = Strip("case", [("image", bitmap(side, side))] * tiles)
    assert tuple(strip.columns.values()) == columns
    style = " ".join(f"--{name}: {number};" for name, number in strip.columns.items())
    assert f'<div class="tiles" style="{style}">' in page(strip)


def test_a_table_of_few_rows_names_the_head_in_every_cell_for_phones() -> None:
    heads = ["method", '<b> "quoted"', "", "time"]
    few, many, narrow = (
        page(Table("few", heads[:columns], [[Cell("a")] * columns] * rows))
        for rows, columns in ((CARDS, 4), (CARDS + 1, 4), (CARDS, 3))
    )
    assert re.findall('data-head="([^"]*)"', few)[:3] == ["method", "&lt;b&gt; &#34;quoted&#34;", "time"]
    assert '<table class="cards">' in few
    for shown in (many, narrow):
        assert "data-head=" not in shown


def test_a_dollar_sign_begins_no_formula_in_markdown() -> None:
    assert markdown_text("$x$ costs $5") == r"\$x\$ costs \$5"


def test_a_figure_keeps_its_place_while_it_loads() -> None:
    assert 'width="640" height="320">' in page(bitmap(100, 50))
    assert 'alt="none" width="640">' in page(Picture("a.svg", "data:,", "none"))


def test_a_strip_is_one_row_of_pictures_in_markdown() -> None:
    written = text(Strip("worst | case", [("image", bitmap(5, 5)), ("a|b", bitmap(5, 5))]))
    *_, caption, strip = written.split("\n\n")
    assert caption == r"worst \| case:"
    assert strip.splitlines() == [
        r"| image | a\|b |",
        "|---|---|",
        r"| ![a \| slice](figures/a_b%20%281%29.png) | ![a \| slice](figures/a_b%20%281%29.png) |",
    ]


def test_an_empty_strip_breaks_nothing() -> None:
    assert '<div class="tiles"' in page(Strip("none", []))
    text(Strip("none", []))
