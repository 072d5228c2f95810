"""New images, segmented by a run's model: bit for bit as the evaluator segmented the test set, without the data."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from frames_data import make_frames
from PIL import Image
from raw_data import save, voxels
from records import make, write
from typer.testing import CliRunner

from atso_bench.benchmark import finding
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.export import export
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.run import Bench, execute, model_file
from atso_bench.benchmark.scoring.evaluate import evaluate_folders
from atso_bench.benchmark.scoring.frame_scores import FrameScores
from atso_bench.benchmark.scoring.metrics import VolumeScores
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.trained import portable_file
from atso_bench.datasets.frames import AnyFrames
from atso_bench.datasets.nnunet import Nnunet

VOLUMES = "Dataset520_Copy"
FRAMES = "frames-polyps"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ATSO_BENCH_CACHE", str(tmp_path / "cache"))
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """What the evaluator scores, by case."""
    found: dict[str, np.ndarray] = {}
    for kind in (VolumeScores, FrameScores):

        def add(self: Any, case: str, prediction: Any, reference: Any, plain: Any = kind.add) -> None:
            found[case] = prediction.copy()
            plain(self, case, prediction, reference)

        monkeypatch.setattr(kind, "add", add)
    return found


def copied(tiny: Any, root: Path, **changes: Any) -> Nnunet:
    """The tiny phantom as a dataset of one's own, whose scans differ in spacing, origin and direction."""
    folder = root / "nnUNet_raw" / VOLUMES
    shutil.copytree(tiny.raw.folder, folder)
    described = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    (folder / "dataset.json").write_text(json.dumps({**described, **changes}), encoding="utf-8")
    return Nnunet(VOLUMES)


def trained(results: Path, method: str = "supervised", **changes: Any) -> Record:
    spec = RunSpec(VOLUMES, method, "2cases", 0, Budget("smoke", 8), recipe={"width": 2, "batch": 2})
    return execute(replace(spec, **changes), Bench(results, "cpu", 0, silent()))


def predicted(*words: object) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, words), "--device", "cpu"])


def refused(*words: object) -> str:
    result = predicted(*words)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    ("modality", "configuration", "method", "options"),
    [
        ("MRI", "2d", "supervised", {}),
        ("MRI", "3d_fullres", "mean-teacher", {}),
        ("CT", "2d", "cps", {"final": "ensemble"}),
        ("CT", "3d_fullres", "atso", {"generations": 1, "final": "ensemble"}),
    ],
)
def test_volumes_are_segmented_as_the_evaluator_did_when_the_data_is_gone(
    modality, configuration, method, options, tiny, tmp_path, root, seen
):
    dataset = copied(tiny, root, channel_names={"0": modality})
    record = trained(tmp_path / "results", method, configuration=configuration, options=options)
    images, references = tmp_path / "images", tmp_path / "references"
    images.mkdir()
    references.mkdir()
    for case in dataset.test:
        shutil.copy(dataset.raw.cases[case].images[0], images)
        shutil.copy(dataset.raw.cases[case].label, references)
    shutil.copy(dataset.raw.folder / "dataset.json", references)
    shutil.rmtree(root)
    place = f"{VOLUMES}/{method}/2cases/0"
    result = predicted(place, "-i", images, "-o", tmp_path / "out", "--out", tmp_path / "results")
    assert result.exit_code == 0, result.output
    for case in dataset.test:
        found, given = (sitk.ReadImage(str(path)) for path in (
            tmp_path / "out" / f"{case}.nii.gz", images / f"{case}_0000.nii.gz"))  # fmt: skip
        np.testing.assert_array_equal(sitk.GetArrayFromImage(found), seen[case])
        assert found.GetSpacing() == given.GetSpacing()
        assert found.GetOrigin() == given.GetOrigin()
        assert found.GetDirection() == given.GetDirection()
    scored = evaluate_folders(tmp_path / "out", references, tmp_path / "scores.csv")
    assert scored.summary["metrics"]["dice"]["mean"] == pytest.approx(record.score, nan_ok=True)
    assert json.loads((tmp_path / "out" / "atso_bench.json").read_text())["run"] == record.spec.key
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_frames_are_segmented_as_the_evaluator_did_when_the_data_is_gone(tmp_path, root, seen):
    folder = make_frames(tmp_path / "polyps")
    dataset = AnyFrames(FRAMES)
    dataset.prepare(folder)
    recipe = {"patch": [32, 32], "decoder": 8, "batch": 2}
    spec = RunSpec(FRAMES, "supervised", "3cases", 0, Budget("smoke", 8), "512x512", recipe=recipe)
    execute(spec, Bench(tmp_path / "results", "cpu", 0, silent()))
    images = tmp_path / "images" / "ward"
    images.mkdir(parents=True)
    for path in (folder / "images").iterdir():
        if path.stem in dataset.test:
            shutil.copy(path, images)
    for gone in (folder, root):
        shutil.rmtree(gone)
    result = predicted(spec.key, "-i", images.parent, "-o", tmp_path / "out", "--out", tmp_path / "results")
    assert result.exit_code == 0, result.output
    values = np.array([0, 1, 2])  # a tool is 2 or 3, of which the first stands for it
    for frame in dataset.test:
        mask = Image.open(tmp_path / "out" / "ward" / f"{frame}.png")
        np.testing.assert_array_equal(np.array(mask), values[seen[frame]])
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"] == {
        "background": 0, "polyp": 1, "tool": 2}  # fmt: skip


