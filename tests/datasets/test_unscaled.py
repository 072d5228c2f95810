"""CT is kept once, before intensity scaling: what is read of it is what nnU-Net's own preprocessing gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from raw_data import write_raw
from scipy.ndimage import gaussian_filter

from atso_bench.benchmark.spec import Budget
from atso_bench.datasets._volumes import opened
from atso_bench.datasets._volumes import plan as _plan
from atso_bench.datasets._volumes.unscaled import Facts, Scaled, Scaling, compact, spline
from atso_bench.datasets.nnunet import Nnunet

SMOKE = Budget.parse("smoke")
NAME = "Dataset590_Scans"
OPTIONS = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
ROUNDING = 1e-6
"""Of values up to about 3, of which a float32 has steps of 2e-7."""
SCALING = Scaling(-100.0, 240.3, 60.1, 71.3)


def scan(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """CT-like numbers ``(1, *shape)``: whole, smooth, and far beyond the range that is kept."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.standard_normal(shape), 1.5)
    return (noise / noise.std() * 400).round().astype(np.float32)[None]


# shape, its spacing, and that of the plan; the last of them is 2d's
GEOMETRIES = {
    "thick slices": ((20, 40, 31), (5, 0.8, 0.8), (5.0, 0.6, 0.9)),
    "thick slices, other thickness": ((20, 40, 31), (5, 0.8, 0.8), (3.0, 0.6, 0.9)),
    "thick along the last axis": ((40, 31, 20), (0.8, 0.8, 5), (1.0, 0.6, 3.0)),
    "thick along the middle axis": ((40, 20, 31), (0.8, 5, 0.8), (1.0, 3.0, 0.6)),
    "cubes": ((33, 40, 31), (1, 0.8, 0.8), (1.5, 0.6, 0.9)),
    "one plane": ((33, 1, 31), (1, 0.8, 0.8), (1.5, 0.8, 0.9)),
    "as it is": ((10, 40, 31), (5, 0.8, 0.8), (5.0, 0.8, 0.8)),
    "2d": ((10, 40, 31), (1, 0.8, 0.8), (0.6, 0.9)),
}


def both(name: str, scaling: Scaling = SCALING) -> tuple[Scaled, np.ndarray]:
    """Ours, and nnU-Net's own resampling of the scaled scan."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    shape, spacing, target = GEOMETRIES[name]
    plan, image = {"spacing": list(target), "resampling_fn_data_kwargs": OPTIONS}, scan(shape)
    facts = Facts.of(image, plan, spacing)
    full = [*spacing[: 3 - len(target)], *target]
    wanted = resample_data_or_seg_to_shape(scaling(image.copy()), facts.shape, spacing, full, **OPTIONS)
    return Scaled(compact(image), facts, [scaling]), wanted


@pytest.mark.parametrize("name", GEOMETRIES)
def test_what_is_read_is_nnunets_up_to_rounding(name: str) -> None:
    ours, wanted = both(name)
    assert ours.shape == wanted.shape
    assert ours[:].dtype == wanted.dtype == np.float32
    assert np.abs(ours[:] - wanted).max() < (ROUNDING if name != "as it is" else 1e-30)
    assert ours[:].max() == wanted.max() == SCALING(np.array([9999], np.float32))[0]


def test_to_clip_behind_the_resampling_would_be_another_image() -> None:
    """Why it must be done when an image is read."""
    ours, wanted = both("cubes")
    late, _ = both("cubes", Scaling(-1e9, 1e9, 0.0, 1.0))
    assert np.abs(SCALING(late[:]) - wanted).max() > 0.1
    assert np.abs(ours[:] - wanted).max() < ROUNDING


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_part_has_the_bits_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the weights would depend on what fitted into memory, and on the number of threads."""
    ours, _ = both(name)
    whole, rng = ours[:], np.random.default_rng(1)
    for _ in range(20):
        begins = [int(rng.integers(size)) for size in ours.shape[1:]]
        ends = [int(rng.integers(begin, size)) + 1 for begin, size in zip(begins, ours.shape[1:], strict=True)]
        part = (slice(None), *map(slice, begins, ends))
        assert np.array_equal(ours[part], whole[part])
    monkeypatch.setattr("atso_bench.datasets._volumes.unscaled.PIECE", 1)
    monkeypatch.setattr("atso_bench.datasets._volumes.unscaled.ROWS", 7)
    assert np.array_equal(ours[:], whole)


def test_sums_are_exact_in_any_order() -> None:
    weights = spline(40, 53, 3)
    assert torch.equal(weights.sum(1), torch.ones(53, dtype=torch.float64))
    assert weights.abs().sum(1).max() < 2
    assert torch.equal(weights * 2**26, (weights * 2**26).round())


def test_numbers_are_kept_in_two_bytes_where_nothing_is_lost() -> None:
    assert compact(scan((3, 4, 5))).dtype == np.int16
    for image in (scan((3, 4, 5)) + 0.5, scan((3, 4, 5)) + 40_000):
        assert compact(image) is image


