"""A results folder that somebody sent: names are text everywhere, files are refused or shown, nothing hangs."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import re
import zipfile
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import case_scores, make
from rich.console import Console
from typer.testing import CliRunner

from atso_bench.benchmark.cli import app
from atso_bench.benchmark.machine.progress import Live
from atso_bench.benchmark.scoring import pictures
from atso_bench.benchmark.scoring.pictures import Kept
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.files import write_json
from atso_bench.benchmark.store.record import Record, write_failure
from atso_bench.reports import build as report
from atso_bench.reports.data.frame import read
from atso_bench.reports.figures.overlays import overlays
from atso_bench.reports.pages.comparison import Art

TEXTS = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "[/red]",
    r"$\foo$",
    "=cmd()",
    "\uff1dcmd()",
    "a|b",
    "line\nfeed\r\n# head",
    "\u202eright to left",
    "{{7*7}}{% raw %}",
    r"\input{/etc/passwd}",
    "' onmouseover='alert(1)",
    '" onmouseover="alert(1)',
    "javascript:alert(1)",
    "-->]]><!--",
    "&lt;b&gt;&amp;",
    "\x1b[2J\x07",
    "x" * 300,
)
QUICK = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def folder(results: Path, texts: tuple[str, ...] | None) -> Path:
    """A results folder in which every free word is one of ``texts``, and without them the same with plain words."""

    def word(place: int) -> str:
        return f"word {place}" if texts is None else texts[place % len(texts)]

    many = range(len(TEXTS))
    names = {f"{place:02}{word(place)}": {f"{each:02}{word(each)}": case_scores() for each in (0, 1)} for place in many}
    entry = {"phase": word(0), "teacher": word(1), "generation": 1, "subset": 1, "agreement": {word(2): 0.5}}
    environment = {
        "command": ["atso-bench", *map(word, many)],
        "versions": {word(place): word(place + 1).strip() for place in many},
        "platform": word(3),
        "commit": word(4),
        "gpu": word(5),
        "python": word(6),
    }
    for seed in (0, 1):
        record = make(
            seed=seed,
            spec={"options": {"name": word(7)}, "recipe": {"patch": word(8)}, "lists": {"pool": [word(1)]}},
            cases=names,
            classes=[f"{each:02}{word(each)}" for each in (0, 1)],
            warnings=[f"warning {place}: {word(place)}" for place in many],
            environment=environment,
            diagnostics=[entry],
            options={"name": word(7), word(9): word(10)},
            recipe={word(11): word(12), "protocol": {"name": word(1), "source": word(2), "differs": [word(3)]}},
            data=word(13),
        )
        record.write(results)
        make("supervised", seed=seed, data=word(13)).write(results)
    failing = RunSpec("phantom", "atso", "10", 7, Budget("600", 600))
    for place in many:
        spec = RunSpec(**{**vars(failing), "seed": 100 + place})
        path = write_failure(results, spec, word(place), RuntimeError(word(place)))
        raw = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, {**raw, "environment": {"command": [word(place)]}})
    return results


class Elements(HTMLParser):
    """The tags of a page, each with the names of its attributes, and every link."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *sorted(name for name, _ in attrs)))
        self.links += [str(value) for name, value in attrs if name in ("href", "src", "action", "formaction")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The reports of a hostile folder, and of a harmless one."""
    made = []
    for texts in (TEXTS, None):
        results = folder(tmp_path_factory.mktemp("results"), texts)
        made.append(report.build(results).parent)
    return made[0], made[1]


# Names are text


def test_hostile_names_add_no_element_and_no_attribute_to_the_page(built: tuple[Path, Path]) -> None:
    hostile, harmless = (Elements((each / "index.html").read_text(encoding="utf-8")) for each in built)
    allowed = {tag for tag, *_ in harmless.found}
    assert {tag for tag, *_ in hostile.found} == allowed
    assert not {name for _, *names in hostile.found for name in names if name.startswith("on")}
    assert sum(tag == "script" for tag, *_ in hostile.found) == 1
    for links in (hostile.links, harmless.links):
        assert all(link.startswith(("#", "../records/", "../asked/", "data:image/")) for link in links)
    counted = (
        "script",
        "meta",
        "style",
        "link",
        "img",
        "section",
        "table",
        "tr",
        "td",
        "th",
        "a",
        "p",
        "li",
        "details",
    )
    for tag in counted:
        amounts = [sum(one == tag for one, *_ in page.found) for page in (hostile, harmless)]
        assert amounts[0] == amounts[1], tag
    page = (built[0] / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
    assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49\b", page)
    assert "{{7*7}}" in page


def test_hostile_names_add_no_row_and_no_heading_to_the_markdown(built: tuple[Path, Path]) -> None:
    texts = [(each / "report.md").read_text(encoding="utf-8") for each in built]
    for pattern in (r"^#+ ", r"^\|", r"(?<!\\)\]\(", r"<(?!/?(?:details|summary)>)"):
        amounts = [len(re.findall(pattern, text, re.MULTILINE)) for text in texts]
        assert amounts[0] == amounts[1], pattern
    cells = [[len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line[:1] == "|"] for text in texts]
    assert sorted(cells[0]) == sorted(cells[1])  # comparisons that differ in a word stand in the order of a hash


def test_no_cell_of_the_csv_begins_a_formula(built: tuple[Path, Path]) -> None:
    with (built[0] / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len({len(row) for row in rows}) == 1
    words = [cell for row in rows[1:] for cell in row if not re.fullmatch(r"[-+]?[\d.e+-]*", cell)]
    assert words
    assert not [cell for cell in words if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))]


def test_no_name_is_a_command_in_the_latex_tables(built: tuple[Path, Path]) -> None:
    """``test_latex.py`` compiles such tables; here no command is in them that is in none of the harmless ones."""
    commands = [
        {
            name
            for file in each.glob("tables/*.tex")
            for line in file.read_text("utf-8").splitlines()[1:]  # the first is a comment that tells of input
            for name in re.findall(r"\\[A-Za-z]+", line)
        }
        for each in built
    ]
    signs = {rf"\text{name}" for name in ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar")}
    layout = {r"\scriptsize", r"\addlinespace", r"\raggedright", r"\medskip", r"\par", r"\quad"}  # of longer words
    assert commands[0] - commands[1] <= signs | layout
    assert r"\input" not in commands[0]


def test_hostile_names_do_not_choke_the_console() -> None:
    shown = io.StringIO()
    progress = Live(Console(file=shown, force_terminal=True, width=400))
    for text in TEXTS:
        with progress.phase(text, 2, "cases") as bar:
            bar.advance(2)
        progress.note(text)
    assert "[/red]" in shown.getvalue()
    assert "\x1b[2J" not in shown.getvalue()


# Files are refused or shown


def run(*words: object) -> str:
    """The command's output; it ends with 0, 1 or 2 and without a traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code in (0, 1, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert "bug of the program" not in result.output, result.output
    return result.output


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take most of the time."""
    monkeypatch.setattr(report, "draw", lambda *given: Art())


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "device"])
@pytest.mark.parametrize("name", ["records/seed0-x.json", "records/seed0-x.failed.json", "asked/x.json"])
def test_what_is_no_plain_file_of_the_folder_is_a_failure_of_its_own(
    kind: str, name: str, tmp_path: Path, undrawn: None
) -> None:
    results = tmp_path / "results"
    make().write(results)
    secret = tmp_path / "secret.json"
    write_json(secret, {"schema": 1, "secret": "sentinel-value"})
    place = results / name
    place.parent.mkdir(exist_ok=True)
    {
        "pipe": lambda: os.mkfifo(place),
        "link": lambda: place.symlink_to(secret),
        "folder": place.mkdir,
        "device": lambda: place.symlink_to("/dev/zero"),
    }[kind]()
    assert "report: " in run("report", results)
    page = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert name in page
    assert ("leads out of the results folder" if kind == "link" else "no file that can be read") in page
    assert "sentinel-value" not in page


def test_a_link_to_another_record_of_the_folder_is_read(tmp_path: Path, undrawn: None) -> None:
    path = make().write(tmp_path)
    kept = path.rename(tmp_path / "kept.json")
    path.symlink_to(kept)
    assert len(read(tmp_path).runs) == 1


@pytest.mark.parametrize("name", ["report", "report/figures", "report/tables"])
def test_a_report_is_not_written_through_a_link_that_somebody_laid(name: str, tmp_path: Path, undrawn: None) -> None:
    """It would write and remove files elsewhere."""
    results, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    make().write(results)
    elsewhere.mkdir()
    (elsewhere / "figure-0123456789ab.svg").write_text("mine")
    (results / name).parent.mkdir(exist_ok=True)
    (results / name).symlink_to(elsewhere)
    assert "is a link" in run("report", results)
    assert [path.name for path in elsewhere.iterdir()] == ["figure-0123456789ab.svg"]


def test_a_file_that_is_a_link_is_replaced_and_not_written_through(tmp_path: Path, undrawn: None) -> None:
    make().write(tmp_path)
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / "report").mkdir()
    for name in ("index.html", "report.md", "results.csv", "results.parquet"):
        (tmp_path / "report" / name).symlink_to(mine)
    run("report", tmp_path)
    assert mine.read_text() == "mine"


def test_a_record_in_a_file_with_a_name_that_is_no_text_is_shown(tmp_path: Path, undrawn: None) -> None:
    path = make().write(tmp_path)
    path.rename(path.with_name(os.fsdecode(b"seed0-\xff.json")))
    run("report", tmp_path)
    assert "seed0-\ufffd.json" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("where", ["dataset", "method"])
@pytest.mark.parametrize("name", ["../../etc", "/etc", "..", "a/b", "a\x00b", ""])
def test_a_record_cannot_name_a_place(where: str, name: str, tmp_path: Path, undrawn: None) -> None:
    path = make().write(tmp_path)
    raw = json.loads(path.read_text())
    raw["spec"][where] = name
    path.write_text(json.dumps(raw))
    before = {file for file in tmp_path.parent.rglob("*") if "report" not in file.parts}
    run("report", tmp_path)
    assert {file for file in tmp_path.parent.rglob("*") if "report" not in file.parts} == before
    assert [failure.phase for failure in read(tmp_path).failures] == ["reading the record"]


NUMBERS = (1e308, -1e308, 1e300, 10**30, 2**63, -1, 1e-320, 0)


@pytest.mark.parametrize("place", ["score", "case", "phase"])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_nothing_measures_makes_no_axis_without_end(
    number: float, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    beyond = abs(number) > 1e15
    if beyond:
        request.getfixturevalue("undrawn")
    make(seed=0).write(tmp_path)
    path = make(seed=1).write(tmp_path)
    raw = json.loads(path.read_text())
    if place == "score":
        raw["score"] = number
    elif place == "case":
        raw["cases"]["t0"]["organ"]["hd95_mm"] = number
    else:
        raw["phases"][0]["seconds"] = number
    path.write_text(json.dumps(raw))
    run("report", tmp_path)
    assert [failure.message for failure in read(tmp_path).failures] == ["a number is beyond 1e+15"] * beyond


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [500, 900, 2000, 200_000])
def test_deep_nesting_is_a_failure_of_its_own_or_shown(depth: int, tmp_path: Path, undrawn: None) -> None:
    path = make().write(tmp_path)
    text = path.read_text()
    for name in ("options", "recipe", "environment", "diagnostics"):
        deep = re.sub(rf'"{name}": [\[{{]', rf'"{name}": {{"deep": {nested(depth)}, ', text, count=1)
        path.with_name(f"seed0-{name}.json").write_text(deep)
    for name in ("records/seed9-x.failed.json", "asked/x.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(nested(depth))
    run("report", tmp_path)


# Pictures


def picture(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name.replace('_', ' ')}.npy", content)
    return path


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        npy(np.zeros(pictures.MOST_BYTES + 1, np.uint8)),  # a few kilobytes that unpack to more than a picture is
        npy(np.array([print], object)),
        npy([1]).replace(b"(1,)", b"(99999999999999,)"),
        npy([1]).replace(b"(1,)", b"(-1,)"),
        b"",
        b"\x93NUMPY",
        b"\x80\x04.",
    ],
    ids=["bomb", "pickle", "huge", "negative", "empty", "cut", "bare pickle"],
)
def test_a_picture_that_lies_is_damaged(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is damaged"):
        Kept(picture(tmp_path / "a.npz", cases=content))
    kept = Kept(picture(tmp_path / "b.npz", cases=npy(["t0"]), image_0=content))
    with pytest.raises(ValueError, match="is damaged"):
        kept.array("image", "t0")


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((2, 2)),
        np.zeros((4, 4)) + 0.5,
        np.zeros((4, 4, 7)),
        np.full((4, 4), "x"),
        np.zeros(()),
        np.zeros((0, 0)),
    ],
    ids=["small", "floats", "channels", "words", "scalar", "nothing"],
)
@pytest.mark.parametrize("what", ["image", "reference", "spacing", "prediction"])
def test_pictures_of_any_shape_and_kind_break_no_report(what: str, odd: Any, tmp_path: Path) -> None:
    record = make(diagnostics=[])
    record.write(tmp_path)
    plain = {"image": np.zeros((4, 4), np.uint8), "reference": np.ones((4, 4), np.uint8), "spacing": np.ones(2)}
    plain["prediction"] = np.ones((4, 4), np.uint8)
    arrays = {**plain, what: odd}
    ground = pictures.ground_file(tmp_path, record.data, list(record.cases))
    ground.parent.mkdir()
    cases = npy(list(record.cases))
    both = {f"{name}_{place}": npy(array) for name, array in arrays.items() for place in (0, 1)}
    picture(ground, cases=cases, **both)
    picture(pictures.predictions_file(tmp_path, record.spec.key, record.data), cases=cases, **both)
    (only,) = read(tmp_path).groups()
    overlays(only, tmp_path)


# Anything at any place

VALUES = st.sampled_from(
    [None, True, -1, 0, 1, 0.5, *NUMBERS, "", "nan", "\x00", *TEXTS[:6], [], {}, [[]], {"a": None}, ["a"], {"": {}}]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, each in items for place in places(each, (*path, name)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """With another value at one place; ``...`` takes it out."""
    if not path:
        return new
    value = copy.deepcopy(value)
    inner = value
    for name in path[:-1]:
        inner = inner[name]
    if new is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return value


def whole() -> Record:
    entry = {"phase": "generation 1, subset 1", "generation": 1, "subset": 1, "teacher": "M0", "cases": 4}
    entry |= {"update_rate": 0.2, "agreement": {"organ": 0.5}, "agreement_inside": 0.5, "agreement_outside": 0.4}
    entry |= {"pseudo_dice": 0.6, "pseudo_dice_by_class": {"organ": 0.5}, "correction_rate": 0.1}
    return make(diagnostics=[entry], warnings=["careful"], spec={"options": {"subsets": 2}})


WHOLE = json.loads(json.dumps(asdict(whole())))


@QUICK
@given(place=st.sampled_from(places(WHOLE)), new=st.one_of(VALUES, st.just(...)))
def test_a_record_with_anything_at_any_place_is_shown_or_refused(
    place: tuple[Any, ...], new: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    results = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        make("supervised", seed=seed).write(results)
    path = whole().write(results)
    path.write_text(json.dumps(changed(WHOLE, place, new)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw", lambda *given: Art())
        run("report", results)
        if new in (None, ..., []):
            run("compare", results, results)


@QUICK
@given(content=st.binary(max_size=200), name=st.sampled_from(["records/seed0-x.json", "asked/x.json"]))
def test_any_bytes_for_a_file_are_a_failure_of_its_own(
    content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    results = tmp_path_factory.mktemp("results")
    (results / name).parent.mkdir()
    (results / name).write_bytes(content)
    make().write(results)
    assert len(read(results).runs) == 1
