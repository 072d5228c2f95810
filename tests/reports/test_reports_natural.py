"""The report of street scenes: IoU from counts worked by hand, absent classes, protocols, and no Dice among mIoU."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import (
    ALERT,
    FRAMES,
    STREET,
    counted,
    drawn_blank,
    frames,
    group,
    make,
    report,
    rows,
    section,
    street,
    texts,
    told,
    without_folds,
    without_script,
    write,
)

from atso_bench.reports.build import build
from atso_bench.reports.data.frame import read
from atso_bench.reports.pages import natural, tables
from atso_bench.reports.pages.page import Table

HEAD = "10 % (4 frames)"


# Classes


def test_counts_of_all_frames_are_summed_before_the_ratio_and_seeds_are_averaged_after_it(tmp_path: Path) -> None:
    """Road: 9 / 12 = 0.75, where the mean of the frames' 0.5 and 0.8 is 0.65; the other seed's 1 / 4: mean 0.5."""
    other = frames(((1, 3, 0), (6, 2, 2), (0, 0, 0)), ((0, 0, 0), (0, 0, 0), (0, 0, 0)))
    write(tmp_path, street(), street("supervised"), street("supervised", seed=1, cases=other))
    table = natural.classes(group(tmp_path))
    assert table.columns == ["class", "label fraction", "frames with it", "supervised", "atso"]
    assert [row[0] for row in texts(table)] == STREET[:2]  # the third never occurs
    assert texts(table)[0][3:] == ["0.500", "0.750"]
    assert texts(table)[1][3:] == ["0.600", "0.600"]


def test_a_class_that_never_occurs_has_no_number_though_it_was_predicted(tmp_path: Path) -> None:
    write(tmp_path, street(), street(seed=1), street("supervised"))
    assert texts(natural.classes(group(tmp_path))) == [
        ["road", HEAD, "2", "0.750", "0.750"],
        ["car", HEAD, "1", "0.600", "0.600"],
    ]
    said = "Classes that do not occur in the test set have no IoU and are not in mIoU: train."
    page, text = report(tmp_path)
    assert said in page
    assert said in text


def test_where_every_class_occurs_none_is_called_absent(tmp_path: Path) -> None:
    write(tmp_path, street(cases=frames(((1, 0, 1), (0, 0, 1), (0, 0, 1)))))
    assert natural.absent(group(tmp_path)) == []
    assert "Never in the reference" not in drawn_blank(tmp_path)


def test_a_class_has_a_row_per_label_fraction_and_a_dash_for_a_method_without_a_run(tmp_path: Path) -> None:
    write(tmp_path, street("atso", "10"), street("supervised", "20"))
    assert [row[:5] for row in texts(natural.classes(group(tmp_path)))][:2] == [
        ["road", HEAD, "2", "–", "0.750"],
        ["road", "20 % (8 frames)", "2", "0.750", "–"],
    ]


def test_a_class_that_some_validation_sets_lack_is_averaged_over_the_others_and_counted(tmp_path: Path) -> None:
    validated = {"spec": {"validation": 10.0, "scored": "validation"}}
    without = frames(((1, 1, 2), (0, 1, 0), (0, 0, 0)))
    write(tmp_path, street(**validated), street(seed=1, cases=without, **validated))
    assert texts(natural.classes(group(tmp_path)))[1] == ["car", HEAD, "0, 1", "0.600 1 undefined"]
    assert "do not occur in the validation set" in drawn_blank(tmp_path)


# What stands beside mIoU


def test_pixel_accuracy_and_per_frame_miou_have_mean_and_deviation_over_seeds(tmp_path: Path) -> None:
    """Per-frame mIoU 0.5 and 0.7: mean 0.6, squared deviations 0.01 + 0.01 over n - 1 = 1, so 0.141."""
    for seed, mean in enumerate((0.5, 0.7)):
        write(tmp_path, street(seed=seed, means={"frame_miou": mean}))
    table = natural.others(group(tmp_path))
    assert table.columns == ["label fraction", "method", "pixel accuracy", "per-frame mIoU"]
    assert texts(table) == [[HEAD, "atso", "0.900 ± 0.000 n = 2", "0.600 ± 0.141 n = 2"]]
    page = drawn_blank(tmp_path)
    assert "equals mIoU in every run" in page
    assert "Inference: whole image." in page


def test_the_official_miou_stands_where_it_differs(tmp_path: Path) -> None:
    write(tmp_path, street(official=0.45), street("supervised"))
    table = natural.others(group(tmp_path))
    assert table.columns[-1] == "official mIoU"
    assert [row[-1] for row in texts(table)] == ["0.675 n = 1", "0.450 n = 1"]
    page = drawn_blank(tmp_path)
    assert "counts as 0 if it is predicted somewhere but does not occur in the test set" in page
    assert "equals mIoU" not in page


def test_the_inference_that_was_used_is_said_and_not_the_word_that_asked_for_it(tmp_path: Path) -> None:
    used = {"recipe": {"evaluation": "sliding 801, stride 534"}}
    write(tmp_path, street(**used), street(seed=1, spec={"recipe": {"evaluation": "sliding"}}, **used))
    assert natural.words(group(tmp_path))[-1] == "Inference: sliding 801, stride 534."


def test_a_record_without_these_means_has_none_and_nothing_is_claimed_of_it(tmp_path: Path) -> None:
    write(tmp_path, street(summary={}))
    assert texts(natural.others(group(tmp_path))) == [[HEAD, "atso", *["– n = 0, 1 undefined"] * 2]]
    page, text = report(tmp_path)
    assert "official" not in page
    assert not re.search(r"\bnan\b", page + text, re.IGNORECASE)


@pytest.mark.parametrize(
    "wrong",
    [{"summary": []}, {"summary": {"metrics": []}}, {"recipe": {"protocol": "x"}}, {"recipe": {"protocol": [1]}}],
)
def test_a_record_of_the_wrong_shape_is_a_failure_of_its_own(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write(tmp_path, street(), street(seed=1, **wrong))
    found = read(tmp_path)
    assert (len(found.runs), len(found.failures)) == (1, 1)


# Protocols


def follows(*differs: str, name: str = "unimatch-801") -> dict[str, Any]:
    return {"recipe": {"protocol": {"name": name, "source": "Yang et al., CVPR 2023", "differs": list(differs)}}}


def test_a_protocol_is_named_with_every_difference_and_where_it_holds(tmp_path: Path) -> None:
    write(tmp_path, street("atso", "10", **follows("steps: 600, not 10", "no EMA")))
    write(tmp_path, street("atso", "20", **follows("steps: 600, not 20", "no EMA")))
    cell = tables.summary(group(tmp_path))["protocol"]
    assert cell.text == "unimatch-801 (Yang et al., CVPR 2023); the runs differ from it in:"
    assert cell.items == [
        "steps: 600, not 10 (at 10 % (4 frames))",
        "no EMA",
        "steps: 600, not 20 (at 20 % (8 frames))",
    ]
    page, text = report(tmp_path)
    assert f"<ul>{''.join(f'<li>{item}</li>' for item in cell.items)}</ul>" in page
    assert f"{cell.text} {'; '.join(cell.items)} |" in text


def test_differences_from_a_protocol_set_no_runs_apart(tmp_path: Path) -> None:
    write(tmp_path, street("atso", **follows("steps")), street("supervised", **follows("decay")), street(seed=1))
    assert len(group(tmp_path).runs) == 3
    assert "protocol" not in tables.summary(group(tmp_path))["recipe"].text


def test_a_protocol_that_is_followed_and_one_that_is_not_named(tmp_path: Path) -> None:
    assert "protocol" not in tables.summary(group(write(tmp_path / "none", street())))
    followed = tables.summary(group(write(tmp_path / "all", street(**follows()))))["protocol"]
    assert (followed.text.split("; ")[1], followed.items) == ("the runs note no difference from it.", [])


def test_published_lists_have_columns_of_their_own_beside_drawn_splits_and_the_upper_bound(tmp_path: Path) -> None:
    for fraction in ("10", "20"):
        write(tmp_path, street("atso", fraction, spec={"lists": {"labelled": [f"a{fraction}"]}}))
    write(tmp_path, street("atso", "10"), street("supervised", "100"))
    made = group(tmp_path)
    assert sorted(made.fractions) == ["10", "10 by list", "100", "20 by list"]
    assert [head.endswith(", published list)") for head in made.fractions.values()].count(True) == 2
    assert tables.summary(made)["case lists"].text == "published: labelled cases, where the column says so"
    write(tmp_path, street("atso", "10", spec={"lists": {"labelled": ["b"], "pool": ["b"]}}))
    write(tmp_path, street("atso", "10", spec={"split_by": "city"}))
    assert sorted(len(each.runs) for each in read(tmp_path).groups()) == [1, 1, 4]


def test_records_of_the_same_run_on_other_data_stand_apart_and_both_stay(tmp_path: Path) -> None:
    old, new = replace(street(), data="old data"), replace(street(), data="new data", score=0.9)
    for record in (old, new, new):
        record.write(tmp_path)
    groups = read(tmp_path).groups()
    assert sorted((each.facts["data"], len(each.runs), len(each.scores)) for each in groups) == [
        (data, 1, len(groups[0].scores)) for data in ("new data", "old data")
    ]
    assert not read(tmp_path).failures


# Lazy mimicking


def test_pseudo_labels_of_frames_are_judged_by_miou(tmp_path: Path) -> None:
    entry = {"phase": "generation 1", "generation": 1, "subset": None, "cases": 36, "agreement": 0.6}
    entry |= {"pseudo_miou": 0.45, "pseudo_miou_by_class": {"road": 0.5, "car": 0.4}, "update_rate": 0.1}
    write(tmp_path, street(diagnostics=[entry]))
    table = tables.mimicking(group(tmp_path))
    shown = dict(zip(table.columns, texts(table)[0], strict=True))
    assert shown["pseudo-label mIoU"] == "0.450 road 0.500, car 0.400"
    assert (shown["agreement (mIoU)"], shown["frames"], shown["update rate"]) == ("0.600", "36", "0.100")
    (words,) = section(tmp_path, "Lazy mimicking").words
    assert "changed share of all pixels" in words
    assert not re.search("voxel|foreground|Dice|case", words)


def test_pseudo_labels_of_volumes_are_judged_by_dice(tmp_path: Path) -> None:
    write(tmp_path, make(diagnostics=[{"phase": "M0", "cases": 36, "pseudo_dice": 0.4, "pseudo_miou": 0.9}]))
    table = tables.mimicking(group(tmp_path))
    shown = dict(zip(table.columns, texts(table)[0], strict=True))
    assert (shown["pseudo-label Dice"], shown["cases"], shown["agreement (Dice)"]) == ("0.400", "36", "–")
    assert (
        "changed share of the voxels in the foreground before or after" in section(tmp_path, "Lazy mimicking").words[0]
    )


# Both tracks in one report


def both(results: Path) -> Path:
    """Street scenes of score 0.1111 and volumes of score 0.9999, both with pseudo labels."""
    write(results, street(score=0.1111, diagnostics=[{"phase": "M0", "pseudo_miou": 0.1111}], **follows("steps")))
    return write(results, make(score=0.9999, diagnostics=[{"phase": "M0", "pseudo_dice": 0.9999}]))


def test_dice_and_miou_are_never_in_one_table_column_or_figure(tmp_path: Path) -> None:
    build(both(tmp_path))
    sections = told(tmp_path)
    drawn = sorted(picture.stem.rpartition("-") for picture in (tmp_path / "report" / "figures").glob("*.svg"))
    assert len({name for _, _, name in drawn}) == 2
    assert all([name for other, _, name in drawn if other == kind] for kind in ("by-case", "label-efficiency"))
    comparisons = [part for part in sections if part.anchor.startswith("comparison-")]
    for each, own, other in zip(comparisons, ("mIoU", "Dice"), ("Dice", "mIoU"), strict=True):
        shown = [part for below in (each, *each.sections) for part in below.parts if isinstance(part, Table)]
        heads = " ".join(f"{table.caption} {' '.join(table.columns)}" for table in shown)
        assert own in heads
        assert other not in heads
        assert other not in " ".join(text for below in (each, *each.sections) for text in below.words)
    (provenance,) = [part for part in sections if part.anchor == "provenance"]
    records = provenance.parts[0]
    assert isinstance(records, Table)
    assert records.columns[1:3] == ["Dice", "mIoU"]
    assert [row[1:3] for row in texts(records)] == [["–", "0.1111"], ["0.9999", "–"]]


def test_words_about_volumes_are_said_of_volumes_alone(tmp_path: Path) -> None:
    page = drawn_blank(both(tmp_path))
    city, organ = (re.search(rf'id="comparison-{place}">\s*<h2.*?(?=<h2)', page, re.DOTALL) for place in (1, 2))
    assert city
    assert organ
    assert not re.search(r"organ|distance|voxel|mm\)|\bcases?\b|HD95|NSD", city[0])
    assert re.search(r"missed organ has no distance", organ[0])
    assert not re.search(r"\bframes?\b|pixel|cityscapesscripts", organ[0])


def test_a_fact_of_one_track_is_a_dash_for_the_other(tmp_path: Path) -> None:
    (table,) = section(both(tmp_path), "What was compared").parts
    assert isinstance(table, Table)
    (row,) = [row for row in table.rows if row[0].text == "protocol"]
    assert [(cell.text[:12], list(cell.items)) for cell in row[1:]] == [("unimatch-801", ["steps"]), ("–", [])]


def test_the_csv_has_the_same_columns_and_no_distance_for_a_frame(tmp_path: Path) -> None:
    volumes = rows(write(tmp_path / "volumes", make()))
    table = rows(both(tmp_path / "both"))
    assert list(table[0]) == list(volumes[0])
    city = [row for row in table if row["dataset"] == "cityscapes"]
    assert [(row["case"], row["class"]) for row in city] == [(case, name) for case in FRAMES for name in STREET]
    distances = ("hd95_mm", "assd_mm", "nsd", "volume_prediction_ml", "volume_reference_ml")
    assert {row[name] for row in city for name in distances} == {""}
    first = {name: city[0][name] for name in ("tp", "fp", "fn", "iou", "recall", "empty")}
    assert first == {"tp": "1", "fp": "0", "fn": "1", "iou": "0.5", "recall": "0.5", "empty": ""}
    assert (city[2]["iou"], city[2]["recall"], city[2]["empty"]) == ("0.0", "", "reference")
    assert (city[1]["iou"], city[1]["empty"]) == ("", "both")


# Words


def test_a_caveat_of_all_runs_on_a_dataset_is_said_once(tmp_path: Path) -> None:
    write(tmp_path, street(warnings=["T is the public validation set"]), make(warnings=["alone"]))
    write(tmp_path, street(seed=1, warnings=["T is the public validation set", "M0 predicts one class"]))
    (table,) = section(tmp_path, "Warnings").parts
    assert isinstance(table, Table)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["all 2 runs on cityscapes", "T is the public validation set"],
        ["atso on cityscapes, 10 %, seed 1", "M0 predicts one class"],
        ["atso on phantom, 10 %, seed 0", "alone"],
    ]


def test_words_of_a_street_record_never_become_markup(tmp_path: Path) -> None:
    odd = f"{ALERT} | *x*\n# heading"
    cases = {ALERT: {ALERT: counted(0, 1, 0)}}
    differs = {"recipe": {"protocol": {"name": ALERT, "source": odd, "differs": [odd]}, "evaluation": odd}}
    page, text = report(write(tmp_path, street(classes=[ALERT], cases=cases, warnings=[odd], **differs)))
    assert "<script" not in without_script(page)
    assert "<li>&lt;script&gt;alert(1)&lt;/script&gt; | *x*" in page
    assert "<" not in without_folds(text)
    assert r"&lt;/script&gt; \| \*x\*" in text
    assert not re.search(r"[^\\][|*] ?\\?\*x", text)
    assert not re.search(r"^# heading", text, re.MULTILINE)


# Published numbers


def test_published_numbers_stand_apart_from_ours_and_only_beside_the_data_that_they_are_of(tmp_path: Path) -> None:
    (table,) = section(write(tmp_path / "official", street(score=0.5)), "Published elsewhere").parts
    assert isinstance(table, Table)
    assert "not measured here" in table.caption
    assert not any(cell.text.startswith("0.5") for row in table.rows for cell in row)
    other = street(warnings=["the data is not the official Cityscapes release: 120 + 40 frames"])
    unlike = street(spec={"dataset": "streets"})
    for name, record in (("other", other), ("unlike", unlike)):
        assert "Published elsewhere" not in report(write(tmp_path / name, record))[0]
