"""What a split is too small for is said: at the start, where it can still be changed, in the record, on the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import drawn, group, make, short, texts, volumes, write
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import registry, split_notes
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import Split, make_split
from atso_bench.benchmark.store.record import read_all
from atso_bench.reports.certainty.evidence import evidence
from atso_bench.reports.pages import answers, tables

POOL = tuple(f"case{number:02}" for number in range(10))


def noted(fraction: str, pool: int = 10, **more: object) -> list[str]:
    spec = RunSpec("toy", "supervised", fraction, 0, Budget.parse("4"), **more)  # type: ignore[arg-type]
    names = POOL[:pool]
    return split_notes.of_fraction(spec, Split(names[:1], names[1:], (), ("t",)), names)


def test_a_tenth_that_is_meant_as_a_percentage_is_said_with_the_smallest_one_and_what_was_meant() -> None:
    (note,) = noted("0.1")
    assert "is less than half a case of the training pool (10 cases), so 1 case will be labelled" in note
    assert "the smallest possible percentage is 5;" in note
    assert note.endswith("a fraction is a percentage: for 10 % write 10")


@pytest.mark.parametrize("fraction", ["5", "10", "1cases"])
def test_half_a_case_and_more_is_no_oddity(fraction: str) -> None:
    assert noted(fraction) == []


def test_the_smallest_percentage_is_one_that_passes() -> None:
    for pool in range(2, 11):
        (note,) = noted("0.3", pool)
        smallest = note.partition("percentage is ")[2].partition(";")[0]
        assert noted(smallest, pool) == []


def invoke(monkeypatch: pytest.MonkeyPatch, dataset: ToyDataset, *words: str) -> list[str]:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": dataset)
    done = CliRunner().invoke(app, [*words, "--device", "cpu", "--workers", "0"])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_run_and_plan_say_it_first_and_the_record_keeps_it(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [command, "-m", "supervised", "-f", "0.1,0.2", "--budget", "4", "--out", str(tmp_path)]
    told = invoke(monkeypatch, ToyDataset(cases=9), *words)
    notes = [line for line in told if line.startswith("note: ")]
    first = int(command == "run")  # run says where results and data are before all else
    assert told[first : first + len(notes)] == notes
    assert [
        any(text in note for note in notes) for text in ("--fraction 0.1", "--fraction 0.2", "test cases", "same")
    ] == ([True] * 4)
    if command == "run":
        records = read_all(tmp_path)
        assert sorted(each.warnings[0].partition(" is ")[0] for each in records) == ["--fraction 0.1", "--fraction 0.2"]


def test_a_grid_that_is_large_enough_has_no_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ToyDataset, "test", property(lambda self: tuple(f"c{number:02}" for number in range(54, 60))))
    words = ["plan", "-m", "supervised", "-f", "10,50", "--budget", "4", "--out", str(tmp_path)]
    assert not any("note:" in line for line in invoke(monkeypatch, ToyDataset(cases=60), *words))


def test_a_validation_score_does_not_ask_for_test_cases() -> None:
    dataset = ToyDataset(cases=9)
    spec = RunSpec("toy", "supervised", "50", 0, Budget.parse("4"), validation=20.0, scored="validation")
    split = make_split(dataset, spec)
    assert len(split.test) < split_notes.FEWEST_TEST
    assert split_notes.of_grid([spec], [split], dataset.pool) == []


def test_prepare_says_that_the_test_set_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ToyDataset(cases=9)
    monkeypatch.setattr(ToyDataset, "prepare", lambda self, source, say: ["prepared"], raising=False)
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": dataset)
    told = CliRunner().invoke(app, ["prepare", "toy"]).output.splitlines()
    assert told[0] == "prepared"
    assert "no difference can be significant with fewer than 6" in told[1]
    assert "--split-list test=FILE" in told[1]
    assert "--folds 5" in told[1]


@pytest.mark.parametrize(("cases", "shown"), [(2, False), (5, False), (6, True)])
def test_of_too_few_test_cases_no_interval_is_shown_and_the_first_screen_says_why(
    cases: int, shown: bool, tmp_path: Path
) -> None:
    write(tmp_path, *volumes(drawn(5, cases, gain=0.06), "atso"), *volumes(drawn(5, cases, seed=1), "supervised"))
    made = group(tmp_path)
    known = evidence(made)
    page = " ".join(short(tmp_path).words)
    assert (
        f"phantom: the test set has {cases} cases, and no difference can be significant with fewer than 6" in page
    ) != shown
    assert any(" to " in cell for row in texts(tables.scores(made, known.estimates)) for cell in row) == shown
    (table,) = answers.tests(made, known).parts
    assert (dict(zip(table.columns, texts(table)[0], strict=True))["95 % interval"] != "–") == shown  # type: ignore[union-attr, arg-type]
    assert ("95 % interval" in " ".join(answers.leaders(made, known))) == shown


def test_the_labels_needed_have_no_interval_either(tmp_path: Path) -> None:
    write(
        tmp_path,
        *(make("atso", fraction, score=0.5) for fraction in ("10", "20")),
        make("supervised", "100", score=0.6),
    )
    assert all(found.low != found.low for found in evidence(group(tmp_path)).needed.values())