def test_a_model_is_exported_when_the_data_is_gone_and_the_keys_are_listed(tiny, tmp_path, root):
    copied(tiny, root)
    results = tmp_path / "results"
    record = trained(results)
    shutil.rmtree(root)
    listed = CliRunner().invoke(app, ["export", "--out", str(results)])
    assert (listed.exit_code, record.spec.key in listed.output) == (0, True)
    unknown = CliRunner().invoke(app, ["export", "nothing", "--to", str(tmp_path / "model"), "--out", str(results)])
    assert (unknown.exit_code, record.spec.key in unknown.output) == (2, True)
    assert "-device cpu" in export(record.spec.key[:6], tmp_path / "model", results)
    described = json.loads((tmp_path / "model" / "dataset.json").read_text())
    assert (described["numTraining"], described["labels"]["lesion"]) == (2, 2)


def test_a_model_of_an_earlier_version_needs_its_data(tiny, tmp_path, root):
    copied(tiny, root)
    record = trained(tmp_path / "results")
    portable_file(model_file(tmp_path / "results", record.spec)).unlink()
    export(record.spec.key, tmp_path / "model", tmp_path / "results")
    shutil.rmtree(root)
    with pytest.raises(OSError, match=VOLUMES):
        export(record.spec.key, tmp_path / "other", tmp_path / "results")


# -- what is wrong with images ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a model with two channels, whose data is gone."""
    folder = tmp_path_factory.mktemp("two")
    raw = folder / "data" / "nnUNet_raw" / VOLUMES
    for number in range(4):
        for channel in range(2):
            save(raw / "imagesTr" / f"c{number}_{channel:04d}.nii.gz", voxels(10 * number + channel))
        save(raw / "labelsTr" / f"c{number}.nii.gz", (voxels(10 * number) > 130).astype(np.uint8))
    described = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1}}
    (raw / "dataset.json").write_text(json.dumps({**described, "file_ending": ".nii.gz"}), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(folder / "data"))
        for name in ("nnUNet_raw", "nnUNet_preprocessed"):
            patch.delenv(name, raising=False)
        trained(folder / "results")
    shutil.rmtree(folder / "data")
    return folder / "results"


def a_case(images: Path, channels: int = 2, ending: str = ".nii.gz") -> None:
    for channel in range(channels):
        save(images / f"scan_{channel:04d}{ending}", voxels(channel))


def spoil(images: Path, how: str) -> None:
    """Make a folder of images that cannot be segmented."""
    if how == "no folder":
        return
    images.mkdir()
    if how == "a missing channel":
        a_case(images, 1)
    elif how == "a channel too many":
        a_case(images, 3)
    elif how == "no channel in the name":
        save(images / "scan.nii.gz", voxels(0))
    elif how == "not an image":
        a_case(images)
        (images / "scan_0001.nii.gz").write_bytes(b"no image")
    elif how == "not a number":
        a_case(images)
        save(images / "scan_0001.nii.gz", np.full((6, 24, 24), np.nan, np.float32))
    elif how == "other files":
        (images / "scan.dcm").write_bytes(b"a slice")
    elif how == "other sizes":
        a_case(images)
        save(images / "scan_0001.nii.gz", voxels(0)[1:])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("no folder", "is not a folder"),
        ("empty", "it holds nothing"),
        ("other files", "holds no image CASE_0000.nii.gz; it holds scan.dcm"),
        ("a missing channel", "scan: channel 1 (T2) is missing; add scan_0001.nii.gz"),
        ("a channel too many", "scan: the model has no channel 0002, only 0000 T1, 0001 T2"),
        ("no channel in the name", "rename it, to scan_0000.nii.gz for the first"),
        ("not an image", "scan_0001.nii.gz"),
        ("not a number", "3456 voxels are NaN or infinite"),
        ("other sizes", "all channels must have the same geometry"),
    ],
)
def test_images_that_cannot_be_segmented_are_named_before_anything_is_written(how, told, two_channels, tmp_path):
    spoil(tmp_path / "images", how)
    said = refused(VOLUMES, "-i", tmp_path / "images", "-o", tmp_path / "out", "--out", two_channels)
    assert told in said
    assert not (tmp_path / "out").exists()


