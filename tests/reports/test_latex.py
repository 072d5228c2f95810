"""LaTeX tables: what a reader sees is what the table holds, and no name is a command."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from atso_bench.reports.pages.latex import NARROW, ROWS, escape, to_latex
from atso_bench.reports.pages.page import Cell, Table

HOSTILE = [
    "\\input{/etc/passwd}",
    "\\end{tabular}",
    "$x$ & y_1^2 #1 50 % {a} ~",
    "[2cm] after a line break",
    "*]",
    "<script>alert(1)</script>",
    "^^5cinput ?` !` -- '' `` --- –-",
    "é Ł 日本 \N{GRINNING FACE} \x07\u202e",
    "long" * 50,
    "two\nlines\\\\",
    "",
]
SHOWN = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textbar{}": "|",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"$\pm$": "±",
    "$-$": "−",
    r"$\times$": "×",
    **{f"\\{sign}": sign for sign in "{}$&#_%"},
}
RULES = {r"\toprule", r"\midrule", r"\bottomrule", r"\addlinespace"}


def scores(methods: int = 3, fractions: int = 2, note: str = "n = 3, 0.690 to 0.733") -> Table:
    cell = Cell("0.712 ± 0.010", note)
    rows = [[Cell(f"method-{place}"), *[cell] * fractions] for place in range(methods)]
    heads = [f"{2**place} % ({place + 2} cases)" for place in range(fractions)]
    return Table("Dice on the test set", ["method", *heads], rows)


def tabulars(tex: str) -> list[tuple[int, list[list[str]]]]:
    """Of each table its number of columns and its rows of cells, head first; heads of several lines are joined."""
    found = []
    for kinds, body in re.findall(
        r"^\\begin\{(?:tabular|xltabular)\}(?:\{\\linewidth\})?\{@\{\}(.*?)@\{\}\}\n(.*?)^\\end\{(?:xl)?tabular\}$",
        tex,
        re.M | re.S,
    ):
        flat = re.sub(r"\\begin\{tabular\}\[b\]\{@\{\}r@\{\}\}(.*?)\\end\{tabular\}", r"\1", body)
        head, _, rest = flat.partition("\\midrule\n")
        lines = [*head.splitlines()[-1:], *rest.rpartition("\\endlastfoot\n")[2].splitlines()]
        lines = [line for line in lines if line not in RULES]
        assert all(re.search(r" \\tabularnewline\*?$", line) for line in lines)
        cells = [re.split(r"(?<!\\) ?& ?", re.sub(r" \\tabularnewline\*?$", "", line)) for line in lines]
        found.append(
            (
                len(
                    re.findall(
                        "[lrpX]", re.sub(r"[>p]\{(?:[^{}]|\{.*?\})*\}", lambda kind: "p" * (kind[0][0] == "p"), kinds)
                    )
                ),
                cells,
            )
        )
    return found


def read(tex: str) -> str:
    """What LaTeX shows of `escape`'s text, by another way than the one it was written."""
    places = {chr(0xE000 + place): sign for place, sign in enumerate(SHOWN.values())}
    for place, command in zip(places, SHOWN, strict=True):
        tex = tex.replace(command, place)
    assert not re.search(r"[\\$&#_%^~]", tex), f"a command is left: {tex}"
    return "".join(places.get(sign, sign) for sign in re.sub(r"[{}]", "", tex))


# What stands in it


def test_a_table_worked_by_hand() -> None:
    rows = [
        [Cell("supervised"), Cell("0.600 ± 0.100", "n = 3", strong=True), Cell("–")],
        [Cell("a_b"), Cell("−0.5", "n = 3"), Cell("1 × 2", "n = 3")],
    ]
    assert to_latex(Table("Dice, 50 %", ["method", "10 %", "20 %"], rows), "tab:dice") == (
        "% The preamble needs \\usepackage{booktabs,adjustbox,rotating}; \\input this file where the table belongs.\n"
        "\\begin{table}\n"
        "\\centering\\small\\setlength{\\tabcolsep}{3pt}\n"
        "\\caption{Dice, 50 \\%; n = 3}\\label{tab:dice}\n"
        "\\par\\medskip\\begin{adjustbox}{max width=\\linewidth,max totalheight=0.8\\textheight}\n"
        "\\begin{tabular}{@{}lrr@{}}\n"
        "\\toprule\n"
        "method & 10 \\% & 20 \\% \\tabularnewline\n"
        "\\midrule\n"
        "supervised & \\textbf{0.600 $\\pm$ 0.100} & -- \\tabularnewline\n"
        "a\\_b & $-$0.5 & 1 $\\times$ 2 \\tabularnewline\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\end{adjustbox}\n"
        "\\end{table}\n"
    )


