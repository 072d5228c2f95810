"""A site of a results folder: whole, the same each time, and silent about machines and users."""

from __future__ import annotations

import getpass
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from records import make, street, write
from typer.testing import CliRunner

from atso_bench.benchmark.cli import app
from atso_bench.benchmark.store import verified
from atso_bench.benchmark.store.record import Record, write_failure
from atso_bench.benchmark.store.verified import Verification, claim
from atso_bench.reports.data import discreet
from atso_bench.reports.publish import LISTED


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "sentinel-name")


def publish(results: Path, to: Path) -> Any:
    return CliRunner().invoke(app, ["publish", str(results), "--to", str(to)])


def site(to: Path) -> dict[str, bytes]:
    return {path.relative_to(to).as_posix(): path.read_bytes() for path in to.rglob("*") if path.is_file()}


def note(record: Record, verdict: Any = "same", **fields: Any) -> Verification:
    """A verification that never was."""
    found = {"bitwise": True, "expected": "bits", "because": [], "tolerance": 0.01, "score": 0.5, "again": 0.5,
             "cases": 2, "other_cases": [], "repeated": 3, "of": 3, "phases": [], "when": "2026-01-31",
             "environment": {"processor": "A Chip", "versions": {"torch": "2.10.0"}}}  # fmt: skip
    return Verification(key=record.spec.key, record=claim(record), verdict=verdict, **{**found, **fields})


def filled(results: Path) -> list[Record]:
    records = [make(method, seed=seed) for method in ("atso", "cutmix") for seed in (0, 1)]
    write(results, *records, street())
    verified.add(results, note(records[0]))
    verified.add(results, note(records[1], "differs", bitwise=False))
    verified.add(results, note(records[2], repeated=1))
    return records


def test_a_site_has_report_records_verifications_and_how_to_join_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    records = filled(tmp_path / "results")
    shown = publish(tmp_path / "results", tmp_path / "site")
    assert (shown.exit_code, "5 finished runs" in shown.output) == (0, True), shown.output
    files = site(tmp_path / "site")
    assert {"index.html", "contribute.html", "report/index.html", "report/results.csv", LISTED} <= files.keys()
    assert {f"records/{record.spec.path}" for record in records} <= files.keys()
    page = files["index.html"].decode()
    assert page.count("the same, bit for bit") == 2
    assert "the same, bit for bit (1 of 3 phases)" in page
    assert "differs in 1 of 1" in page
    assert "2026-01-31, A Chip, torch 2.10.0" in page
    for name in ("index.html", "contribute.html", "report/index.html"):
        for link in re.findall(r'href="([^"#]+)"', files[name].decode()):
            assert ((tmp_path / "site" / name).parent / link).is_file(), (name, link)
    join = files["contribute.html"].decode()
    assert "--dataset phantom --configuration 2d --fraction 10 --seed 0,1 --budget 1200 --parity total" in join
    assert "--dataset cityscapes --configuration unimatch-801" in join


def test_the_same_results_give_the_same_files_and_do_not_change(tmp_path: Path) -> None:
    filled(tmp_path / "results")
    before = site(tmp_path / "results")
    for name in ("one", "two"):
        assert publish(tmp_path / "results", tmp_path / name).exit_code == 0
    one, two = site(tmp_path / "one"), site(tmp_path / "two")
    assert [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)] == []
    assert site(tmp_path / "results") == before


def test_publishing_again_removes_what_is_gone_and_leaves_what_others_put_there(tmp_path: Path) -> None:
    records = filled(tmp_path / "results")
    to = tmp_path / "site"
    assert publish(tmp_path / "results", to).exit_code == 0
    (to / "CNAME").write_text("example.org", encoding="utf-8")
    gone = f"records/{records[3].spec.path}"
    (tmp_path / "results" / gone).unlink()
    (tmp_path / "results" / "verified" / f"{records[2].spec.key}.json").unlink()
    assert publish(tmp_path / "results", to).exit_code == 0
    files = site(to)
    assert gone not in files
    assert f"verified/{records[2].spec.key}.json" not in files
    assert files["CNAME"] == b"example.org"
    assert sorted(json.loads(files[LISTED])["files"]) == sorted(files.keys() - {LISTED, "CNAME"})


