"""Published numbers: every one of them as it was read, none from memory, and none that passes for ours."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from atso_bench.reports.data import literature
from atso_bench.reports.data.literature import OTHER, UNSTATED, load
from atso_bench.reports.pages import published
from atso_bench.reports.pages.page import Section, Table, to_html, to_markdown
from atso_bench.reports.words import NONE

EVERY = pytest.mark.parametrize("dataset", literature.names())
LATER = {"opmatch", "opmatch-tracoco", "ad-mt-log", "augseg", "augseg-log"}
"""Sources that were read later than the others."""
LA, CITYSCAPES = ["4cases", "8cases", "16cases"], ["6.25", "12.5", "25", "50"]
SMALL: dict[str, Any] = {
    "dataset": "la",
    "units": {"dice": "percent", "hd95": "voxel"},
    "amounts": {"8cases": "8 cases", "50": "50 %"},
    "protocols": {"p": "A sentence."},
    "sources": {"s": "a README"},
    "entries": [{"method": "m", "source": "s", "protocol": "p", "values": {"dice": {"8cases": 80.5}}}],
}


def numbers(dataset: str, metric: str = "") -> Counter[tuple[str, float]]:
    """How often each label amount and value stands in the file, in one metric or in all."""
    return Counter(
        (amount, value)
        for entry in literature.read(dataset)
        for name, values in entry.values.items()
        if metric in ("", name)
        for amount, value in values.items()
    )


def found(dataset: str, method: str, network: str = "") -> list[dict[str, dict[str, float]]]:
    entries = literature.read(dataset)
    return [each.values for each in entries if each.method == method and network in ("", each.network)]


def write(folder: Path, **changed: Any) -> Path:
    path = folder / "la.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changed}), encoding="utf-8")
    return path


def shown(dataset: str, *arguments: Any) -> Table:
    table = published.table(dataset, *arguments)
    assert table is not None
    return table


# The files


def test_there_are_numbers_for_four_datasets() -> None:
    assert literature.names() == ["acdc", "cityscapes", "la", "pancreas-ct"]


@EVERY
def test_every_value_has_a_unit_a_source_and_a_protocol_or_says_that_none_is_stated(dataset: str) -> None:
    literature.literature.cache_clear()
    whole = literature.literature(dataset)
    assert whole is not None
    assert whole.entries
    used = {entry.source for entry in whole.entries if entry.source}
    assert used == set(whole.sources), "a source that nothing comes from"
    for entry in whole.entries:
        assert all(whole.units[metric] for metric in entry.values)
        assert (entry.source is None) == (not entry.values)


@EVERY
def test_no_key_is_given_twice_in_a_file(dataset: str) -> None:
    """YAML takes the last one and says nothing."""

    def check(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{keys} {node.start_mark}"
            for _, value in node.value:
                check(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                check(value)

    node = yaml.compose((literature.FOLDER / f"{dataset}.yaml").read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    assert node is not None
    check(node)


def test_protocols_that_runs_follow_have_the_names_that_the_runs_give_them() -> None:
    from atso_bench.datasets._frames.recipes import PROTOCOLS

    whole = literature.literature("cityscapes")
    assert whole is not None
    assert set(PROTOCOLS) <= set(whole.protocols)


def test_sources_that_disagree_are_all_kept() -> None:
    values = [each["dice"].get("8cases") for each in found("la", "UA-MT")]
    assert values == [84.25, 85.81, None, 87.79]
    assert [each["miou"] for each in found("cityscapes", "CPS", "ResNet-50")] == [
        {"12.5": 74.39},
        {"12.5": 70.68},
        {"12.5": 70.96},
    ]


def test_what_nobody_could_read_is_empty() -> None:
    empty = {(entry.method, entry.network) for entry in literature.read("cityscapes") if entry.source is None}
    assert {method for method, _ in empty} == {"mean teacher", "CCT", "GCT", "FixMatch", "ST++", "CutMix-Seg"}
    assert {network for method, network in empty if method == "FixMatch"} == {"ResNet-50", "ResNet-101"}


@pytest.mark.real
def test_every_cell_of_the_table_for_la_is_in_the_file_under_its_method_source_and_label_amount(
    real_data: Path,
) -> None:
    called = {"V-Net sup": "supervised", "V-Net 80/0": "supervised", "MT": "mean teacher"}
    sources = {"D": "dtc", "X": "crossmatch", "S": "sfr", "A": "semi-agcl"}
    there = {
        (entry.method, entry.source, amount, metric, value)
        for entry in literature.read("la")
        for metric, values in entry.values.items()
        for amount, value in values.items()
    }
    wanted = set()
    for name, *cells in _rows(_reading(real_data), "| Method | 4 (5%)"):
        for amount, cell in zip(LA, cells, strict=True):
            for four, keys in re.findall(r"([\d./ ]+) \[([A-Z,]+)\]", cell):
                values = [float(value) for value in four.split("/")]
                if " / " in name:  # CPS / CCT / ICT, Dice alone
                    facts = [(method, "dice", value) for method, value in zip(name.split(" / "), values, strict=True)]
                else:
                    metrics = ["dice", "jaccard", "hd95", "asd"][: len(values)]
                    facts = [(called.get(name, name), *pair) for pair in zip(metrics, values, strict=True)]
                where = "80cases" if name == "V-Net 80/0" else amount
                wanted |= {(method, sources[key], where, *rest) for key in keys.split(",") for method, *rest in facts}
    assert len(wanted) > 80
    assert not wanted - there
    rest = {each for each in there - wanted if each[3] != "time" and each[1] not in LATER}
    assert not rest, "numbers that nobody has read"


@pytest.mark.real
def test_every_number_of_the_table_for_cityscapes_is_in_the_file_at_its_label_amount(real_data: Path) -> None:
    """Four numbers in a row are those of one entry, in that order."""
    rows = [each["miou"] for each in (entry.values for entry in literature.read("cityscapes")) if each]
    there = [[values.get(amount) for amount in CITYSCAPES] for values in rows]
    wanted = [
        [None if value == "-" else float(value) for value in four.split("/")]
        for _, *cells, _ in _rows(_reading(real_data), "| Method | R50")
        for cell in cells
        for four in re.findall(r"(?:-|\d\d(?:\.\d+)?)(?:/\d\d(?:\.\d+)?){3}", cell)
    ]
    wanted += [[None, value, None, None] for value in (74.39, 70.68, 70.96)]
    assert len(wanted) == 26
    assert not [four for four in wanted if four not in there]


@pytest.mark.real
@pytest.mark.parametrize(("dataset", "title", "metric"), [("acdc", "### 2b.", "dice"), ("pancreas-ct", "### 2c.", "")])
def test_every_number_in_the_file_was_read(dataset: str, title: str, metric: str, real_data: Path) -> None:
    """Nothing from memory; overlaps and distances alone, for words like `7 cases` are numbers too."""
    section = _reading(real_data).split(title)[1].split("\n### ")[0]
    read = {float(value) for value in re.findall(r"\d+\.\d+", section)}
    earlier = [entry for entry in literature.read(dataset) if entry.source not in LATER]
    found = [entry.values for entry in earlier]
    missing = {value for each in found for name in each if metric in ("", name) for value in each[name].values()} - read
    assert not missing


@pytest.mark.real
@pytest.mark.parametrize(("dataset", "column"), [("la", 1), ("acdc", 2), ("pancreas-ct", 3)])
def test_every_number_of_the_later_table_is_in_the_file_at_its_label_amount(
    dataset: str, column: int, real_data: Path
) -> None:
    """And no other number is from there; methods that this project has, and what they are compared with."""
    whole = literature.literature(dataset)
    assert whole is not None
    amounts = {"la": LA[:2], "acdc": ["3cases", "7cases"], "pancreas-ct": ["6cases", "12cases"]}[dataset]
    names = {"V-Net or U-Net": "supervised", "AD-MT, **last** step": "AD-MT"}
    table = _rows(_reading(real_data, "methods-2026.md"), "| | LA 4 / 8")
    known = {*names, "UniMatch", "BCP", "AD-MT"}
    wanted = {
        (names.get(name, name), float(value))
        for name, *cells in table
        if name in known
        for value in re.findall(r"\d+\.\d+", cells[column - 1])
    }
    there = {
        (entry.method, value, amount)
        for entry in whole.entries
        if entry.source in LATER
        for amount, value in entry.values["dice"].items()
    }
    quoted = {("supervised", 52.55), ("BCP", 82.91)}  # from sources that the file has anyway
    assert wanted - quoted == {(method, value) for method, value, _ in there}
    assert {amount for *_, amount in there} <= set(amounts)


@pytest.mark.real
def test_every_number_of_augseg_is_in_the_file(real_data: Path) -> None:
    sentence = _reading(real_data, "methods-2026.md").split("AugSeg R50 ")[1].split("; CorrMatch")[0]
    rows = [[float(value) for value in four.split("/")] for four in re.findall(r"\d\d\.\d+(?:/\d\d\.\d+){3}", sentence)]
    there = [[each["miou"][amount] for amount in CITYSCAPES] for each in found("cityscapes", "AugSeg")]
    assert len(rows) == 3
    assert sorted(rows) == sorted(there)


@pytest.mark.real
@pytest.mark.parametrize(
    ("dataset", "start", "end", "leave"),
    [
        ("la", "Training minutes on LA", "###", set()),
        ("acdc", "- Published Dice 3 / 7 cases:", "- Known trap", {3.5, 3.9}),
        ("pancreas-ct", "- Published 12/62", "- MSD", set()),
        ("cityscapes", "- Eval mode effect", "ST++ author", set()),
    ],
)
def test_numbers_that_were_read_in_sentences_are_in_the_file(
    dataset: str, start: str, end: str, leave: set[float], real_data: Path
) -> None:
    sentence = _reading(real_data).split(start)[1].split(end)[0]
    read = {float(value) for value in re.findall(r"\d+\.\d+", sentence)} - leave
    missing = read - {value for _, value in numbers(dataset)}
    assert len(read) > 7
    assert not missing


def _reading(real_data: Path, name: str = "protocols.md") -> str:
    path = real_data.parent / "reference" / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return path.read_text(encoding="utf-8")


def _rows(text: str, head: str) -> list[list[str]]:
    """The cells of the table that begins so, without its head."""
    lines = text[text.index(head) :].split("\n")
    table = lines[: next(place for place, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


# Wrong files


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": None}, "needs a source"),
        ({"values": {}}, "needs a source"),
        ({"source": "t"}, "unknown source of m: 't'; there are: s"),
        ({"protocol": "q"}, "unknown protocol of m: 'q'"),
        ({"values": {"jaccard": {"8cases": 80.0}}}, "unknown metric"),
        ({"values": {"dice": {"9cases": 80.0}}}, "unknown label amount"),
        ({"values": {"dice": {}}}, "without values"),
        ({"values": {"dice": {"8cases": 0.805}}}, "no value in percent"),
        ({"values": {"dice": {"8cases": float("nan")}}}, "no value in percent"),
        ({"values": {"hd95": {"8cases": -1.0}}}, "no value in voxel"),
        ({"values": {"dice": {"8cases": "80.5"}}}, "valid number"),
        ({"value": 3}, "Extra inputs"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    entry = {**SMALL["entries"][0], **changed}
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(write(tmp_path, entries=[entry]))
    assert "la.yaml" in str(caught.value)


def test_a_row_twice_a_wrong_amount_and_a_wrong_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than one entry"):
        load(write(tmp_path, entries=SMALL["entries"] * 2))
    with pytest.raises(ValueError, match="no label amount"):
        load(write(tmp_path, amounts={"8cases": "8", "50.0": "half"}))
    with pytest.raises(ValueError, match="its name says 'la'"):
        load(write(tmp_path, dataset="acdc"))
    (tmp_path / "la.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"la\.yaml"):
        load(tmp_path / "la.yaml")


# The table


def test_a_dataset_that_nobody_published_has_no_table() -> None:
    assert published.table("phantom") is None
    assert literature.read("../la") == []
    assert published.words("phantom") == []


def test_the_table_has_a_row_per_method_and_source_and_a_column_per_label_amount() -> None:
    table = shown("la")
    assert table.caption == "Published Dice (percent), not measured here"
    assert list(table.columns)[4:] == ["4 cases (5 %)", "8 cases (10 %)", "16 cases (20 %)", "80 cases (all)"]
    (row,) = [row for row in table.rows if row[0].text == "UA-MT" and row[2].text.startswith("DTC")]
    assert [cell.text for cell in row[4:]] == [NONE, "84.25", "88.88", NONE]
    assert row[5].note == "Jaccard 73.48 (percent), HD95 13.84 (voxel), ASD 3.36 (voxel)"
    (time,) = [row for row in table.rows if row[0].text == "ARCO"]
    assert (time[4].text, time[4].note) == (NONE, "time 421.1 (min of training)")


def test_rows_that_nobody_could_read_are_dashes_throughout() -> None:
    rows = [row for row in shown("cityscapes").rows if row[0].text == "ST++"]
    assert [[cell.text for cell in row[2:]] for row in rows] == [[NONE] * 6]
    assert rows[0][2].note == "source not available"


@EVERY
def test_without_a_protocol_of_ours_every_row_says_that_it_is_not_comparable(dataset: str) -> None:
    said = {row[3].note for row in shown(dataset).rows if row[2].text != NONE}
    assert said <= {OTHER, UNSTATED}
    assert OTHER in said
    assert "Our runs follow none of these protocols." in published.words(dataset)[0]


def test_rows_of_our_protocol_are_marked_with_the_number_of_differences() -> None:
    def marks(differs: list[str]) -> dict[str, set[str]]:
        rows = shown("cityscapes", {"unimatch-801": differs}).rows
        found: dict[str, set[str]] = {}
        for row in rows:
            found.setdefault(row[3].text, set()).add(row[3].note)
        return found

    assert marks([])["unimatch-801"] == {"published, the same protocol as ours"}
    assert marks([])["cps-800"] == {OTHER}
    assert marks([])[NONE] == {UNSTATED, ""}
    assert marks(["a", "b"])["unimatch-801"] == {"published, the protocol of our runs, except for 2 differences"}
    said = published.words("cityscapes", {"unimatch-801": []})
    assert "Our runs follow unimatch-801." in said[0]
    assert any(text.startswith("Protocol cps-800: ") for text in said)


def test_names_from_a_file_are_text_and_no_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {**SMALL["entries"][0], "method": "<script>alert(1)</script>", "note": "a|b"}
    write(tmp_path, entries=[entry], sources={"s": "<img src=x>"}, remarks=["<b>"])
    monkeypatch.setattr(literature, "FOLDER", tmp_path)
    literature.literature.cache_clear()
    try:
        section = Section("Published", words=published.words("la"), parts=[shown("la")])
    finally:
        literature.literature.cache_clear()
    page, text = to_html("t", [section]), to_markdown("t", [section])
    for form in (page, text):
        assert "<script>alert" not in form
        assert "<img src=x>" not in form
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in form
    assert "a\\|b" in text