def test_seeds_that_are_the_same_everywhere_stand_in_the_caption_and_intervals_below_the_numbers() -> None:
    tex = to_latex(scores(), "tab:dice")
    assert r"\caption{Dice on the test set; n = 3}" in tex
    assert r" & {\scriptsize 0.690 to 0.733} & {\scriptsize 0.690 to 0.733} \tabularnewline" in tex
    assert tex.count("n = 3") == 1
    assert tex.count(r"\addlinespace") == 3


def test_seeds_that_differ_stand_in_the_cells() -> None:
    table = Table("Dice", ["method", "10 %"], [[Cell("a"), Cell("0.5", "n = 3")], [Cell("b"), Cell("0.4", "n = 2")]])
    tex = to_latex(table, "tab:dice")
    assert r"\caption{Dice}" in tex
    assert r"{\scriptsize n = 2}" in tex


def test_a_long_note_is_a_footnote_and_said_once() -> None:
    reason = "4 of 4 pairs differ, and fewer than 6 cannot show anything"
    rows = [[Cell(name), Cell("not tested", note)] for name, note in (("a", reason), ("b", "too few"), ("c", reason))]
    rows.append([Cell("d"), Cell("not tested", reason.replace("4", "5"))])
    tex = to_latex(Table("Tests", ["method", "verdict"], rows), "tab:tests")
    assert tex.count(rf"\par\medskip{{\raggedright\scriptsize $^{{a}}$ {reason}") == 1
    assert tex.count(r"\quad $^{b}$") == 1
    assert tex.count("not tested$^{a}$") == 2
    assert tex.count("not tested$^{b}$") == 1
    assert r"{\scriptsize too few}" in tex


# Wide and long


def test_seventeen_methods_at_six_fractions_are_scaled_to_the_page() -> None:
    tex = to_latex(scores(17, 6, note="0.690 to 0.733"), "tab:dice")
    ((columns, cells),) = tabulars(tex)
    assert columns == 7
    assert len(cells) == 1 + 2 * 17, "a head, and two lines a method"
    assert r"max width=\linewidth" in tex


@pytest.mark.parametrize("methods", [ROWS, 200])
def test_a_table_loses_no_row_and_a_long_one_goes_on_with_its_head_on_every_page(methods: int) -> None:
    tex = to_latex(scores(methods, 1, note=""), "tab:dice")
    ((_, cells),) = tabulars(tex)
    assert [row[0] for row in cells[1:]] == [f"method-{place}" for place in range(methods)]
    assert (r"\endhead" in tex) == (methods > ROWS)
    assert tex.count("method & ") == 1 + (methods > ROWS)


def test_no_page_ends_between_a_number_and_its_note() -> None:
    tex = to_latex(scores(ROWS + 1, 2), "tab:dice")
    rows = [line for line in tex.splitlines() if line.startswith("method-")]
    assert len(rows) == ROWS + 1
    assert all(row.endswith(r"\tabularnewline*") for row in rows)


@pytest.mark.parametrize("rows", [3, ROWS + 1])
def test_the_columns_of_words_and_numbers_share_the_page_and_wide_tables_lie_on_their_side(rows: int) -> None:
    for columns in (NARROW - 1, NARROW):
        tex = to_latex(scores(rows, columns, note=""), "t")
        widths = [float(share) for share in re.findall(r"\\hsize=([0-9.]+)\\hsize", tex)]
        assert sum(widths) == pytest.approx(len(widths), abs=0.01), "tabularx wants shares that add up to the columns"
        assert (r"\begin{landscape}" in tex or r"\begin{sidewaystable}" in tex) == (columns >= NARROW)


def paired(*seeds: str) -> Table:
    """As wide as the table of paired tests."""
    heads = ["label fraction", "method", "verdict", "difference", "95 % interval", "effect size", "seeds"]
    heads += ["p, Wilcoxon (Holm)", "p over seeds and cases (Holm)"]
    numbers = ("−0.03{}", "−0.101 to +0.03{}", "−0.9{}", "0.00{}", "0.32{}")
    rows = []
    for fraction, place in product(("2 % (4 cases)", "10 % (21 cases)"), range(3)):
        cells = [Cell(number.format(place)) for number in numbers]
        names = map(Cell, (fraction, f"method-{place}", "worse in these trainings"))
        rows.append([*names, *cells[:3], Cell(seeds[place % len(seeds)]), *cells[3:]])
    return Table("Difference from supervised", heads, rows, words=3)


