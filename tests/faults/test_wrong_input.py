"""Wrong input of every kind ends in a message that says what to do, never in a traceback."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from toy import ToyDataset
from typer.testing import CliRunner, Result

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.store.record import Record, read_all

RAW = "Dataset101_Small"


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folder of raw datasets; ``--dataset toy`` is the toy."""
    real, toy = registry.dataset, ToyDataset()
    monkeypatch.setattr(registry, "dataset", lambda name, c="": toy if name == "toy" else real(name, c))
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ATSO_BENCH_CACHE", str(tmp_path / "cache"))
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "CITYSCAPES_DATASET", "ATSO_BENCH_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data" / "nnUNet_raw"


def invoke(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(*words: object) -> str:
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    return result.output


def write_raw(folder: Path, cases: int = 3, **changes: Any) -> None:
    rng = np.random.default_rng(0)
    label = np.zeros((8, 32, 32), np.uint8)
    label[2:6, 8:20, 8:20] = 1
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(cases):
        image = (rng.normal(100, 10, label.shape) + 50 * label).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"c{number}_0000.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(label), str(folder / "labelsTr" / f"c{number}.nii.gz"))
    description = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**description, **changes}))


@pytest.mark.parametrize("option", ["--method", "--fraction", "--dataset", "--seed"])
def test_a_list_that_names_nothing_is_an_error(option: str, tmp_path: Path) -> None:
    words = {"--method": "atso", "--fraction": "10", "--dataset": "toy", "--seed": "0", option: ","}
    told = refused("run", *(word for pair in words.items() for word in pair), "--budget", 6, "--out", tmp_path / "out")
    assert f"{option} is empty" in told


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("below", ["", "deeper"])
def test_results_that_are_a_file_are_an_error(command: str, below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ("-m", "atso", "-f", 10, "-d", "toy", "--budget", 6, "--out", tmp_path / "file" / below)
    assert "is a file; give a folder" in refused(command, *words)


def test_a_torn_record_is_made_again(tmp_path: Path) -> None:
    words = ("-m", "supervised", "-f", 10, "-d", "toy", "--budget", 6, "--out", tmp_path)
    invoke("run", *words)
    (path,) = (tmp_path / "records").rglob("seed*.json")
    before = Record.read(path).score
    for torn in (path.read_text()[:300], '{"schema": 0}'):
        path.write_text(torn)
        assert ": done" not in invoke("plan", *words).output
        assert invoke("run", *words).exit_code == 0
        (record,) = read_all(tmp_path)
        assert record.score == before


def test_a_fault_of_the_program_is_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise TypeError("no such luck")

    monkeypatch.setattr("atso_bench.reports.build.build", fail)
    result = invoke("report", tmp_path)
    assert result.exit_code == 1
    assert "TypeError: no such luck" in result.output
    assert "ATSO_BENCH_TRACEBACK=1" in result.output


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("bogus=1", "unknown recipe field(s) bogus"),
        ("batch=x", "recipe.batch must be a whole number"),
        ("batch=2.5", "recipe.batch must be a whole number"),
        ("patch=7", "recipe.patch must be a list like [48,48]"),
        ("patch=[7,7]", "recipe.patch has 2 sizes, divisible by"),
        ("lr=NaN", "recipe.lr must be a number above 0"),
        ("momentum=2", "recipe.momentum must be a number above 0 and below 1"),
        ("mirror_pseudo=maybe", "recipe.mirror_pseudo must be true or false"),
    ],
)
def test_a_wrong_recipe_is_an_error_before_anything_runs(recipe: str, told: str, data: Path, tmp_path: Path) -> None:
    write_raw(data / RAW)
    words = ("-m", "supervised", "-f", 50, "-d", 101, "--budget", "smoke", "-o", f"recipe.{recipe}")
    assert told in refused("run", *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": ["background", "organ"]}, 'labels must look like {"background": 0'),
        ({"labels": {"background": 0, "organ": None}}, "labels must give each name a number"),
        ({"labels": {"0": "background", "1": "organ"}}, "labels must give each name a number"),
        ({"channel_names": ["MRI"]}, "channel_names must look like"),
        ({"file_ending": 5}, "file_ending must look like"),
        ({"file_ending": ".nrrd"}, "expected imagesTr/CASE_0000.nrrd"),
        ({"dataset": ["c0"]}, "dataset must look like"),
        ({"dataset": {"c0": {"images": ["imagesTr/c0_0000.nii.gz"]}}}, "dataset must look like"),
    ],
)
def test_a_description_of_the_wrong_form_is_an_error(changes: dict[str, Any], told: str, data: Path) -> None:
    write_raw(data / RAW, **changes)
    assert told in refused("prepare", 101)


