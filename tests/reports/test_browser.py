"""The page in a real browser: what a reader sees, presses and prints, at three widths and in both colour schemes."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from big_page import FAINT, HACK, OUTSIDE, big_sections
from PIL import Image
from records import make, write

from atso_bench.benchmark.store.record import write_failure
from atso_bench.reports.build import build
from atso_bench.reports.pages.page import to_html

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on PATH"),
]
PAPERS = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}
WIDTHS = (360, 820, 1440)


# The two pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``real``: the report over a few records. ``big``: longer, wider and stranger than any report."""
    results = tmp_path_factory.mktemp("results")
    methods = ("supervised", "atso", "mean-teacher", "self-learning")
    scores = {method: 0.5 + place / 20 for place, method in enumerate(methods)}
    for method, score in scores.items():
        write(results, *(make(method, each, seed, score + seed / 99) for each in ("10", "100") for seed in (0, 1)))
    write(results, make("atso", "20", warnings=[HACK], cases={HACK: make().cases["t0"], "t1": make().cases["t1"]}))
    write_failure(results, make("atso", "5").spec, HACK, RuntimeError(HACK))
    big = tmp_path_factory.mktemp("big") / "index.html"
    big.write_text(to_html(f"Big {HACK}", big_sections()), encoding="utf-8")
    return {"real": build(results), "big": big}


# The browser


Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER)
        yield started
        started.close()


