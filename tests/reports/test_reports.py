"""The report: numbers worked by hand, names that try to be markup, files that are broken."""

import html
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from records import (
    ALERT,
    CLASSES,
    case_scores,
    drawn_blank,
    group,
    hostile_folder,
    make,
    report,
    rows,
    texts,
    without_folds,
    without_script,
    write,
)

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.record import Phase, write_failure
from atso_bench.reports.build import build
from atso_bench.reports.data.frame import read
from atso_bench.reports.pages import tables
from atso_bench.reports.pages.page import markdown_text
from atso_bench.reports.words import ranges

# Scores


def test_mean_and_standard_deviation_over_seeds_are_those_worked_by_hand(tmp_path: Path) -> None:
    """0.5, 0.6 and 0.7: mean 0.6, squared deviations 0.01 + 0 + 0.01 over n - 1 = 2, so the deviation is 0.1."""
    write(tmp_path, *(make("atso", seed=seed, score=0.5 + seed / 10) for seed in range(3)))
    write(tmp_path, *(make("supervised", seed=seed, score=0.4) for seed in range(3)))
    table = tables.scores(group(tmp_path))
    assert table.columns == ["method", "10 % (4 cases)"]
    assert texts(table) == [["supervised", "0.400 ± 0.000 n = 3"], ["atso", "0.600 ± 0.100 n = 3"]]
    page, text = report(tmp_path)
    assert "<strong>0.600 ± 0.100</strong></a> <small>n = 3</small>" in page
    assert "| atso | **0.600 ± 0.100** (n = 3) |" in text
    assert "no test was made" in page
    assert "no test was made" in text


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    write(tmp_path, make("atso", score=0.5), make("supervised", score=0.25))
    assert texts(tables.scores(group(tmp_path))) == [["supervised", "0.250 n = 1"], ["atso", "0.500 n = 1"]]
    page, text = report(tmp_path)
    assert not re.search(r"\bnan\b", page + text, re.IGNORECASE)


def test_a_method_alone_in_its_column_is_not_called_best(tmp_path: Path) -> None:
    write(tmp_path, make("atso", "10", score=0.5), make("supervised", "10", score=0.4), make("atso", "20", score=0.6))
    table = tables.scores(group(tmp_path))
    assert [[cell.strong for cell in row[1:]] for row in table.rows] == [[False, False], [True, False]]
    assert texts(table)[0] == ["supervised", "0.400 n = 1", "–"]


def test_an_undefined_score_is_counted_and_not_taken_for_zero(tmp_path: Path) -> None:
    write(tmp_path, make(seed=0, score=0.5), make(seed=1, score=None), make("supervised", score=None))
    assert texts(tables.scores(group(tmp_path))) == [
        ["supervised", "– n = 0, 1 undefined"],
        ["atso", "0.500 n = 1, 1 undefined"],
    ]
    report(tmp_path)


def test_fractions_stand_from_few_to_many_cases_and_full_supervision_is_the_upper_bound(tmp_path: Path) -> None:
    write(tmp_path, *(make("supervised", fraction, score=0.5) for fraction in ("100", "5", "20")))
    write(tmp_path, make("supervised", "16cases", labelled=16))
    heads = tables.scores(group(tmp_path)).columns[1:]
    full = "100 % (40 cases), upper bound: supervised"
    assert heads == ["5 % (2 cases)", "20 % (8 cases)", "16 cases (40 %)", full]
    assert "upper bound" in drawn_blank(tmp_path)


