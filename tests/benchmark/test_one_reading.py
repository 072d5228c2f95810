"""`run` and `evaluate` give one mask one score: in 2D and 3D, in every format that both read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from raw_data import describe

from atso_bench.benchmark.scoring.evaluate import evaluate_folders
from atso_bench.benchmark.scoring.metrics import IGNORE, score_case
from atso_bench.benchmark.spec import Budget
from atso_bench.datasets.nnunet import Nnunet

NAME = "Dataset703_Read"
SPACING = (0.7, 1.0, 2.5)  # mm by x, y, z
VOLUME, SLICE, FLAT = (6, 26, 24), (1, 26, 24), (26, 24)
FORMATS: list[tuple[str, Sequence[int], dict[str, Any]]] = [
    (".nii.gz", VOLUME, {}),
    (".nii", VOLUME, {}),
    (".nrrd", VOLUME, {}),
    (".mha", VOLUME, {}),
    (".gipl", VOLUME, {}),
    (".nii.gz", VOLUME, {"overwrite_image_reader_writer": "NibabelIO"}),
    (".nii.gz", VOLUME, {"overwrite_image_reader_writer": "SimpleITKIOWithReorient"}),
    (".tif", VOLUME, {"overwrite_image_reader_writer": "Tiff3DIO"}),
    (".tiff", VOLUME, {}),
    (".nii.gz", SLICE, {}),
    (".nii.gz", FLAT, {}),
    (".mha", FLAT, {}),
    (".nrrd", FLAT, {}),
    (".png", FLAT, {}),
    (".PNG", FLAT, {}),
    (".bmp", FLAT, {}),
    (".tif", FLAT, {}),
]


def blobs(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Random labels 0, 1, 2."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal(shape), [0 if size == 1 else 2 for size in shape])
    return np.digitize(field, np.quantile(field, [0.6, 0.85])).astype(np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff") and array.ndim == 3:
        tifffile.imwrite(path, array, photometric="minisblack")
        stem = path.name.removesuffix(path.suffix).removesuffix("_0000")
        path.with_name(f"{stem}.json").write_text(json.dumps({"spacing": SPACING[::-1]}))
        return
    image = sitk.GetImageFromArray(array)
    if path.suffix.lower() not in (".png", ".bmp", ".tif"):
        image.SetSpacing(SPACING[: array.ndim])
        image.SetOrigin((-3.0, 5.0, 7.0)[: array.ndim])
        if array.ndim == 3 and path.suffix != ".gipl":
            image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize(("ending", "shape", "more"), FORMATS, ids=lambda value: str(value))
def test_run_scores_a_mask_as_evaluate_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, shape: Sequence[int], more: dict[str, Any]
) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "nnUNet_raw" / NAME
    rng = np.random.default_rng(len(ending) + len(shape))
    names = [f"c{number}" for number in range(6)]
    for name in names:
        label = blobs(rng, shape)
        noise = rng.integers(1, 60, shape)
        save(folder / "imagesTr" / f"{name}_0000{ending}", (60 * label + noise).astype(np.uint8))
        save(folder / "labelsTr" / f"{name}{ending}", label)
    labels = {"background": 0, "organ": 1, "lesion": 2}
    describe(folder, file_ending=ending, labels=labels, **more)
    dataset = Nnunet(NAME)
    dataset.prepare()
    task = dataset.task(dataset.pool[:1], names, Budget.parse("smoke"), {})
    scores = task.metric.scorer(task.classes)
    reader = dataset._preprocessing(dataset._plans).reader
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    predictions.mkdir()
    references.mkdir()
    (references / "dataset.json").write_text(json.dumps({"labels": labels}))
    for name in dataset.test:
        guess = torch.from_numpy(blobs(rng, task.images[name].array.shape[1:])).long()
        prediction = task.restore(task.images[name], torch.nn.functional.one_hot(guess, 3).movedim(-1, 0).float())
        scores.add(name, prediction, dataset.reference(name))
        assert dataset.picture(name).shape == prediction.shape
        files = [str(path) for path in dataset.raw.cases[name].images]
        whole = prediction if prediction.ndim == 3 else prediction[None]
        reader.write_seg(whole, str(predictions / f"{name}{ending}"), reader.read_images(files)[1])
        for file in (folder / "labelsTr").glob(f"{name}.*"):
            (references / file.name).write_bytes(file.read_bytes())
    found = evaluate_folders(predictions, references, tmp_path / "scores.csv")
    for name, by_class in scores.cases.items():
        for organ, ours in by_class.items():
            theirs = found.cases[name][organ]
            assert ours.pop("empty") == theirs.pop("empty")
            assert theirs == pytest.approx(ours, nan_ok=True, rel=1e-6), (name, organ)
    assert not found.notes
    assert all(dataset.reference(name).label.ndim == (2 if shape == FLAT else 3) for name in dataset.test)


@pytest.mark.parametrize("seed", range(6))
def test_one_slice_has_the_surface_of_a_flat_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = blobs(rng, FLAT), blobs(rng, FLAT)
    other[:2] = IGNORE
    names = ("background", "organ", "lesion")
    flat = score_case(one, other, names, (1.0, 0.7), ignore=IGNORE)
    for axis in range(3):
        thick = np.insert([1.0, 0.7], axis, 999.0)
        deep = score_case(np.expand_dims(one, axis), np.expand_dims(other, axis), names, thick.tolist(), ignore=IGNORE)
        for name in names[1:]:
            for metric in ("tp", "dice", "hd95_mm", "assd_mm", "nsd"):
                assert deep[name][metric] == pytest.approx(flat[name][metric]), metric
            assert np.isnan(float(flat[name]["volume_reference_ml"]))


def test_a_structure_of_one_voxels_thickness_in_a_volume_is_all_surface() -> None:
    label = np.zeros((5, 8, 8), np.uint8)
    label[2, 2:6, 2:6] = 1
    moved = np.roll(label, 1, axis=1)
    scores = score_case(moved, label, ("background", "organ"), (1.0, 1.0, 1.0), tolerance_mm=0)["organ"]
    assert scores["nsd"] == pytest.approx(24 / 32)  # 12 of 16 voxels are in both; all of them are surface


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused_where_numbers_are_made(shape: tuple[int, ...]) -> None:
    label = np.ones(shape, np.uint8)
    with pytest.raises(ValueError, match=f"2 or 3 axes, but got {len(shape)}"):
        score_case(label, label, ("background", "organ"), (1.0,) * len(shape))
