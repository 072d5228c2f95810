"""10,000 cases, 1,000 runs, 50 classes, 512 x 512 x 800 voxels: nothing is quadratic, and memory is bounded.

What can be counted is counted, on a few cases; the whole sizes are slow.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grids
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from toy import ToyDataset

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.forecast import plan
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.reading import voxels
from atso_bench.benchmark.reading.masks import Mask, read_mask
from atso_bench.benchmark.run import Bench, execute
from atso_bench.benchmark.scoring import evaluate, metrics
from atso_bench.benchmark.scoring.pictures import view
from atso_bench.benchmark.scoring.scored_classes import Classes
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store import record
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Image, Pool, Reference
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training import labelling, loop, origin
from atso_bench.datasets._volumes import opened as volumes
from atso_bench.datasets._volumes import patches
from atso_bench.datasets._volumes.chances import Geometry
from atso_bench.datasets._volumes.draws import BatchDraw
from atso_bench.datasets._volumes.raw import RawDataset

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "large_volume.py"
LARGE = (800, 512, 50)  # planes, rows and columns, classes
BUDGET = Budget.parse("24")
MANY = 10_000


class Counted(Mapping[str, Any]):
    """The same value for each of many cases; ``asked`` is how often for one."""

    def __init__(self, ids: tuple[str, ...], make: Callable[[], Any]) -> None:
        self.ids, self.make, self.asked = dict.fromkeys(ids), make, 0

    def __getitem__(self, case_id: str) -> Any:
        self.asked += 1
        return self.make()

    def __iter__(self) -> Iterator[str]:
        self.asked += len(self.ids)
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


def names(count: int) -> tuple[str, ...]:
    return tuple(f"case{number:05d}" for number in range(count))


def label_manager() -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(foreground_labels=[1, 2], has_ignore_label=False, all_labels=[0, 1, 2])


# Cases


def test_a_batch_of_many_cases_opens_no_more_of_them_than_one_of_few() -> None:
    label = np.arange(6 * 16 * 16).reshape(6, 16, 16) % 3
    asked = []
    for count in (20, MANY):
        ids = names(count)
        image = Image(np.zeros((1, 6, 16, 16), np.float32), {})
        images, labels = Counted(ids, lambda: image), Counted(ids, lambda: label.astype(np.uint8))  # noqa: B023
        draw = BatchDraw(Pool(ids, images, labels), 4, Geometry.of((8, 8)), label_manager())
        np.random.seed(0)
        for _ in range(5):
            draw()
        asked.append((images.asked, labels.asked))
    for of_images, of_labels in asked:  # of 5 batches of 4 patches; a case is sampled when it first comes
        assert 20 < of_images <= 3 * 20
        assert 20 < of_labels <= 2 * 20


def test_the_places_of_foreground_take_a_bounded_memory_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def places() -> tuple[list[Any], int]:
        ids = names(50)
        image = Image(np.zeros((1, 6, 16, 16), np.float32), {})
        label = (np.arange(6 * 16 * 16).reshape(6, 16, 16) % 7 == 0).astype(np.uint8)
        pool = Pool(ids, Counted(ids, lambda: image), Counted(ids, lambda: label))
        draw = BatchDraw(pool, 4, Geometry.of((8, 8)), label_manager())
        np.random.seed(0)
        found = [list(draw.places()) for _ in range(60)]
        return found, draw._voxels.bytes

    all_kept, taken = places()
    monkeypatch.setattr(patches, "PLACES", taken // 5)
    few_kept, less = places()
    assert few_kept == all_kept
    assert 0 < less <= taken // 5


def test_labels_that_are_not_kept_give_the_same_batches(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []
    for room in (1 << 30, 0):
        monkeypatch.setattr(volumes, "CACHE_BYTES", room)
        task = tiny.task(tiny.pool[:4], tiny.pool, BUDGET, {})
        pool = Pool(tiny.pool[:4], task.images, task.labels)
        loop.seed_everything(0, 0, 0, stream=0)
        batches.append(task.draws(pool, 4)())
        kept = [isinstance(task.labels[case_id], np.ndarray) for case_id in pool.ids]
        assert kept == [room > 0] * 4
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one, other)


def test_a_split_asks_for_each_group_a_fixed_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def group(self: ToyDataset, case_id: str, by: str = "") -> str:
        nonlocal asked
        asked += 1
        return case_id

    monkeypatch.setattr(ToyDataset, "group", group)
    found = []
    for count in (250, 1000):
        asked = 0
        make_split(ToyDataset(cases=count, unlabelled=names(count)), RunSpec("toy", "atso", "10", 0, BUDGET))
        found.append(asked)
    assert found[1] < 5 * found[0]


def test_rows_of_the_manifest_are_not_written_again_for_each_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second passes with each look at the clock; a manifest is due every second, as long as it is short."""
    now, rows = 0.0, 0
    write = Stages.write_manifest

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    def counted(folder: Path, labels: Mapping[str, Any], *rest: Any) -> None:
        nonlocal rows
        rows += len(labels)
        write(folder, labels, *rest)

    monkeypatch.setattr(Stages, "write_manifest", staticmethod(counted))
    monkeypatch.setattr(labelling.time, "monotonic", clock)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 1.0)
    monkeypatch.setattr(labelling, "MANIFEST_ROWS", 5)
    found = []
    for count in (40, 160):
        rows = 0
        dataset = ToyDataset(cases=count + 4)
        task = dataset.task(dataset.pool[:2], dataset.pool, BUDGET, {})
        trainer = Trainer(task, BUDGET, 0, Stages(tmp_path / str(count)))
        trainer.predict(trainer.new_model(), Pool(dataset.pool, task.images), phase="labels")
        found.append(rows)
    assert found[0] > 40
    assert found[1] < 8 * found[0]