def test_predictions_never_mix_with_other_files(two_channels, tmp_path):
    a_case(tmp_path / "images")
    words = ("-i", tmp_path / "images", "--out", two_channels)
    assert "holds the images" in refused(VOLUMES, *words, "-o", tmp_path / "images")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.nii.gz").write_bytes(b"")
    assert "is not empty" in refused(VOLUMES, *words, "-o", tmp_path / "out")
    assert "is a file" in refused(VOLUMES, *words, "-o", tmp_path / "out" / "old.nii.gz")


def test_other_endings_that_the_reader_knows_are_read_and_written(two_channels, tmp_path):
    a_case(tmp_path / "images", ending=".mha")
    result = predicted(VOLUMES, "-i", tmp_path / "images", "-o", tmp_path / "out", "--out", two_channels)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "scan.mha").is_file()


def test_frames_that_cannot_be_read_are_named_together(tmp_path):
    from atso_bench.datasets._frames.trained import TrainedFrames

    found = TrainedFrames({"classes": {"names": ["a", "b"], "ids": [0, 1], "palette": []}})
    (tmp_path / "one.png").write_bytes(b"no image")
    Image.new("RGB", (8, 8)).save(tmp_path / "two.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "two.bmp")
    with pytest.raises(ValueError, match=r"2 problem\(s\)") as error:
        found.inputs(tmp_path)
    assert "one.png: " in str(error.value)
    assert "would have one mask, two.png" in str(error.value)


# -- which run --------------------------------------------------------------------------------------------------------


def test_a_run_is_named_by_its_key_its_place_or_its_file(tmp_path):
    records = [make(method, seed=seed) for method in ("atso", "cutmix") for seed in (0, 1)]
    write(tmp_path, *records)
    spec = records[3].spec
    file = tmp_path / "records" / spec.path
    place = f"{spec.dataset}/cutmix/{spec.fraction}/1"
    for name in (spec.key, spec.key[:8], place, f"{place.rpartition('/')[0]}/seed1", str(file)):
        assert finding.find(name, tmp_path).path == file
    for name in (f"{spec.dataset}/cutmix", f"{spec.dataset}/cutmix/{spec.fraction}/7", "zz"):
        with pytest.raises(ValueError, match=r"matches [02] records") as error:
            finding.find(name, tmp_path)
        assert spec.key in str(error.value)
    with pytest.raises(ValueError, match="there is none"):
        finding.find("zz", tmp_path / "elsewhere")


def test_the_best_run_is_the_best_on_the_validation_set(tmp_path):
    validation = {"labelled": ["a"], "unlabelled": [], "validation": ["v"], "test": ["t"], "hash": "h"}
    scores = {"atso": (0.9, 0.5), "cutmix": (0.6, 0.8)}  # on test, on validation
    for method, (test, held) in scores.items():
        write(tmp_path, replace(make(method, score=test), split=validation, on_validation={"result": held}))
    write(tmp_path, make("supervised", score=0.95))
    chosen = finding.best("", tmp_path)
    assert Record.read(chosen.path).spec.method == "cutmix"
    assert "on the validation set; 1 without one" not in chosen.why
    assert "1 without one do not count" in chosen.why


def test_without_a_validation_set_the_choice_by_the_test_set_is_said(tmp_path):
    write(tmp_path, make("atso", score=0.7), make("cutmix", score=0.8))
    chosen = finding.best("", tmp_path)
    assert Record.read(chosen.path).spec.method == "cutmix"
    assert "BY THE TEST SET" in chosen.why
    with pytest.raises(ValueError, match="matches 0 records"):
        finding.best("elsewhere", tmp_path)


def test_runs_on_other_data_or_other_validation_sets_are_not_compared(tmp_path):
    split = {"labelled": ["a"], "unlabelled": [], "validation": ["v"], "test": ["t"], "hash": "h"}
    one, other = (replace(make(name), split=split, on_validation={"result": 0.5}) for name in ("atso", "cutmix"))
    write(tmp_path, one, replace(other, split={**split, "validation": ["w"]}))
    with pytest.raises(ValueError, match="different validation sets"):
        finding.best("", tmp_path)
    write(tmp_path, replace(other, data="other"))
    with pytest.raises(ValueError, match="on the same data"):
        finding.best("", tmp_path)