def test_a_description_that_is_a_list_is_an_error(data: Path) -> None:
    write_raw(data / RAW)
    (data / RAW / "dataset.json").write_text("[1]")
    assert "must hold an object" in refused("prepare", 101)


def test_one_labelled_case_is_too_few_and_the_message_says_what_helps(data: Path) -> None:
    write_raw(data / RAW, cases=1)
    assert "add a labelled test set (imagesTs, labelsTs)" in refused("prepare", 101)


def test_an_image_without_a_channel_in_its_name_is_named(data: Path) -> None:
    write_raw(data / RAW)
    images = data / RAW / "imagesTr"
    (images / "c2_0000.nii.gz").rename(images / "c2.nii.gz")
    assert "imagesTr/c2.nii.gz: the name does not end in a channel" in refused("prepare", 101)


def test_an_archive_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    content, archive = tmp_path / "content", tmp_path / "content.tgz"
    content.write_bytes(np.random.default_rng(0).bytes(200_000))
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(content, "content")
    archive.write_bytes(archive.read_bytes()[:100_000])
    assert "cannot be unpacked" in refused("prepare", RAW, "--from", archive)
    (tmp_path / "labels.zip").write_bytes(b"PK and nothing more")
    assert "labels.zip cannot be unpacked" in refused("prepare", "pancreas-ct", "--from", tmp_path)


@pytest.mark.parametrize("words", [("prepare", "nnunet"), ("run", "-m", "atso", "-f", 10, "-d", "nnunet")])
def test_any_dataset_needs_a_name(words: tuple[object, ...]) -> None:
    assert "name or id" in refused(*words)


def test_evaluate_says_how_many_scores_are_undefined_and_wants_a_file(data: Path, tmp_path: Path) -> None:
    write_raw(data / RAW)
    labels, predicted = data / RAW / "labelsTr", tmp_path / "predicted"
    predicted.mkdir()
    for path in labels.iterdir():
        image = sitk.ReadImage(str(path))
        sitk.WriteImage(image * 0 if path.name == "c0.nii.gz" else image, str(predicted / path.name))
    words = ("evaluate", "--predictions", predicted, "--references", labels, "--output")
    told = invoke(*words, tmp_path / "scores.csv").output
    assert "(1 of 3 undefined" in next(line for line in told.splitlines() if line.startswith("hd95_mm"))
    assert "undefined" not in next(line for line in told.splitlines() if line.startswith("dice"))
    assert "is a folder; name the CSV file" in refused(*words, tmp_path)


def test_list_names_the_recipe_and_the_values_that_an_option_takes() -> None:
    told = invoke("list", "methods").output
    assert "(m0, previous, scratch)" in told
    assert "recipe.batch=" in told


def test_ctrl_c_ends_every_process_without_a_traceback(tmp_path: Path, data: Path) -> None:
    write_raw(data / RAW)
    assert invoke("prepare", 101).exit_code == 0
    recipe = [word for one in ("width=2", "batch=2") for word in ("-o", f"recipe.{one}")]
    words = ["run", "-m", "supervised", "-f", "50", "-s", "0,1", "-d", "101", "--budget", "smoke:100000", *recipe]
    command = [sys.executable, "-m", "atso_bench.benchmark.cli", *words, "--device", "cpu,cpu", "--workers", "0"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    )  # fmt: skip
    assert process.stdout is not None
    started: set[str] = set()
    for line in process.stdout:
        started |= {line.split(":")[0]} if "steps" in line else set()
        if len(started) == 2:
            break
    assert started == {"1 (cpu)", "2 (cpu)"}
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "the same command continues from here" in told
    assert "Traceback" not in told


