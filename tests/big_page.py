"""A page that is longer, wider and stranger than any report, and what to ask a browser about a page."""

import base64
import io

from matplotlib.figure import Figure
from PIL import Image

from atso_bench.reports.figures.drawing import WIDTH, drawing, in_page, styled
from atso_bench.reports.pages.page import Cell, Picture, Section, Strip, Table

HACK = "<script>window.hacked=1</script>"
LONG = "self-learning (" + "x" * 184 + ")"


def big_sections() -> list[Section]:
    methods = [HACK, LONG, *(f"method-{place}" for place in range(15))]
    wide = [[Cell(name), *(Cell(f"0.{place:03} ± 0.010", "n = 3") for place in range(19))] for name in methods]
    heads = ["method", *methods, "10 % (21 cases)", "100 % (208 cases), upper bound: supervised"]
    many = [
        [Cell(f"records/case{row}.json", anchor=f"record {row}"), *map(Cell, ("a", "b", "2"))] for row in range(1000)
    ]
    shown = Picture("figures/lines.svg", lines(), "lines")
    tiles = [(name, slice_of(40)) for name in ("image", "reference", *methods)]
    street = [(name, slice_of(480)) for name in ("image", "reference", "atso")]
    below = [
        Section("By class", words=["A word " + LONG], parts=[Table("Scores", heads, wide), order_table()]),
        Section("Label efficiency", parts=[shown, Strip("worst case " + LONG, tiles), Strip("frame", street)]),
    ]
    comparisons = [
        Section(f"data{place} {LONG if place == 1 else ''}", f"comparison-{place}", sections=below)
        for place in range(1, 5)
    ]
    found = Table("Where", ["case", "record", "of"], [[Cell(HACK), Cell("its record", link="#record 700"), Cell("1")]])
    records = Table("The record of every run", ["record", "split", "data", "made by"], many, words=4, long=True)
    warned = Table("Warnings by run", ["run", "warning"], [[Cell(f"run {run}"), Cell(HACK)] for run in range(40)], 2)
    return [
        *comparisons,
        Section("Cases", "cases", parts=[found, warned]),
        Section("Provenance", "provenance", parts=[records]),
    ]


ORDER = {
    "number": ["0.712 ± 0.010", "–", "1,234.5", "−0.012", "< 0.001", "12 %", "0.001", "0.712 ± 0.001"],
    "word": ["case10", "case2", "Atso", "–", "zeta", "beta", "case2", "case1"],
}


def order_table() -> Table:
    numbers, words = ORDER["number"], ORDER["word"]
    rows = [[Cell(f"r{place}"), Cell(words[place]), Cell(number, "9")] for place, number in enumerate(numbers)]
    return Table("To be sorted", ["row", "word", "number"], rows, words=2)


def lines() -> str:
    with styled():
        figure = Figure(figsize=(WIDTH, 3), layout="constrained")
        figure.add_subplot().plot([1, 2, 3], label="a")
        return in_page(drawing("lines", "lines", figure).svg)


def slice_of(side: int) -> Picture:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((side, side * 3 // 4)).save(file, "PNG")
    return Picture(
        "figures/slice.png", "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(), "a slice"
    )


# JavaScript: what is wrong with the page

OUTSIDE = """() => {
  // text beyond its own cell, paragraph or caption, and blocks beyond the window that no region scrolls
  const found = [];
  const blocks = "h1, h2, h3, p, th, td, caption, summary, figcaption, li, label, img";
  for (const block of document.querySelectorAll(blocks)) {
    if (!block.checkVisibility({ contentVisibilityAuto: true })) continue;
    const box = block.getBoundingClientRect();
    const range = document.createRange();
    range.selectNodeContents(block);
    for (const text of range.getClientRects())
      if (text.left < box.left - 1 || text.right > box.right + 1) found.push(block.textContent.slice(0, 60));
    const edge = document.documentElement.clientWidth + 1;
    if (box.right > edge && !block.closest(".scroll")) found.push(`${block.tagName} ${block.textContent.slice(0, 60)}`);
  }
  return [...new Set(found)];
}"""
FAINT = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (block) => {
    for (let each = block; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
  };
  const worst = {};
  for (const block of document.querySelectorAll("body *")) {
    if (![...block.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
    if (["SCRIPT", "STYLE"].includes(block.tagName)) continue;
    const [a, b] = [getComputedStyle(block).color, behind(block)].map(light);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    worst[block.tagName] = Math.min(contrast, worst[block.tagName] ?? 99);
  }
  return worst;
}"""