def test_a_wide_table_says_once_what_its_rows_have_in_common() -> None:
    tex = to_latex(paired("3"), "tab:tests")
    ((columns, cells),) = tabulars(tex)
    assert r"\caption{Difference from supervised; seeds: 3}" in tex
    assert cells[0][:5] == ["label fraction", "method", "verdict", "difference", r"95 \% interval"]
    assert columns == 8


def test_a_column_that_differs_or_a_table_with_room_stays_as_it_is() -> None:
    assert "seeds:" not in to_latex(paired("3", "2"), "tab:tests")
    narrow = Table("Few", ["method", "seeds"], [[Cell("a"), Cell("3")], [Cell("b"), Cell("3")]])
    assert tabulars(to_latex(narrow, "t"))[0][1] == [["method", "seeds"], ["a", "3"], ["b", "3"]]
    many = Table("None", ["method", *(f"column {place}" for place in range(40))], [])
    assert tabulars(to_latex(many, "t"))[0][0] == 41


def test_long_words_wrap_and_heads_stand_on_several_lines() -> None:
    table = Table("t", ["machine", "pseudo-labelled cases of the pool"], [[Cell("a word " * 9), Cell("36")]])
    tex = to_latex(table, "t")
    assert "{@{}p{5cm}r@{}}" in tex
    assert r"\raggedright a word" in tex
    assert r"\begin{tabular}[b]{@{}r@{}}pseudo- \\ labelled cases \\ of the pool\end{tabular}" in tex


@pytest.mark.parametrize(
    "table", [Table("none", ["method", "10 %"], []), Table("words", ["a"], [[Cell("b")]])], ids=str
)
def test_a_table_without_rows_or_numbers_is_a_table(table: Table) -> None:
    assert len(tabulars(to_latex(table, "t"))) == 1


# Names that try to be something else


def hostile_table() -> Table:
    rows = [[Cell(name, name[:20], strong=bool(place % 2)), Cell(name, name)] for place, name in enumerate(HOSTILE)]
    return Table(" ".join(HOSTILE), [HOSTILE[0], HOSTILE[3]], rows, words=1)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.isascii() and "-" not in name], ids=ascii)
def test_an_escaped_name_is_shown_as_it_is(name: str) -> None:
    assert read(escape(name)) == " ".join(name.split())


def test_no_two_signs_become_another_sign() -> None:
    assert escape("a-b c--d") == "a-b c-{}-d"
    assert escape("?` !` '' ``") == "?{}` !{}` '{}' `{}`"
    assert escape("–- -–") == "--{}- -{}--"


def test_nothing_at_a_rows_beginning_is_taken_by_the_line_break_before_it() -> None:
    assert escape("[2cm]*") == "{[}2cm{]}{*}"


def test_letters_without_a_glyph_are_named_by_their_number() -> None:
    assert escape("é ç ü") == r"\'{e} \c{c} \"{u}"
    assert escape("日 Ł") == "{[}U+65E5{]} {[}U+0141{]}"
    assert to_latex(hostile_table(), "t").isascii()


def test_hostile_names_leave_the_structure_alone() -> None:
    tex = to_latex(hostile_table(), "tab:\\x}{ y")
    bare = re.sub(r"\\[{}]", "", tex)
    assert bare.count("{") == bare.count("}")
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert len(re.findall(r"\\begin\{table\}", tex)) == len(re.findall(r"\\end\{table\}", tex)) == 1
    for columns, cells in tabulars(tex):
        assert {len(row) for row in cells} == {columns}
    assert r"\label{tab:-x-y}" in tex
    allowed = """
        linewidth textheight textwidth
        textbackslash textasciitilde textasciicircum textless textgreater textbf raggedright scriptsize footnotesize
        small centering par medskip begin end toprule midrule bottomrule tabularnewline addlinespace setlength tabcolsep
        caption label quad
    """
    body = tex.partition("\n")[2]
    assert {*re.findall(r"\\([A-Za-z]+)", body)} <= set(allowed.split())
    assert not re.search(r"(?<!\\)[#~]|(?<!\\)%", body)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_pdflatex_compiles_them_with_the_packages_that_they_name(tmp_path: Path) -> None:
    tables = [hostile_table(), scores(17, 6), scores(3, 1, "a note that is long" * 3), paired("3"), paired("3", "2")]
    parts = [to_latex(table, f"tab:{place}") for place, table in enumerate([*tables, scores(99), scores(50, 14)])]
    packages = {name for part in parts for name in re.findall(r"usepackage\{(.*?)\}", part)[0].split(",")}
    head = rf"\documentclass{{article}}\usepackage{{{','.join(sorted(packages))}}}\begin{{document}}" + "\n"
    (tmp_path / "page.tex").write_text(head + "\n".join(parts) + "\\end{document}\n", encoding="ascii")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "page.tex"],
        cwd=tmp_path, capture_output=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