STREETS = ("run", "-m", "supervised", "-f", "1/16", "-d", "streets", "--budget", "smoke")


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root of streets, which take some seconds to draw."""
    return tmp_path_factory.mktemp("streets")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--seed", 1 << 64), "--seed must be a whole number from 0 to 4294967295"),
        (("--split-list", "labelled=uni-match"), "there is no published list 'uni-match'; there are: unimatch, cps"),
        (("--split-list", "test=unimatch"), "there is no file unimatch"),
        (("--split-list", "labelled=unimatch"), "does not fit"),
        (("--split-list", "labelled=nobody"), "there is no published list 'nobody'; there are: unimatch, cps"),
        (
            ("--configuration", "2d"),
            "--configuration of streets must be one of 512x1024, unimatch-801, cps-800, got '2d'",
        ),
        (("-d", "phantom", "--configuration", "2d"), "--configuration of streets must be one of"),
        (("--split-by", "patient"), "streets can be split by frame or city, got 'patient'"),
        (("-o", "recipe.width=8"), "streets: unknown recipe field(s) width"),
        (("-o", "recipe.output_stride=16.0"), "recipe.output_stride must be 8 or 16"),
        (("-o", "recipe.scales=[2,0.5]"), "recipe.scales must be two numbers like [0.5,2], the smaller first"),
        (("-o", "recipe.scales=[0.0001,0.0002]"), "from 0.1 to 10"),
        (("-o", "recipe.patch=[1,1]"), "each from 16 to 8192"),
        (("-o", "recipe.ohem_kept=true"), "recipe.ohem_kept must be a share"),
        (("-o", "recipe.weights=nothing.pth"), "nothing.pth cannot be read: No such file or directory"),
    ],
)
def test_wrong_words_about_street_scenes_are_errors(
    words: tuple, told: str, tmp_path: Path, drawn_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(drawn_once))
    assert told in refused(*STREETS, "--out", tmp_path / "out", *words)
    assert not list(tmp_path.rglob("seed*.json"))


def test_a_data_root_that_is_a_file_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "file"))
    assert "which is not a folder; correct or unset it" in refused("prepare", "cityscapes")
    assert not (tmp_path / "cache").exists()


def test_what_the_system_says_of_a_file_comes_with_the_file_and_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".report.md.12.partial"))

    monkeypatch.setattr("atso_bench.reports.build.build", fail)
    assert f"error: {tmp_path}: No space left on device; free some disk space" in refused("report", tmp_path)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_report_that_cannot_be_written_says_how_to_report_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "report"))

    monkeypatch.setattr("atso_bench.reports.build.build", fail)
    assert "copy its folders records, pictures and asked" in " ".join(refused("report", tmp_path).split())


@pytest.mark.parametrize("name", ["", "report"])
def test_a_file_where_the_results_or_their_report_should_be_is_named(tmp_path: Path, name: str) -> None:
    results = tmp_path / "results"
    path = results / name if name else results
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file")
    assert f"{path} is a file" in refused("report", results)


def test_a_record_named_by_its_file_is_exported_from_its_own_results(tmp_path: Path) -> None:
    words = ("-m", "supervised", "-f", 10, "-d", "toy", "--budget", 6, "--out", tmp_path / "here")
    invoke("run", *words)
    (path,) = (tmp_path / "here" / "records").rglob("seed*.json")
    shutil.rmtree(tmp_path / "here" / "stages")
    told = refused("export", path, "--to", tmp_path / "model", "--out", tmp_path / "elsewhere")
    assert f"are not in {tmp_path / 'here' / 'stages'}" in told


def test_the_gate_ends_with_its_own_exit_codes(tmp_path: Path) -> None:
    for name, steps in (("one", 6), ("other", 7)):
        invoke("run", "-m", "supervised", "-f", 10, "-d", "toy", "--budget", steps, "--out", tmp_path / name)
    assert invoke("compare", tmp_path / "one", tmp_path / "one").exit_code == 0
    assert invoke("compare", tmp_path / "one", tmp_path / "other").exit_code == 2
    (path,) = (tmp_path / "one" / "records").rglob("seed*.json")
    worse = json.loads(path.read_text())
    worse["score"] -= 0.1
    (tmp_path / "worse" / path.relative_to(tmp_path / "one")).parent.mkdir(parents=True)
    (tmp_path / "worse" / path.relative_to(tmp_path / "one")).write_text(json.dumps(worse))
    assert invoke("compare", tmp_path / "one", tmp_path / "worse").exit_code == 1