# a whole dataset


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nnunet:
    """CT and another channel, of several spacings."""
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path))
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    return write(tmp_path)


def write(root: Path, configuration: str = "2d", cases: int = 6) -> Nnunet:
    names = tuple(f"case{number}" for number in range(cases))
    folder = write_raw(root / "nnUNet_raw" / NAME, names, channel_names={"0": "CT", "1": "PET"})
    for number, name in enumerate(names):
        shape = (9, 24 + number, 28)
        spacing = (0.7 + 0.05 * number, 0.8, 2.5)
        label = (gaussian_filter(np.random.default_rng(number).standard_normal(shape), 3) > 0).astype(np.uint8)
        images = [scan(shape, number)[0] + 300 * label.astype(np.float32), scan(shape, 99 + number)[0] / 7]
        for channel, image in enumerate(images):
            save(folder / "imagesTr" / f"{name}_000{channel}.nii.gz", image.astype(np.float32), spacing)
        save(folder / "labelsTr" / f"{name}.nii.gz", label, spacing)
    return Nnunet(NAME, configuration)


def save(path: Path, array: np.ndarray, spacing: tuple[float, ...]) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def nnunets_own(dataset: Nnunet, task: Any, name: str) -> np.ndarray:
    """The case as nnU-Net's preprocessor makes it from the raw files, with the task's plans."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(task.plans)
    files = [str(path) for path in dataset.raw.cases[name].images]
    configuration = manager.get_configuration(dataset.configuration)
    found = DefaultPreprocessor(verbose=False).run_case(files, None, manager, configuration, task.dataset_json)
    return np.asarray(found[0])


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_every_labelled_set_has_nnunets_own_images_from_one_copy(dataset: Nnunet, configuration: str) -> None:
    dataset = Nnunet(NAME, configuration)
    folders = set()
    for labelled in (dataset.pool[:1], dataset.pool[1:3]):
        task = dataset.task(labelled, dataset.pool, SMOKE, {})
        for name in dataset.pool:
            wanted = nnunets_own(dataset, task, name)
            assert np.abs(task.images[name].array[:] - wanted).max() < 2 * ROUNDING * np.abs(wanted).max()
        folders |= {path.parent.name for path in dataset._prepared.parent.rglob("*.b2nd")}
    assert folders == {"images", "labels"}


def test_an_image_that_does_not_fit_into_memory_is_the_same(dataset: Nnunet, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(dataset.task(dataset.pool[:1], dataset.pool, SMOKE, {}).images)
    monkeypatch.setattr(opened, "CACHE_BYTES", 0)
    read = dataset.task(dataset.pool[:1], dataset.pool, SMOKE, {}).images
    for name in dataset.pool:
        assert isinstance(read[name].array, Scaled)
        assert isinstance(known[name].array, np.ndarray)
        assert np.array_equal(read[name].array[:, 2:5, 3:9], known[name].array[:, 2:5, 3:9])
        assert read[name].properties == known[name].properties


def test_preparing_says_what_it_did(dataset: Nnunet) -> None:
    said = dataset.prepare()
    assert any(
        line.endswith("CT is kept before intensity scaling, which follows when an image is read") for line in said
    )


def test_twenty_labelled_sets_take_the_disk_of_one(dataset: Nnunet) -> None:
    def disk() -> int:
        return sum(file.stat().st_size for file in dataset._prepared.parent.rglob("*.b2nd"))

    dataset.prepare()
    before = disk()
    for first in range(len(dataset.pool)):
        task = dataset.task(dataset.pool[first : first + 2], dataset.pool, SMOKE, {})
        assert all(np.isfinite(task.images[name].array[:]).all() for name in dataset.pool)
    assert disk() == before


def test_plans_that_resample_in_another_way_keep_a_copy_for_each_labelled_set(
    dataset: Nnunet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset.prepare()
    plans = json.loads(json.dumps(dataset._plans))
    for plan in plans["configurations"].values():
        if "resampling_fn_data" in plan:
            plan["resampling_fn_data_kwargs"] = {**OPTIONS, "order_z": 1}
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "own"))
    (tmp_path / "own" / NAME).mkdir(parents=True)
    (tmp_path / "own" / NAME / "nnUNetPlans.json").write_text(json.dumps(plans))
    own = Nnunet(NAME)
    said = own.prepare()
    assert any("preprocessed the labels" in line and "the images follow for each labelled set" in line for line in said)
    assert not _plan.scales_late(own._plans, "2d")
    for labelled in (own.pool[:1], own.pool[1:3]):
        task = own.task(labelled, own.pool, SMOKE, {})
        wanted = nnunets_own(own, task, own.pool[0])
        assert np.array_equal(task.images[own.pool[0]].array[:], wanted)
    assert len([*own._prepared.parent.glob(f"{own._prepared.name}-ct-*/")]) == 2