def raw(folder: Path, count: int) -> RawDataset:
    """20 labelled cases and many without a label, with one voxel each that differs."""
    for part in ("imagesTr", "labelsTr", "imagesUn"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate(names(count)):
        part = "imagesTr" if number < 20 else "imagesUn"
        (folder / part / f"{name}_0000.nii").write_bytes(f"image {number}".encode())
        if number < 20:
            (folder / "labelsTr" / f"{name}.nii").write_bytes(f"label {number}".encode())
    description = {"labels": {"background": 0, "organ": 1}, "channel_names": {"0": "MRI"}, "file_ending": ".nii"}
    (folder / "dataset.json").write_text(json.dumps(description))
    return RawDataset(folder)


@pytest.mark.parametrize("count", [60, pytest.param(MANY, marks=pytest.mark.slow)])
def test_each_file_is_looked_at_once_and_read_once_for_good(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atso_bench.datasets._volumes import raw as _raw

    looked = read = 0
    stat, sha256 = Path.stat, _raw.sha256

    def counted_stat(path: Path, **how: Any) -> Any:
        nonlocal looked
        looked += path.suffix == ".nii"
        return stat(path, **how)

    def counted_sha256(path: Path) -> str:
        nonlocal read
        read += 1
        return sha256(path)

    monkeypatch.setattr(Path, "stat", counted_stat)
    monkeypatch.setattr(_raw, "sha256", counted_sha256)
    dataset, store = raw(tmp_path / "Dataset001_Many", count), tmp_path / "hashes.json"
    found = []
    for _ in range(2):
        looked = read = 0
        found.append(RawDataset(dataset.folder).hashes([store], store))
        assert looked <= 3 * (count + 20)
        assert read == (0 if len(found) == 2 else count + 20)
    assert found[0] == found[1]
    assert len(found[0]) == count
    looked = 0
    assert dataset.listing_problems() == []
    assert looked <= 3 * (count + 20)


# Runs


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the toy dataset was opened, and a record read."""
    asked = {"dataset": 0, "record": 0}
    read = record.Record.read.__func__  # type: ignore[attr-defined]

    def opened(name: str, configuration: str = "") -> ToyDataset:
        asked["dataset"] += 1
        return ToyDataset()

    def counted(cls: type, path: Path) -> record.Record:
        asked["record"] += 1
        found: record.Record = read(cls, path)
        return found

    monkeypatch.setattr(registry, "dataset", opened)
    monkeypatch.setattr(record.Record, "read", classmethod(counted))
    return asked


def specs(count: int) -> list[RunSpec]:
    each = ["10", "20", "30", "40", "50"]
    options = grid.Options({}, {})
    return grid.make_specs(["toy"], ["supervised", "self-learning"], each, range(count // 10), BUDGET, options)


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_grid_that_is_done_opens_its_data_once_and_reads_each_record_once(
    count: int, tmp_path: Path, toy: dict[str, int]
) -> None:
    runs = specs(count)
    assert len(runs) == count
    assert toy["dataset"] == 1
    done = execute(runs[0], Bench(tmp_path, "cpu", 0, silent()))
    for spec in runs:
        method = registry.method(spec.method, spec.options)
        code = origin.code(type(method))
        replace(done, spec=spec, options=method.model_dump(), code=code).write(tmp_path)
    toy.update(dataset=0, record=0)
    assert grids.run(runs, tmp_path, ["cpu"], 0, fresh=False) == 0
    assert toy == {"dataset": 2, "record": count}  # once for what was asked, once for what is done
    toy.update(dataset=0, record=0)
    assert all(found.done for found in plan.forecast(runs, tmp_path, "cpu", 0))
    assert toy == {"dataset": 1, "record": 0}  # the index of the records knows


def test_a_grid_looks_for_each_method_once(monkeypatch: pytest.MonkeyPatch, toy: dict[str, int]) -> None:
    """Each time the methods' folder is listed, which of 100,000 runs took nine tenths of the time."""
    asked: list[str] = []
    method = registry.method
    monkeypatch.setattr(registry, "method", lambda name, options: asked.append(name) or method(name, options))
    assert len(specs(20)) == 20
    assert len(asked) == len(set(asked))


def test_a_forecast_opens_the_data_once_for_all_runs(tmp_path: Path, toy: dict[str, int]) -> None:
    assert not any(found.done for found in plan.forecast(specs(20), tmp_path, "cpu", 0))
    assert toy["dataset"] <= 2


# Voxels and classes


def test_surfaces_are_sought_in_the_boxes_of_the_classes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = np.zeros((40, 40, 40), np.uint8)
    for number in range(1, 50):
        corner = np.unravel_index(number, (4, 4, 4))
        reference[tuple(slice(9 * at, 9 * at + 4) for at in corner)] = number
    prediction = np.roll(reference, 1, axis=0)
    looked = 0
    distances = metrics.surface_distances

    def counted(prediction: np.ndarray, *others: Any) -> Any:
        nonlocal looked
        looked += prediction.size
        return distances(prediction, *others)

    monkeypatch.setattr(metrics, "surface_distances", counted)
    scores = metrics.score_case(prediction, reference, [str(k) for k in range(51)], (1, 1, 1))
    assert looked == 49 * 4 * 4 * 5
    assert {one["assd_mm"] for name, one in scores.items() if name != "50"} == {scores["1"]["assd_mm"]}
    assert scores["50"]["empty"] == "both"
    assert math.isnan(scores["50"]["hd95_mm"])


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
@pytest.mark.parametrize("shape", [(50, 7, 9), (50,), (0, 7, 9), (3, 500)])
def test_blocks_change_no_count(kind: type, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    prediction, reference = (random.integers(0, 4, shape).astype(kind) for _ in range(2))
    for ignore in (None, 3):
        monkeypatch.setattr(voxels, "BLOCK", 1 << 30)
        whole = metrics.confusion(prediction, reference, 4, ignore)
        monkeypatch.setattr(voxels, "BLOCK", 130)
        assert (metrics.confusion(prediction, reference, 4, ignore) == whole).all()
        known = reference != ignore
        assert whole.sum() == known.sum()
        assert np.trace(whole) == (known & (prediction == reference)).sum()


def test_labels_are_counted_in_a_memory_that_does_not_grow_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voxels, "BLOCK", 1 << 16)
    label = np.zeros((64, 128, 128), np.uint8)
    for labels in (label, label.astype(np.int32)):
        tracemalloc.start()
        metrics.confusion(labels, labels, 50)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 30 << 16  # with 8 bytes for each voxel at once it was above 8 << 20


def test_a_folder_is_scored_with_a_byte_for_each_voxel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voxels, "BLOCK", 1 << 14)
    label = np.zeros((64, 128, 128), np.uint8)
    label[5:20, 5:20, 5:20] = 7
    label[:, 0, 0] = 200
    for part in ("predictions", "references"):
        (tmp_path / part).mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(label), str(tmp_path / part / "a.nii.gz"))
    mask = read_mask(tmp_path / "references" / "a.nii.gz")
    classes = Classes({"organ": (7,)}, 200, "a test")
    tracemalloc.start()
    found = classes.labels(mask, ["organ"], ignore=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found == np.select([label == 7, label == 200], [1, 255], 0)).all()
    assert peak < 2 * label.size
    evaluated = evaluate.evaluate_folders(tmp_path / "predictions", tmp_path / "references", tmp_path / "scores.csv")
    assert {name: one["tp"] for name, one in evaluated.cases["a"].items()} == {"class 7": 15**3, "class 200": 64}


