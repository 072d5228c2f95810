"""Data and results lie where one said, where they are in use, or else in the same folders wherever one stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atso_bench.benchmark import places, registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.machine.doctor import checks


@pytest.fixture(autouse=True)
def nobody_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to stand in, an empty home, and no variable."""
    for name in ("ATSO_BENCH_DATA", *places.RESULTS, "nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ATSO_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_the_default_does_not_depend_on_where_one_stands(nobody_says: Path) -> None:
    home = nobody_says / "home" / "atso-bench"
    assert (places.data().path, places.results().path) == (home / "data", home / "results")


def test_folders_that_are_in_use_go_on_being_used(nobody_says: Path) -> None:
    Path("data/prepared").mkdir(parents=True)
    Path("results/records").mkdir(parents=True)
    assert places.data().path == nobody_says / "here" / "data"
    assert places.results().path == Path("results")


def test_a_folder_of_that_name_that_is_somebody_elses_is_left_alone() -> None:
    Path("data/holiday").mkdir(parents=True)
    Path("results").mkdir()
    assert places.data().why == places.results().why == "the default"


@pytest.mark.parametrize("name", places.RESULTS)
def test_a_variable_goes_first(name: str, monkeypatch: pytest.MonkeyPatch, nobody_says: Path) -> None:
    Path("results/records").mkdir(parents=True)
    monkeypatch.setenv(name, "elsewhere")
    assert places.results() == places.Place(Path("elsewhere"), name)
    result = CliRunner().invoke(app, ["export"])
    assert "no finished run in elsewhere" in result.output


def test_commands_take_what_is_given_before_the_default(nobody_says: Path) -> None:
    home = nobody_says / "home" / "atso-bench"
    assert f"no finished run in {home / 'results'}" in CliRunner().invoke(app, ["export"]).output
    assert "no finished run in results" in CliRunner().invoke(app, ["export", "--out", "results"]).output


def test_doctor_says_where_and_why(nobody_says: Path) -> None:
    found = {check.name: check for check in checks(places.results().path)}
    assert f"{nobody_says / 'home' / 'atso-bench' / 'data'} (the default)" in found["data"].found
    assert "(the default) is writable" in found["results"].found


def own_dataset(root: Path, name: str = "Dataset042_Spleen") -> None:
    (root / name).mkdir(parents=True)
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "spleen": 1}, "file_ending": ".nii.gz"}
    (root / name / "dataset.json").write_text(json.dumps(described), encoding="utf-8")


def test_ones_own_datasets_are_listed(nobody_says: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_dataset(nobody_says / "raw")
    monkeypatch.setenv("nnUNet_raw", str(nobody_says / "raw"))
    output = CliRunner().invoke(app, ["list", "datasets"]).output
    assert "Dataset042_Spleen    your own" in output
    assert f"data: {nobody_says / 'home'}" in output


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Dataset042_Splen", "Did you mean 'Dataset042_Spleen'?"),
        ("spleen", "Did you mean 'Dataset042_Spleen'?"),
        ("Splen", "Did you mean 'Dataset042_Spleen'?"),
        ("43", "there are Dataset042_Spleen"),
    ],
)
def test_a_dataset_that_is_not_there_is_found_by_its_likeness(
    name: str, told: str, nobody_says: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_dataset(nobody_says / "raw")
    monkeypatch.setenv("nnUNet_raw", str(nobody_says / "raw"))
    result = CliRunner().invoke(app, ["prepare", name])
    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize("there", [False, True])
def test_prepare_says_which_variable_it_looked_for(
    there: bool, nobody_says: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        monkeypatch.setenv("nnUNet_raw", str(nobody_says / "raw"))
    with pytest.raises(FileNotFoundError) as error:
        registry.dataset("Dataset042_Spleen").prepare()
    assert ("nnUNet_raw is not set" in str(error.value)) != there
    assert (f"{nobody_says / 'raw'} (nnUNet_raw)" in str(error.value)) == there
    assert "(the default)" in str(error.value)
