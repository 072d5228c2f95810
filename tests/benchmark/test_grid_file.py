"""A grid in a file, and what commands print for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import grid_file, registry, scores
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.options import GridOptions
from atso_bench.benchmark.spec import Budget, RunSpec

WORDS = ["-m", "supervised", "-f", "10", "-d", "toy", "-s", "0-1", "--budget", "6", "--device", "cpu", "--workers", "0"]


@pytest.fixture
def toy(monkeypatch):
    real, dataset = registry.dataset, ToyDataset()
    monkeypatch.setattr(registry, "dataset", lambda name, c="": dataset if name == "toy" else real(name, c))
    return dataset


@pytest.fixture(autouse=True)
def talk(monkeypatch):
    monkeypatch.setenv("ATSO_BENCH_TALK", "")  # to be undone


def invoke(*words: object):
    return CliRunner().invoke(app, list(map(str, words)))


def test_options_that_are_saved_span_the_same_grid(tmp_path, toy):
    file = tmp_path / "grid.yaml"
    more = ["-m", "atso,cutmix", "-o", "atso.subsets=3", "--upper-bound", "--validation", "20", "-f", "1/2,3cases"]
    done = invoke("run", *WORDS, *more, "--save", file, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "out").exists()
    found = GridOptions(file=file).complete()
    assert (
        found.specs()
        == GridOptions(
            method=["supervised", "atso", "cutmix"],
            fraction=["10", "50", "3cases"],
            dataset=["toy"],
            seed=["0", "1"],
            budget="6",
            option=["atso.subsets=3"],
            upper_bound=True,
            validation=20.0,
        ).specs()
    )


def test_a_file_as_a_person_writes_it(tmp_path, toy):
    file = tmp_path / "grid.yaml"
    file.write_text(
        "method: [supervised, atso]\nfraction: 1/2\ndataset: toy\nseed: [0, 3-4]\nbudget: 6\nupper_bound: true\n"
        "option: {atso.subsets: 3, atso.restart: previous}\n"
    )
    found = GridOptions(file=file).complete()
    assert found.seeds() == [0, 3, 4]
    assert found.option == ["atso.subsets=3", "atso.restart=previous"]
    assert {spec.fraction for spec in found.specs()} == {"50", "100"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methd: atso", "there is no option 'methd'. Did you mean 'method'? It may hold: method, fraction"),
        ("method: [atsoo]\nfraction: 10", "there is no method 'atsoo'. Did you mean 'atso'"),
        ("validation: many", "validation takes a number, got 'many'"),
        ("upper-bound: 1", "upper-bound takes true or false, got 1"),
        ("workers: 1.5", "workers takes a whole number, got 1.5"),
        ("method: [[atso]]", "method takes words or numbers, got ['atso']"),
        ("budget: [6]", "budget takes words or numbers, got [6]"),
        ("- atso", "a grid file holds options"),
        ("method: [", "is no YAML file"),
        ("save: x.yaml", "there is no option 'save'"),
    ],
)
def test_a_wrong_file_is_answered_in_a_line(text, said, tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    done = invoke("run", file, "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path):
    done = invoke("plan", tmp_path / "none.yaml")
    assert done.exit_code == 2
    assert "atso-bench run ... --save" in done.output


def test_a_run_from_a_file_keeps_it_prints_the_scores_and_can_be_quiet(tmp_path, toy):
    file, out = tmp_path / "mine.yaml", tmp_path / "out"
    assert invoke("run", *WORDS, "--save", file).exit_code == 0
    done = invoke("run", file, "--seed", "0", "--seed", "1", "-q", "--out", out)
    assert done.exit_code == 0, done.output
    first, head, row, last = done.output.splitlines()
    assert first == "dice on toy, mean and standard deviation over seeds"
    assert head.split() == ["10", "%"]
    assert row.startswith("supervised")
    assert row.endswith("(n=2)")
    assert last.startswith("report: ")
    (kept,) = (out / grid_file.FOLDER).iterdir()
    assert kept.name.startswith("mine-")
    assert yaml.safe_load(kept.read_text())["seed"] == ["0", "1"]


def test_the_table_names_options_other_steps_and_failures_and_stays_within_80_columns(tmp_path):
    budget = Budget.parse("6")
    specs = [
        RunSpec("toy", "atso", "10", 0, budget, options={"restart": "previous", "subsets": 3}),
        RunSpec("toy", "supervised", "10", 0, budget.halved),
        RunSpec("toy", "supervised", "100", 0, budget),
    ]
    assert list(scores.lines(tmp_path, specs)) == []
    assert scores._row(specs[0], 6) == "atso (restart=previous, subsets=3)"
    assert scores._row(specs[1], 6) == "supervised (3 steps)"
    assert scores._cell([]) == "-"
    assert scores._cell([float("nan")]) == "undefined"
    assert scores._cell([0.5, 0.7]) == "0.600 ± 0.141 (n=2)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5-2", "goes upward, such as 2-5"),
        ("0-4294967295", "at most 1000 seeds"),
        ("1-", "whole number"),
        ("-1", "whole"),
    ],
)
def test_a_wrong_range_of_seeds_is_an_error(text, said):
    with pytest.raises(ValueError, match=said):
        GridOptions(seed=[text]).seeds()


def test_programs_get_json(tmp_path, toy):
    out = tmp_path / "out"
    assert invoke("run", *WORDS, "--out", out).exit_code == 0
    planned = json.loads(invoke("plan", *WORDS, "--json", "--out", out).stdout)
    assert [run["done"] for run in planned["runs"]] == [True, True]
    status = json.loads(invoke("status", out, "--json").stdout)
    assert status["done"] == sorted(run["key"] for run in planned["runs"])
    verdict = invoke("compare", out, out, "--json")
    assert verdict.exit_code == json.loads(verdict.stdout)["code"] == 0
    methods = {each["name"]: each for each in json.loads(invoke("list", "methods", "--json").stdout)}
    assert methods["atso"]["options"]["subsets"]["default"] == 2
    datasets = {each["name"]: each for each in json.loads(invoke("list", "datasets", "--json").stdout)}
    assert datasets["phantom"]["configurations"][0] == "2d"
    checks = json.loads(invoke("doctor", "--json").stdout)
    assert {check["status"] for check in checks} <= {"ok", "warning", "problem"}


def test_an_evaluation_as_json(tmp_path):
    import SimpleITK as sitk

    for name in ("predicted", "true"):
        (tmp_path / name).mkdir()
        image = sitk.GetImageFromArray([[[0, 1, 1], [0, 0, 1]]])
        sitk.WriteImage(sitk.Cast(image, sitk.sitkUInt8), str(tmp_path / name / "a.nii.gz"))
    words = ["--predictions", tmp_path / "predicted", "--references", tmp_path / "true", "--output", tmp_path / "x.csv"]
    done = invoke("evaluate", *words, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["metric"] == "dice"
    assert found["summary"]["metrics"]["dice"]["mean"] == 1.0
    assert list(found["cases"]) == ["a"]


def test_misspelled_words_are_answered_before_torch_is_imported(tmp_path):
    import subprocess
    import sys

    script = """
import sys
from atso_bench.benchmark.cli import app
for words in sys.argv[1:]:
    try:
        app(["run", "-f", "10", *words.split()], standalone_mode=False)
    except BaseException as end:
        assert getattr(end, "exit_code", getattr(end, "code", 0)) == 2, end
    print(sorted({"torch", "pandas"} & set(sys.modules)))
"""
    wrong = ["-d phanto", "-o atso.subset=1", "--device gpu", "--on slrum", "-s x"]
    words = ["-m atsoo", *(f"-m atso {each}" for each in wrong)]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.stdout.split("\n")[:-1] == ["[]"] * 6, done.stdout + done.stderr