def test_different_budgets_data_metrics_and_recipes_are_never_in_one_table(tmp_path: Path) -> None:
    alone = make("supervised", score=0.111)
    write(tmp_path, alone, make("atso", score=0.222))
    others = [
        make("atso", score=0.3, steps=2400),
        make("atso", score=0.3, spec={"budget": Budget("1200", 1200, "phase")}),
        make("atso", score=0.3, spec={"configuration": "3d_fullres"}),
        make("atso", score=0.3, spec={"dataset": "liver"}),
        make("atso", seed=1, score=0.3, data="data1"),
        make("atso", seed=2, score=0.3, metrics_version=2),
        make("atso", seed=3, score=0.3, recipe={"patch": [64, 64], "batch": 8, "lr": 0.01}),
        make("atso", seed=4, score=0.3, metric="miou"),
        make("atso", score=0.3, spec={"validation": 10.0}),
        make("atso", score=0.3, spec={"validation": 10.0, "scored": "validation"}),
    ]
    write(tmp_path, *others)
    groups = read(tmp_path).groups()
    assert len(groups) == 1 + len(others)
    assert sorted(len(each.runs) for each in groups) == [1] * len(others) + [2]
    page = drawn_blank(tmp_path)
    assert "Do not compare their scores" in page
    (differ,) = re.findall(r"The comparisons differ in: ([^.]*)\.", page)
    assert differ == (
        "dataset, metric, configuration, budget, steps, parity, recipe, scored, validation, data, metrics"
    )
    assert len(re.findall(r"<caption>(?:Dice|mIoU) on the ", page)) == len(groups)


def test_options_set_two_variants_of_a_method_apart(tmp_path: Path) -> None:
    write(tmp_path, make("atso"), make("atso", spec={"options": {"subsets": 4}}, options={"subsets": 4}))
    assert group(tmp_path).labels == ["atso (subsets=2)", "atso (subsets=4)"]


def test_a_reader_is_told_of_unequal_seeds_splits_and_commits(tmp_path: Path) -> None:
    other = make("supervised").split
    write(tmp_path, make("atso", seed=0), make("atso", seed=1), make("supervised", split={**other, "hash": "else"}))
    write(tmp_path, make("mean-teacher", environment={"commit": "beef"}))
    page = drawn_blank(tmp_path)
    assert "different seeds (supervised: 0; atso: 0, 1; mean-teacher: 0)" in page
    assert "seed 0, the methods used different splits" in page
    assert "2 versions of the code: beef, c0ffee" in page


# Classes, time, lazy mimicking


def test_class_means_leave_out_undefined_cases_and_count_them(tmp_path: Path) -> None:
    """Organ: Dice 0.6 and 0, HD95 3 mm and undefined. Lesion: once both masks are empty, once Dice 0.5 and 2 mm."""
    first = {"organ": case_scores(0.6, 3.0), "lesion": case_scores(None, None, "both")}
    second = {"organ": case_scores(0.0, None, "prediction"), "lesion": case_scores(0.5, 2.0)}
    write(tmp_path, make(cases={"t0": first, "t1": second}))
    table = tables.classes(group(tmp_path))
    place = ["10 % (4 cases)", "atso"]
    assert table.columns[3:7] == ["Dice", "NSD", "HD95 (mm)", "ASSD (mm)"]
    assert texts(table) == [
        ["organ", *place, "0.300", "0.300", "3.00 1 undefined", "3.00 1 undefined", "2", "1", "0", "0"],
        ["lesion", *place, *["0.500 1 undefined"] * 2, *["2.00 1 undefined"] * 2, "2", "0", "0", "1"],
    ]


def test_time_is_summed_by_kind_and_shared_phases_count(tmp_path: Path) -> None:
    write(tmp_path, make(seed=0), make(seed=1))
    table = tables.costs(group(tmp_path))
    shown = dict(zip(table.columns, texts(table)[0], strict=True))
    times = {"train": "40.0", "pseudo labels": "5.0", "evaluate": "2.0", "together": "47.0", "diagnostics": "7.0"}
    assert {kind: shown[f"{kind} (s)"] for kind in times} == times
    assert (shown["steps/s"], shown["samples/s"]) == ("30.0", "60.0")
    assert (shown["process (GiB)"], shown["device (GiB)"]) == ("2.00", "3.00")
    assert (shown["steps spent"], shown["teacher patches"], shown["pseudo-labelled cases"]) == ("1,200", "36", "36")
    assert shown["shared phases"] == "2 of 10"
    assert "count in full for each method" in drawn_blank(tmp_path)