@pytest.mark.parametrize("how", ["other files", "a file", "among the records", "no records"])
def test_a_folder_that_is_not_ours_is_left_alone(how: str, tmp_path: Path) -> None:
    results, to = tmp_path / "results", tmp_path / "site"
    if how != "no records":
        write(results, make())
    if how == "other files":
        to.mkdir()
        (to / "mine.txt").write_text("mine", encoding="utf-8")
    elif how == "a file":
        to.write_text("mine", encoding="utf-8")
    elif how == "among the records":
        to = results / "records" / "site"
    before = site(tmp_path)
    shown = publish(results, to)
    assert (shown.exit_code, shown.output.startswith("error: ")) == (2, True), shown.output
    assert site(tmp_path) == before


# -- strangers' eyes --------------------------------------------------------------------------------------------------


def test_paths_in_commands_warnings_and_tracebacks_are_shortened_everywhere_on_the_site(tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = ["atso-bench", "run", "--out", "/disk/sentinel-name/my results", "--split-list", "labelled=/disk/x/l.txt"]
    made = make(
        environment={**make().environment, "command": command},
        warnings=["/disk/sentinel-name/stages/ab is damaged"],
    )
    write(results, made)
    write_failure(results, make(seed=1).spec, "M0", OSError(28, "No space left", "/disk/sentinel-name/x"))
    shown = publish(results, tmp_path / "site")
    assert shown.exit_code == 0, shown.output
    for name, content in site(tmp_path / "site").items():
        assert b"sentinel-name" not in content, name
        assert b"/disk/" not in content, name
    published = json.loads((tmp_path / "site" / "records" / made.spec.path).read_text(encoding="utf-8"))
    assert published["environment"]["command"][3:] == [".../my results", "--split-list", "labelled=.../l.txt"]
    assert published["warnings"] == [".../ab is damaged"]
    same = {name: value for name, value in asdict(made).items() if name not in ("environment", "warnings")}
    again = asdict(Record.read(tmp_path / "site" / "records" / made.spec.path))
    assert {name: value for name, value in again.items() if name in same} == same


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"recipe": {"weights": "/disk/me/weights.pt"}}, "recipe.weights: /disk/me/weights.pt"),
        ({"warnings": ["see sentinel-name about this"]}, "warnings: see sentinel-name"),
        ({"classes": ["/disk/me/organ", "lesion"]}, "classes: /disk/me/organ"),
    ],
)
def test_a_path_or_a_name_that_is_left_is_an_error_and_nothing_is_written(
    fields: Any, told: str, tmp_path: Path
) -> None:
    write(tmp_path / "results", make(**fields))
    shown = publish(tmp_path / "results", tmp_path / "site")
    assert (shown.exit_code, told in shown.output) == (2, True), shown.output
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("~/results and ./a/b", "~/results and ./a/b"),
        ("https://host.example/a/b", "https://host.example/a/b"),
        ('File "/opt/env/lib/x.py", line 3', 'File ".../x.py", line 3'),
        ("Dice and/or IoU, 3 km/h, 1/16", "Dice and/or IoU, 3 km/h, 1/16"),
    ],
)
def test_only_what_is_a_path_of_this_machine_is_shortened(text: str, shown: str) -> None:
    assert discreet.cleaned({"warnings": [text], "data": text}) == {"warnings": [shown], "data": text}


def test_a_user_named_like_the_method_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "atso")
    content = asdict(make())
    assert discreet.told(content) == []


def test_a_file_that_cannot_be_read_is_named_and_hides_no_other(tmp_path: Path) -> None:
    write(tmp_path / "results", make())
    torn = tmp_path / "results" / "records" / "phantom" / "atso" / "10pct" / "seed7-torn.json"
    torn.write_text("{", encoding="utf-8")
    shown = publish(tmp_path / "results", tmp_path / "site")
    assert shown.exit_code == 0, shown.output
    assert "not published: records/phantom/atso/10pct/seed7-torn.json" in shown.output
    assert "1 finished run ->" in shown.output