@pytest.fixture
def show(browser: Any, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens a page; at the end it must have asked for nothing, complained of nothing and run nobody's script."""
    contexts, asked, complaints = [], [], []

    def opened(name: str, width: int = 820, scheme: str = "light", anchor: str = "", **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(pages[name].as_uri() + anchor)
        return page

    yield opened
    hacked = [page.evaluate("window.hacked") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    assert not complaints
    assert not any(hacked)


UNFOLD = "for (const folded of document.querySelectorAll('details')) folded.open = true"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["real", "big"])
def test_everything_is_inside_the_window_and_legible_in_both_schemes(show: Open, name: str, width: int) -> None:
    page = show(name, width)
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OUTSIDE) == []
    for scheme, paper in PAPERS.items():
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
        contrasts = page.evaluate(FAINT)
        assert {"P", "A", "TH", "TD", "H2", "H3", "SMALL", "BUTTON", "CAPTION", "SUMMARY"} <= set(contrasts)
        assert {tag: contrast for tag, contrast in contrasts.items() if contrast < 4.5} == {}


@pytest.mark.parametrize("name", ["real", "big"])
def test_markup_in_a_name_is_read_as_text(show: Open, name: str) -> None:
    page = show(name)
    page.evaluate(UNFOLD)
    assert HACK in page.inner_text("body")
    assert page.locator("script").count() == 1


def test_the_browser_refuses_a_script_that_is_not_the_pages_own(browser: Any, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(pages["big"].as_uri())
    refused = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          document.body.append(script);
          setTimeout(() => done("nothing"), 2000);
        })"""
    )
    assert refused == "script-src-elem"
    assert page.evaluate("window.hacked") is None
    page.close()


# Sorting


SORTED = {
    "number": {"ascending": [3, 4, 6, 0, 7, 5, 2, 1], "descending": [2, 5, 0, 7, 6, 4, 3, 1]},
    "word": {"ascending": [2, 5, 7, 1, 6, 0, 4, 3], "descending": [4, 0, 1, 6, 7, 5, 2, 3]},
}


@pytest.mark.parametrize("column", SORTED)
def test_a_press_on_a_head_sorts_up_then_down_then_not(show: Open, column: str) -> None:
    page = show("big")
    table = page.get_by_role("table", name="To be sorted").first
    button = table.get_by_role("button", name=column)
    for press in ("click", "Enter", "Space"):
        for way, places in {**SORTED[column], None: range(8)}.items():
            button.click() if press == "click" else page.keyboard.press(press)
            assert table.locator("tbody th").all_inner_texts() == [f"r{place}" for place in places]
            ways = table.locator("thead th").evaluate_all("heads => heads.map(head => head.ariaSort)")
            assert ways == [way if head == column else None for head in ("row", "word", "number")]


def test_another_head_takes_over(show: Open) -> None:
    page = show("big")
    table = page.get_by_role("table", name="To be sorted").first
    table.get_by_role("button", name="word").click()
    table.get_by_role("button", name="number").click()
    assert table.locator("tbody th").all_inner_texts() == [f"r{place}" for place in SORTED["number"]["ascending"]]
    assert table.locator("[aria-sort]").all_inner_texts() == ["number"]


def test_only_tables_that_can_be_sorted_have_buttons(show: Open) -> None:
    page = show("real")
    few = page.locator("table", has_text="value").first
    assert few.locator("button").count() == 0
    assert page.locator("table.sortable").count() > 2
    assert page.locator("table:not(.sortable) button").count() == 0
    assert page.locator("table.sortable thead th:not(:has(button))").count() == 0


def test_without_scripts_the_page_is_whole(show: Open, pages: dict[str, Path]) -> None:
    page = show("big", java_script_enabled=False)
    assert page.locator("button").count() == 0
    assert page.get_by_role("columnheader", name="word").first.is_visible()
    page.locator("details.vast > summary").click()
    assert page.get_by_text("records/case0.json").is_visible()


# Finding one's way


@pytest.mark.parametrize("how", ["address", "link"])
def test_a_link_into_a_folded_table_unfolds_it(show: Open, how: str) -> None:
    page = show("big", anchor="#record%20700" if how == "address" else "")
    if how == "link":
        assert not page.get_by_text("records/case700.json").is_visible()
        page.get_by_role("link", name="its record").click()
    row = page.get_by_text("records/case700.json")
    row.wait_for(state="visible", timeout=2000)
    assert 0 <= row.bounding_box()["y"] < 900


@pytest.mark.parametrize("name", ["real", "big"])
def test_every_link_within_the_page_leads_to_one_place(show: Open, name: str) -> None:
    page = show(name)
    ids = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
    assert len(ids) == len(set(ids))
    hashes = page.locator("a[href^='#']").evaluate_all("all => all.map(each => decodeURIComponent(each.hash.slice(1)))")
    assert len(hashes) > 6
    assert set(hashes) <= set(ids)
    assert page.locator("section:not([id])").count() == 0


def test_the_contents_stand_at_the_side_where_there_is_room_and_fold_where_not(show: Open) -> None:
    for width, beside in ((1440, True), (360, False)):
        page = show("big", width)
        contents = page.get_by_role("navigation", name="Contents")
        link = contents.get_by_role("link", name="data3")
        assert link.is_visible() == beside
        if not beside:
            contents.get_by_text("Contents").click()
        link.click()
        assert abs(page.locator("#comparison-3").bounding_box()["y"]) < 20
        assert not beside or 0 <= link.bounding_box()["y"] < 900


# Colours, pictures, paper


def test_a_reader_can_choose_the_scheme_and_figures_follow(show: Open) -> None:
    page = show("big", scheme="light")
    figure = page.locator("main figure:not(.strip *) > img").first
    auto = _ink(figure)
    page.get_by_label("dark").check()
    dark = _ink(figure)
    page.get_by_label("auto").check()
    assert _ink(figure) == auto
    assert auto < 60 < 200 < dark
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"


def _ink(figure: Any) -> float:
    """How bright the letters below an axis are: the pixel that is farthest from the paper."""
    grey = np.asarray(Image.open(io.BytesIO(figure.screenshot())).convert("L"), float)[-25:]
    return float(grey.flat[np.abs(grey - grey[-1, 0]).argmax()])


@pytest.mark.parametrize("width", [360, 1440])
def test_a_shade_says_on_which_side_a_table_goes_on(show: Open, width: int) -> None:
    page = show("big", width)
    region = page.get_by_role("region", name="Scores").first
    region.scroll_into_view_if_needed()
    for place, (left, right) in {"0": (False, True), "region.scrollWidth": (True, False)}.items():
        region.evaluate(f"region => {{ region.scrollLeft = {place}; }}")
        # above the heads, where there is paper and nothing else
        strip = np.asarray(Image.open(io.BytesIO(region.screenshot())).convert("L"), int)[2]
        assert [bool(edge < 250) for edge in strip[[1, -2]]] == [left, right]


def test_on_a_phone_a_table_of_few_rows_is_a_list_of_heads_and_values(show: Open) -> None:
    page = show("real", 360)
    card = page.get_by_role("region", name="The best method at each label fraction")
    assert card.evaluate("region => region.scrollWidth === region.clientWidth")
    head, value = page.locator("table.cards tbody td").first.evaluate(
        "cell => [getComputedStyle(cell, '::before').content, cell.getBoundingClientRect().height]"
    )
    assert head.strip('"') == page.locator("table.cards td").first.get_attribute("data-head")
    assert 0 < value < 60
    assert not page.locator("table.cards thead").first.is_visible()
    page.set_viewport_size({"width": 820, "height": 900})
    assert page.locator("table.cards thead").first.is_visible()


def test_a_head_takes_about_three_lines_where_the_numbers_below_it_are_narrow(show: Open) -> None:
    head = show("big").get_by_role("columnheader", name="100 % (208 cases), upper bound").first
    height, line = head.evaluate(
        """head => [head.querySelector("button").getBoundingClientRect().height,
                    parseFloat(getComputedStyle(head).lineHeight)]"""
    )
    assert height < 4.1 * line


def test_pictures_keep_their_place_and_stand_in_equal_tiles(show: Open) -> None:
    page = show("big", 360)
    images = page.locator("img").evaluate_all(
        "all => all.map(each => [each.getAttribute('height'), each.naturalWidth])"
    )
    assert images
    assert all(height and loaded for height, loaded in images)
    strips = page.locator(".tiles")
    for place, (per_row, rendering) in enumerate([(4, "pixelated"), (2, "auto")]):
        boxes = (
            strips.nth(place)
            .locator("img")
            .evaluate_all(
                """all => all.map(each => [each.offsetLeft, each.clientWidth, each.clientHeight,
                                       getComputedStyle(each).imageRendering])"""
            )
        )
        assert len({left for left, *_ in boxes}) == per_row
        ((width, height, how),) = {tuple(size) for _, *size in boxes}
        assert how == rendering
        assert width / height == pytest.approx(4 / 3, rel=0.02)


PAPER = 688  # pixels of A4's width without margins


@pytest.mark.parametrize("name", ["real", "big"])
def test_on_paper_nothing_is_cut_or_dark_and_short_tables_are_unfolded(show: Open, name: str) -> None:
    page = show(name, PAPER, "dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(OUTSIDE) == []
    widths = page.locator("table").evaluate_all("all => all.map(each => each.getBoundingClientRect().right)")
    assert max(widths) <= PAPER
    captions = page.locator(".strip > figcaption")
    assert set(captions.evaluate_all("all => all.map(each => getComputedStyle(each).breakAfter)")) <= {"avoid"}
    assert not page.get_by_role("navigation").is_visible()
    boxes = page.locator("th button").evaluate_all("all => all.map(each => getComputedStyle(each).display)")
    assert set(boxes) == {"contents"}  # with a box in it, Chromium does not repeat a head on the next page
    tables = "all => all.map(each => each.checkVisibility({ contentVisibilityAuto: true }))"
    printed = page.locator(".folded:not(.vast) table").evaluate_all(tables)
    assert all(printed)
    assert printed or name == "real"
    assert not any(page.locator(".vast table").evaluate_all(tables))
    assert b"/MediaBox [0 0 594.9" in page.pdf(prefer_css_page_size=True)