def test_an_option_that_came_later_had_its_default_before(tmp_path: Path) -> None:
    old = make("atso", seed=0, options={"subsets": 2})
    new = make("atso", seed=1, options={"subsets": 2, "rate": 1.0})
    other = make("atso", seed=2, spec={"options": {"rate": 0.5}}, options={"subsets": 2, "rate": 0.5})
    write(tmp_path, old, new)
    assert set(read(tmp_path).runs["label"]) == {"atso"}
    write(tmp_path, other)
    labels = read(tmp_path).runs.set_index("seed")["label"]
    assert labels.sort_index().tolist() == ["atso (rate=1)", "atso (rate=1)", "atso (rate=0.5)"]


def test_lazy_mimicking_is_averaged_over_seeds_and_tolerates_missing_rates(tmp_path: Path) -> None:
    first = {"phase": "M0", "generation": 0, "subset": 0, "cases": 36, "pseudo_dice": 0.4}
    entry = {"phase": "generation 2, subset 1", "generation": 2, "subset": 1, "cases": 18, "agreement": 0.6}
    entry |= {"agreement_by_class": {"organ": 0.5, "lesion": 0.7}, "agreement_inside": 0.9, "agreement_outside": 0.6}
    later = {"generation": 10, "subset": None, "pseudo_dice": {"organ": 0.5, "lesion": None}, "correction_rate": None}
    for seed in (0, 1):
        entries = [later, {**entry, "update_rate": 0.2 + seed / 10}, first]
        write(tmp_path, make(seed=seed, diagnostics=entries))
    head = ["10 % (4 cases)", "atso"]
    by_class = "0.600 organ 0.500, lesion 0.700"
    assert texts(tables.mimicking(group(tmp_path))) == [
        [*head, "M0", "36", "–", "–", "–", "–", "0.400", "–", "–", "2"],
        [*head, "generation 2, subset 1", "18", "0.250", by_class, "0.900", "0.600", "–", "–", "–", "2"],
        [*head, "generation 10", "–", "–", "–", "–", "–", "0.500 organ 0.500, lesion –", "–", "–", "2"],
    ]
    assert "Lazy mimicking" in drawn_blank(tmp_path)


def test_what_a_confidence_leaves_of_pseudo_labels_is_a_column_where_it_was_used(tmp_path: Path) -> None:
    for seed, coverage in enumerate((0.5, 0.7)):
        entry = {"phase": "M0", "generation": 0, "subset": 0, "cases": 36, "pseudo_dice": 0.4, "coverage": coverage}
        write(tmp_path, make(seed=seed, diagnostics=[entry]))
    table = tables.mimicking(group(tmp_path))
    assert texts(table) == [["10 % (4 cases)", "atso", "M0", "36", "–", "–", "–", "–", "0.400", "–", "–", "0.600", "2"]]
    assert len(table.columns) == len(table.rows[0])


def test_there_is_no_section_on_mimicking_where_nothing_was_pseudo_labelled(tmp_path: Path) -> None:
    assert "Lazy mimicking" not in drawn_blank(write(tmp_path, make("supervised")))


# What goes wrong


def test_failures_are_listed_with_the_way_on(tmp_path: Path) -> None:
    write(tmp_path, make(warnings=["M0 predicts no foreground"]))
    write_failure(tmp_path, make("mean-teacher").spec, "M0", RuntimeError("out of memory | <b>"))
    page, text = report(tmp_path)
    assert "mean-teacher on phantom, 10 %, seed 0" in page
    assert "RuntimeError: out of memory | &lt;b&gt;" in page
    assert r"RuntimeError: out of memory \| &lt;b&gt;" in text
    assert "Run the same command again" in page
    assert "M0 predicts no foreground" in page
    assert "1 finished run, 1 failure" in page


def test_a_folder_with_failures_alone_still_gives_a_report(tmp_path: Path) -> None:
    write_failure(tmp_path, make().spec, "M0", RuntimeError("out of memory"))
    assert "out of memory" in report(tmp_path)[0]
    assert rows(tmp_path) == []