def test_more_classes_than_a_byte_counts_are_scored_too() -> None:
    classes = Classes({f"class {number}": (number,) for number in range(1, 400)}, 1000, "a test")
    mask = Mask(Path("a"), np.array([[[0, 1, 254], [255, 399, 1000]]], np.int16), (1.0, 1.0, 1.0))
    found = classes.labels(mask, list(classes.values), ignore=True)
    assert found.ravel().tolist() == [0, 1, 254, 255, 399, classes.left_out]
    sparse = Classes({"far": (1 << 20,)}, None, "a test")
    mask = Mask(Path("a"), np.array([[[0, 1 << 20]]], np.int32), (1.0, 1.0, 1.0))
    assert sparse.labels(mask, ["far"], ignore=True).ravel().tolist() == [0, 1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slice_to_look_at_is_the_one_with_the_largest_shares(axis: int) -> None:
    label = np.random.default_rng(axis).integers(0, 6, (9, 10, 11)).astype(np.uint8)
    label[label == 5] = 255
    shares = np.zeros(label.shape[axis])
    for value in (1, 2, 3, 4):
        areas = (label == value).sum(axis=tuple(other for other in range(3) if other != axis))
        shares += areas / areas.sum()
    spacing = tuple(3.0 if each == axis else 1.0 for each in range(3))
    seen = view(Reference(label, spacing))
    assert (seen.axis, seen.index) == (axis, int(np.argmax(shares)))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["label", "score"])
def test_a_large_volume_of_many_classes_takes_the_memory_that_is_stated(what: str) -> None:
    taken = measured(what, *LARGE)
    assert taken["taken"] <= taken["stated"]
    assert taken["stated"] < 5 << 30  # all logits in half precision are 20 GiB


@pytest.mark.slow
@pytest.mark.parametrize("what", ["soft", "restore", "resample", "score"])
def test_a_volume_takes_the_memory_that_is_stated(what: str) -> None:
    taken = measured(what, 100, 256, 50)
    assert taken["taken"] <= taken["stated"]


def measured(what: str, planes: int, side: int, classes: int) -> dict[str, float]:
    command = [sys.executable, str(SCRIPT), what, str(planes), str(side), str(classes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found