@pytest.mark.parametrize("torn", ["{", "{}", "[]", '{"schema": 99}', "\x00", "null"])
def test_an_unreadable_record_is_a_failure_of_its_own(tmp_path: Path, torn: str) -> None:
    write(tmp_path, make())
    for name in ("seed1-aa.json", "seed1-aa.failed.json"):
        (tmp_path / "records" / name).write_text(torn, encoding="utf-8")
    page = drawn_blank(tmp_path)
    assert "1 finished run, 2 failures" in page
    assert "records/seed1-aa.json is not a readable record" in page
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    "wrong",
    [
        *({"cases": []}, {"split": {}}, {"environment": []}, {"pool_size": 0}, {"options": 1}, {"labelled": 0}),
        *({"metric": None}, {"diagnostics": [{"phase": "M0", "generation": [1]}]}),
        *(
            {"phases": [Phase("M0", "train", 1.0, **count)]}
            for count in ({"steps": "7"}, {"samples": 1.5}, {"steps": 2**63})
        ),
        *({"seed": seed} for seed in (1.5, 2**70)),
    ],
)
def test_a_record_of_the_wrong_shape_is_a_failure_of_its_own(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write(tmp_path, make(), make(**{"seed": 1, **wrong}))
    frames = read(tmp_path)
    assert (len(frames.runs), len(frames.failures)) == (1, 1)


def test_a_copied_record_does_not_count_twice(tmp_path: Path) -> None:
    path = make().write(tmp_path)
    (tmp_path / "records" / "copy").mkdir()
    (tmp_path / "records" / "copy" / path.name).write_bytes(path.read_bytes())
    frames = read(tmp_path)
    assert (len(frames.runs), len(frames.failures)) == (1, 1)
    assert "same run as" in frames.failures[0].message


def test_an_empty_folder_says_what_makes_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no records under .*records; .*`atso-bench run`"):
        build(tmp_path)
    assert not (tmp_path / "report").exists()


# Names that try to be something else


def test_names_are_shown_as_text_and_never_become_markup(tmp_path: Path) -> None:
    page, text = report(hostile_folder(tmp_path))
    assert "<script" not in without_script(page)
    assert "<img src=x" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for figure in (tmp_path / "report" / "figures").glob("*.svg"):
        assert not [part for part in ElementTree.parse(figure).iter() if part.tag.endswith("script")]
    assert "<" not in without_folds(text)
    assert r"a\|b\*c\*&lt;img" in text
    assert not re.search(r"^# heading", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    widths = [
        [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        for block in text.split("\n\n")
        if block.startswith("|")
    ]
    assert widths
    assert all(len(set(block)) == 1 for block in widths)


def test_no_cell_of_the_csv_that_came_from_a_name_is_a_formula(tmp_path: Path) -> None:
    table = rows(hostile_folder(tmp_path))
    assert {row["case"] for row in table} == {ALERT, "'=cmd()"}
    assert {row["class"] for row in table} == {ALERT, "'=cmd()"}
    assert not [cell for row in table for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b\nc", r"a\|b c"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("snake_case _it_ *b*", r"snake_case \_it\_ \*b\*"),
        ("`x` [y](z) # ~~w~~ \\", r"\`x\` \[y\](z) \# \~\~w\~\~ \\"),
    ],
)
def test_markdown_shows_text_as_it_is(text: str, expected: str) -> None:
    assert markdown_text(text) == expected


@pytest.mark.parametrize(("seeds", "words"), [([0], "0"), ([2, 0, 1, 5], "0–2, 5"), ([1, 2], "1, 2"), ([3, 3], "3")])
def test_seeds_are_written_short(seeds: list[int], words: str) -> None:
    assert ranges(seeds) == words


# Files


def test_the_csv_has_a_row_for_each_run_case_and_class(tmp_path: Path) -> None:
    undefined = {name: {each: case_scores(None, None, "both") for each in CLASSES} for name in ("t0", "t1")}
    write(tmp_path, make(seed=0), make(seed=1, cases=undefined), make("supervised", "20"))
    table = rows(tmp_path)
    assert len(table) == 3 * 2 * 2
    first = table[0]
    expected = {"dataset": "phantom", "method": "atso", "fraction": "10", "labelled_cases": "4", "seed": "0"}
    expected |= {"steps": "1200", "parity": "total", "key": make().spec.key, "case": "t0", "class": "organ"}
    expected |= {"tp": "8", "dice": "0.8", "hd95_mm": "4.0", "volume_reference_ml": "2.0", "empty": ""}
    assert {name: first[name] for name in expected} == expected
    assert {(row["dice"], row["hd95_mm"], row["empty"]) for row in table if row["seed"] == "1"} == {("", "", "both")}


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    records = [
        make(method, fraction, seed)
        for method in ("atso", "supervised")
        for fraction in ("10", "100")
        for seed in (0, 1)
    ]
    for name, order in (("a", records), ("b", records[::-1])):
        build(write(tmp_path / name, *order))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a" / "report").rglob("*.*"))
    assert {path.suffix for path in files} == {".html", ".md", ".csv", ".parquet", ".svg", ".png", ".tex"}
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_figures_of_records_that_are_gone_are_removed(tmp_path: Path) -> None:
    old, new = make(), make(data="data1")
    build(write(tmp_path, old))
    folders = [tmp_path / "report" / name for name in ("figures", "tables")]
    before = {path for folder in folders for path in folder.iterdir()}
    mine = [folder / "mine.svg" for folder in folders]
    for file in mine:
        file.write_text("<svg/>", encoding="utf-8")
    (tmp_path / "records" / old.spec.path).unlink()
    build(write(tmp_path, new))
    after = {path for folder in folders for path in folder.iterdir()}
    assert {path.suffix for path in before} == {".svg", ".png", ".tex"}
    assert not before & after
    assert len(after) == len(before) + len(mine), "of the new records, and those that are not ours"


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    page, text = report(write(tmp_path, make(), make("supervised", "100")))
    assert "http://" not in page
    assert "https://" not in page
    assert "http" not in text
    assert "default-src 'none'" in page
    assert not re.findall(r"<(?:script|link|iframe|object|embed|base)\b", without_script(page))
    assert all(uri.startswith("data:image/svg+xml;base64,") for uri in re.findall(r'src="([^"]*)"', page))
    targets = {html.unescape(target) for target in re.findall(r'href="([^"]*)"', page)}
    assert targets
    for target in targets:
        assert target.startswith("#") or (tmp_path / "report" / target).resolve().is_file()
    assert "](figures/label-efficiency-" in text


def test_every_number_leads_to_its_record(tmp_path: Path) -> None:
    record = make()
    page, text = report(write(tmp_path, record))
    for shown in (page, text):
        assert f"records/{record.spec.path.as_posix()}" in shown
        for fact in ("split-10-0", "data0", "c0ffee", "torch 2.10.0", "atso-bench run --method atso"):
            assert fact in shown


def test_nothing_of_a_record_is_lost_on_the_way_to_the_frames(tmp_path: Path) -> None:
    record = replace(make(), teacher_patches=7)
    path = record.write(tmp_path)
    assert json.loads(path.read_text(encoding="utf-8"))["teacher_patches"] == 7
    assert read(tmp_path).runs["teacher_patches"].tolist() == [7]


def test_a_report_needs_no_torch(tmp_path: Path) -> None:
    write(tmp_path, make())
    program = (
        "import sys, pathlib; from atso_bench.reports.build import build; build(pathlib.Path(sys.argv[1]));"
        "print([name for name in ('torch', 'nnunetv2', 'atso_bench.benchmark.task') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_runs_that_several_versions_of_a_methods_code_made_say_so(tmp_path):
    for seed, code in enumerate(("one", "two", "one", "")):
        make(seed=seed, code=code).write(tmp_path)
        make("supervised", seed=seed, code=code and "one").write(tmp_path)
    told = {(run.method, tuple(run.warnings)) for run in read(tmp_path).runs.itertuples()}
    text = "the 4 runs of atso come from 2 versions of its code; run the same command again"
    assert told == {("atso", (text,)), ("supervised", ())}
