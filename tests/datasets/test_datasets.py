"""nnU-Net's parts do here what they do in nnU-Net, labels stay where they belong, and broken data is named."""

import copy
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from children import SERVER

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.task import IGNORE, Pool
from atso_bench.datasets._shared import storage
from atso_bench.datasets._volumes import arrays
from atso_bench.datasets._volumes.examine import examine
from atso_bench.datasets._volumes.plan import needs_intensities
from atso_bench.datasets._volumes.raw import Case
from atso_bench.datasets._volumes.trusted import check_plans
from atso_bench.datasets.nnunet import Nnunet
from atso_bench.datasets.phantom import Phantom

CPU = torch.device("cpu")
SMOKE = Budget.parse("smoke")
SMALL = {"cases": 4, "unlabelled": 1, "size": (8, 24, 24)}


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data root of this test alone."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ATSO_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


@pytest.fixture(params=["2d", "3d_fullres"])
def dataset(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("tiny" if request.param == "2d" else "tiny_3d")


def open_task(dataset: Any, labelled: int = 3, **overrides: Any) -> Any:
    """A task with S = the first cases of the pool, opened for the whole pool, T and the unlabelled cases."""
    visible = (*dataset.pool, *dataset.test, *dataset.unlabelled)
    return dataset.task(dataset.pool[:labelled], visible, SMOKE, overrides)


def labelled_pool(task: Any) -> Pool:
    return Pool(tuple(task.labels), task.images, task.labels)


def seeded(draw: Callable[[], Any], seed: int = 1) -> Any:
    np.random.seed(seed)
    torch.manual_seed(seed)
    return draw()


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def relabel(folder: Path, change: Callable[[sitk.Image], sitk.Image], *names: str) -> None:
    for name in names:
        path = str(folder / f"{name}.nii.gz")
        sitk.WriteImage(change(sitk.ReadImage(path)), path)


def as_noise(label: sitk.Image) -> sitk.Image:
    noise = np.random.default_rng(0).integers(0, 3, label.GetSize()[::-1])
    return like(noise.astype(np.uint8), label)


def like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    new = sitk.GetImageFromArray(array)
    new.CopyInformation(image)
    return new


# -- prediction, loss and batches are nnU-Net's -----------------------------------------------------------------------


def test_a_prediction_comes_back_in_the_original_geometry(dataset: Any) -> None:
    task = open_task(dataset)
    for case_id in (dataset.pool[0], dataset.test[0]):
        reference, hidden = dataset.reference(case_id), dataset.hidden_label(case_id)
        assert hidden.shape == task.images[case_id].array.shape[1:]
        perfect = torch.nn.functional.one_hot(torch.from_numpy(hidden).long(), 3).movedim(-1, 0).float()
        restored = task.restore(task.images[case_id], perfect)
        assert restored.shape == reference.label.shape
        organ, found = reference.label > 0, restored > 0
        dice = 2 * (organ & found).sum() / (organ.sum() + found.sum())
        assert dice > 0.75  # a few hundred voxels, most of them at the surface
        image = sitk.ReadImage(str(dataset.raw.cases[case_id].images[0]))
        assert reference.spacing == pytest.approx(image.GetSpacing()[::-1])


def test_predictions_equal_nnunets_tile_by_tile_predictor(dataset: Any) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    patch = [16] * len(open_task(dataset).recipe.patch)  # smaller than the image, so that tiles overlap
    task = open_task(dataset, patch=[8, *patch[1:]] if len(patch) == 3 else patch)
    torch.manual_seed(0)
    network = task.network().train()
    image = task.images[dataset.test[0]]
    for mirror in (False, True):
        ours = task.predict(network, image, CPU, mirror=mirror)
        assert network.training
        theirs = nnUNetPredictor(device=CPU, use_mirroring=mirror, allow_tqdm=False)
        axes = task._geometry.mirror_axes
        theirs.manual_initialization(
            network,
            task._manager,
            task._configuration,
            [network.state_dict()],
            task.dataset_json,
            "nnUNetTrainer",
            axes,
        )
        expected = theirs.predict_logits_from_preprocessed_data(torch.from_numpy(image.array.copy())).float()
        network.train()
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, expected, atol=2e-3)
        assert (ours.argmax(0) == expected.argmax(0)).float().mean() == 1


def test_the_network_has_heads_for_training_and_one_output_for_prediction(dataset: Any) -> None:
    task = open_task(dataset)
    network = copy.deepcopy(task.network())  # as a teacher is made
    image = torch.zeros(1, 1, *task.recipe.patch)
    heads = network.train()(image)
    assert isinstance(heads, list)
    assert heads[0].shape == (1, 3, *task.recipe.patch)
    assert network.eval()(image).shape == heads[0].shape
    assert "decoder.seg_layers.0.weight" in network.state_dict()


def trainers_loss(task: Any, ignore: int | None) -> tuple[Any, list[Any]]:
    """nnU-Net's own loss for this task's configuration, and its deep supervision scales."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = SimpleNamespace(
        label_manager=SimpleNamespace(has_regions=False, ignore_label=ignore),
        configuration_manager=task._configuration,
        is_ddp=False,
        enable_deep_supervision=True,
        _do_i_compile=lambda: False,
    )
    scales = nnUNetTrainer._get_deep_supervision_scales(trainer)
    trainer._get_deep_supervision_scales = lambda: scales
    return nnUNetTrainer._build_loss(trainer), scales


@pytest.mark.parametrize("ignore", [None, IGNORE])
def test_the_loss_is_nnunets(dataset: Any, ignore: int | None) -> None:
    from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform

    from atso_bench.datasets._volumes.loss import DeepSupervisedLoss

    task = open_task(dataset)
    torch.manual_seed(0)
    heads = task.network().train()(torch.randn(2, 1, *task.recipe.patch))
    label = torch.randint(0, 3, (2, *task.recipe.patch))
    if ignore is not None:
        label[:, :3] = ignore
    loss, scales = trainers_loss(task, ignore)
    down = DownsampleSegForDSTransform(scales)
    each = [down(segmentation=one[None].to(torch.int16))["segmentation"] for one in label]
    expected = loss(heads, [torch.stack(parts) for parts in zip(*each, strict=True)])
    ours = DeepSupervisedLoss(task._configuration.batch_dice)(heads, label, partial=ignore is not None)
    assert torch.allclose(ours, expected, atol=0, rtol=1e-6)
    assert torch.equal(task.loss(heads, label, partial=ignore is not None), ours)


def test_patches_without_a_label_teach_nothing_and_break_nothing(dataset: Any) -> None:
    task = open_task(dataset)
    heads = task.network().train()(torch.randn(2, 1, *task.recipe.patch))
    label = torch.full((2, *task.recipe.patch), IGNORE)
    nothing = torch.autograd.grad(task.loss(heads, label, pseudo=True, partial=True), heads[0], retain_graph=True)[0]
    assert not nothing.any()
    label[1] = 1
    some = torch.autograd.grad(task.loss(heads, label, pseudo=True, partial=True), heads[0])[0]
    assert torch.isfinite(some).all()
    assert some[1].any()
    assert not some[0].any()


def test_soft_labels_that_are_hard_cost_the_same(dataset: Any) -> None:
    task = open_task(dataset)
    label = torch.randint(0, 3, (2, *task.recipe.patch))
    soft = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    output = torch.randn(2, 3, *task.recipe.patch, requires_grad=True)
    assert torch.allclose(task.loss(output, label), task.loss(output, soft), rtol=1e-5)
    heads = task.network().train()(torch.randn(2, 1, *task.recipe.patch))
    assert torch.isfinite(task.loss(heads, torch.full_like(soft, 1 / 3)))


def test_equal_seeds_draw_equal_batches_here_and_in_another_process(dataset: Any) -> None:
    task = open_task(dataset)
    draw = task.draws(labelled_pool(task), 4)
    first = [seeded(draw, seed) for seed in range(8)]
    image, label = first[0]
    assert image.shape == (4, 1, *task.recipe.patch)
    assert image.dtype == torch.float32
    assert label.shape == (4, *task.recipe.patch)
    assert label.dtype == torch.int64
    assert set(label.unique().tolist()) <= {0, 1, 2}
    again = task.draws(labelled_pool(task), 4)
    assert all(same(batch, seeded(again, seed)) for seed, batch in enumerate(first))
    assert not same(first[0], first[1])
    with SERVER.Pool(1) as pool:
        there = pool.map(Numbers(pickle.loads(pickle.dumps(draw))), range(8))
    assert all(
        np.array_equal(a, b.numpy())
        for ours, theirs in zip(first, there, strict=True)
        for a, b in zip(theirs, ours, strict=True)
    )


class Numbers:
    """A draw whose batches travel between processes as NumPy arrays."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw

    def __call__(self, seed: int) -> Any:
        torch.set_num_threads(2)  # must not matter
        return [part.numpy() for part in seeded(self.draw, seed)]


def test_drawing_leaves_the_images_alone(tiny: Any) -> None:
    task = open_task(tiny)
    before = {name: image.array.copy() for name, image in task.images.items()}
    draw = task.draws(labelled_pool(task), 6)
    for seed in range(5):
        seeded(draw, seed)
    assert all(np.array_equal(before[name], task.images[name].array) for name in before)


def test_the_last_third_of_a_batch_holds_foreground_of_the_pools_own_labels(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = open_task(tiny, patch=(8, 8), augmentation="nnunet")
    shape = task.images[tiny.pool[0]].array.shape[1:]
    pseudo = np.zeros(shape, np.uint8)
    pseudo[0, 0, 0] = 2  # one voxel in a corner that random patches rarely meet
    pool = Pool(tiny.pool[:1], task.images).labelled_by({tiny.pool[0]: pseudo})
    draw = task.draws(pool, 9)
    monkeypatch.setattr(draw, "transforms", lambda **sample: sample)
    labels = torch.stack([seeded(draw, seed)[1] for seed in range(20)])
    hit = (labels == 2).flatten(2).any(-1)
    assert hit[:, 6:].all()
    assert hit[:, :6].float().mean() < 0.1


def test_a_pool_without_labels_draws_images_alone(dataset: Any) -> None:
    task = open_task(dataset)
    image, label = seeded(task.draws(Pool(dataset.unlabelled, task.images), 3))
    assert label is None
    assert image.shape == (3, 1, *task.recipe.patch)
    with pytest.raises(ValueError, match="without cases"):
        task.draws(Pool((), task.images), 3)


def test_soft_labels_turn_with_the_image_and_stay_probabilities(dataset: Any) -> None:
    task = open_task(dataset)
    names = dataset.pool[:2]
    hard = {name: dataset.hidden_label(name) for name in names}
    soft = {name: np.eye(3, dtype=np.float32)[label].transpose(3, 0, 1, 2) for name, label in hard.items()}
    one = task.draws(Pool(names, task.images, hard), 6)
    other = task.draws(Pool(names, task.images, soft), 6)
    agreement = []
    for seed in range(6):
        image, label = seeded(one, seed)
        image_too, chances = seeded(other, seed)
        assert torch.equal(image, image_too)
        assert chances.shape == (6, 3, *task.recipe.patch)
        assert torch.allclose(chances.sum(1), torch.ones_like(chances.sum(1)), atol=1e-5)
        agreement.append((chances.argmax(1) == label).float().mean())
    assert torch.stack(agreement).mean() > 0.99


# -- what a task may know ---------------------------------------------------------------------------------------------


def test_a_task_hands_out_what_it_was_opened_for_and_no_more(tiny: Any) -> None:
    task = tiny.task(tiny.pool[:2], tiny.pool[:4], SMOKE, {})
    assert tuple(task.labels) == tiny.pool[:2]
    assert tuple(task.images) == tiny.pool[:4]
    with pytest.raises(KeyError, match="opened for"):
        task.images[tiny.test[0]]
    with pytest.raises(KeyError, match="labelled cases of this task"):
        task.labels[tiny.pool[2]]
    assert np.array_equal(task.labels[tiny.pool[0]], tiny.hidden_label(tiny.pool[0]))
    assert not task.labels[tiny.pool[0]].flags.writeable
    with pytest.raises(ValueError, match="nobody"):
        tiny.task(("nobody",), (), SMOKE, {})
    with pytest.raises(ValueError, match=tiny.unlabelled[0]):
        tiny.task(tiny.unlabelled[:1], (), SMOKE, {})


@pytest.mark.parametrize("modality", ["MRI", "CT"])
def test_labels_outside_s_change_nothing(data: Path, modality: str) -> None:
    tasks = []
    for noisy in (False, True):
        dataset = a_copy(data, noisy, modality)
        labelled = dataset.pool[:1]
        if noisy:
            others = [name for name in dataset.raw.labelled if name not in labelled]
            relabel(dataset.raw.folder / "labelsTr", as_noise, *others)
        task = dataset.task(labelled, (*dataset.pool, *dataset.unlabelled), SMOKE, {})
        tasks.append((dataset.identity, task))
    (identity, clean), (changed, noisy_task) = tasks
    assert identity != changed
    assert clean.identity == noisy_task.identity
    assert {**clean.plans, "dataset_name": ""} == {**noisy_task.plans, "dataset_name": ""}
    for name in clean.images:
        assert np.array_equal(clean.images[name].array, noisy_task.images[name].array)
    assert needs_intensities(clean.plans, "2d") == (modality == "CT")


def a_copy(data: Path, again: bool, modality: str) -> Nnunet:
    """A generic dataset made of phantom volumes; equal but for its place."""
    raw = Phantom(**SMALL).raw.folder
    target = raw.parent / f"Dataset51{int(again)}_Copy"
    shutil.copytree(raw, target)
    description = {**json.loads((target / "dataset.json").read_text()), "channel_names": {"0": modality}}
    (target / "dataset.json").write_text(json.dumps(description))
    return Nnunet(f"51{int(again)}")


def test_ct_is_normalised_by_s_alone(data: Path) -> None:
    dataset = a_copy(data, False, "CT")
    one = dataset.task(dataset.pool[:1], dataset.pool, SMOKE, {})
    other = dataset.task(dataset.pool[1:2], dataset.pool, SMOKE, {})
    assert one.identity != other.identity
    found = one.plans["foreground_intensity_properties_per_channel"]["0"]
    case = dataset.raw.cases[dataset.pool[0]]
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(case.images[0])))
    inside = image[sitk.GetArrayFromImage(sitk.ReadImage(str(case.label))) > 0]
    assert found["mean"] == pytest.approx(inside.mean(), rel=0.01)
    assert (found["min"], found["max"]) == (inside.min(), inside.max())
    array = one.images[dataset.pool[1]].array
    assert array.max() <= (found["percentile_99_5"] - found["mean"]) / found["std"] * 1.5  # cubic resampling overshoots
    assert not np.array_equal(array, other.images[dataset.pool[1]].array)
    relabel(dataset.raw.folder / "labelsTr", lambda image: image * 0, dataset.pool[0])
    with pytest.raises(ValueError, match="has foreground"):
        Nnunet("510").task(dataset.pool[:1], dataset.pool, SMOKE, {})


def test_the_identity_follows_data_and_recipe(tiny: Any) -> None:
    task = open_task(tiny)
    assert open_task(tiny).identity == task.identity
    assert open_task(tiny, 2).identity != task.identity
    assert open_task(tiny, lr=0.02).identity != task.identity
    assert open_task(tiny, width=4).identity != task.identity


def test_the_planned_network_is_used_where_a_budget_says_so(tiny: Any) -> None:
    task = tiny.task(tiny.pool[:1], (), Budget.parse("77"), {})
    assert task.recipe.momentum == 0.99
    assert task.details["features"][0] == 32
    assert task.recipe.batch == task.plans["configurations"]["2d"]["batch_size"]
    small = tiny.task(tiny.pool[:1], (), Budget.parse("77"), {"width": 4, "batch": 3})
    assert small.details["features"] == [4 * 2**stage for stage in range(len(task.details["features"]))]
    assert small.recipe.batch == small.plans["configurations"]["2d"]["batch_size"] == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"colour": 1}, "known: patch, batch, lr"),
        ({"patch": (7, 8)}, "divisible by"),
        ({"patch": (8, 8, 8)}, "has 2 sizes"),
        ({"patch": (4, 4)}, "two or more"),
        ({"width": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(tiny: Any, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_task(tiny, **overrides)


# -- preparation ------------------------------------------------------------------------------------------------------


def test_one_pass_names_every_bad_case(data: Path) -> None:
    folder = Phantom(cases=9, unlabelled=1, size=SMALL["size"]).raw.folder
    images, labels = folder / "imagesTr", folder / "labelsTr"
    (labels / "phantom_001.nii.gz").unlink()
    relabel(labels, lambda image: image + 5, "phantom_002")
    relabel(labels, lambda image: image[:, :, 1:], "phantom_003")

    def moved(image: sitk.Image) -> sitk.Image:
        image.SetOrigin((7.0, 7.0, 7.0))
        return image

    relabel(labels, moved, "phantom_004")
    relabel(images, lambda image: image * 0, "phantom_005_0000")
    (images / "phantom_006_0000.nii.gz").write_bytes(b"no image")
    shutil.copy(images / "phantom_007_0000.nii.gz", images / "phantom_007_0001.nii.gz")
    shutil.copy(images / "phantom_008_0000.nii.gz", folder / "imagesUn" / "phantom_008_0000.nii.gz")
    (images / "phantom_009_0000.nii.gz").unlink()
    with pytest.raises(ValueError, match="problem") as caught:
        Phantom(cases=9, unlabelled=1, size=SMALL["size"]).prepare()
    text = str(caught.value)
    for expected in (
        "phantom_001: no label at",
        "move the image to imagesUn/",
        "phantom_002: label values 5",
        "phantom_003: the label has shape",
        "phantom_004: image and label differ: the image's origin is",
        "phantom_005: the image is zero everywhere",
        "phantom_006: cannot read its image",
        "phantom_007: 2 channel file(s)",
        "phantom_008: in imagesTr and in imagesUn",
        "phantom_009: a label in labelsTr, but no image",
    ):
        assert expected in text, text
    assert not list(data.rglob("prepared.json"))


def test_voxels_that_are_not_numbers_are_found(tmp_path: Path) -> None:
    image = np.ones((1, 4, 4, 4), np.float32)
    image[0, 0, 0, :2] = np.nan, np.inf  # for readers other than ITK's
    reader = SimpleNamespace(read_images=lambda files: (image, {"spacing": (3.0, 1.0, 1.0)}))
    (tmp_path / "case_0000.nrrd").write_text("not empty")
    look = examine(Case("case", (tmp_path / "case_0000.nrrd",)), 1, [0, 1], reader)
    assert look.problems == ("2 voxels of the image are NaN or infinite; replace them",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "whole": [1, 2], "core": 2}, "regions"),
        ({"background": 0, "organ": 2}, "without a gap"),
        ({"nothing": 0, "organ": 1}, "'background'"),
        ({"background": 0, "ignore": 1, "organ": 2}, "highest"),
    ],
)
def test_labels_that_are_not_supported_are_named(data: Path, labels: dict[str, Any], message: str) -> None:
    dataset = a_copy(data, False, "MRI")
    path = dataset.raw.folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": labels}))
    with pytest.raises(ValueError, match=message):
        Nnunet("510").prepare()


def test_nnunets_ignore_label_neither_trains_nor_counts(data: Path) -> None:
    path = a_copy(data, False, "MRI").raw.folder / "dataset.json"
    labels = {"background": 0, "organ": 1, "ignore": 2}
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": labels}))
    dataset = Nnunet("510")
    dataset.ready()
    task = dataset.task(dataset.pool, dataset.pool, SMOKE, {})
    assert task.classes == ("background", "organ")
    assert set(np.unique([np.unique(dataset.reference(name).label).max() for name in dataset.pool])) <= {1, IGNORE}
    assert IGNORE in np.concatenate([np.unique(task.labels[name]) for name in dataset.pool])
    image, label = seeded(task.draws(labelled_pool(task), 8))
    assert label.max() in (1, IGNORE)
    assert torch.isfinite(task.loss(task.network().train()(image), label))
    assert seeded(task.draws(Pool(dataset.pool, task.images), 2))[1] is None


def test_images_beside_the_labelled_ones_join_and_the_test_set_stays(tiny: Any, data: Path) -> None:
    assert tiny.unlabelled == ("phantom_011", "phantom_012")
    assert set(tiny.unlabelled) <= set(open_task(tiny).images)
    assert tiny.test == Phantom(cases=10, unlabelled=0, size=SMALL["size"]).test
    with pytest.raises(KeyError, match="no labelled case"):
        tiny.reference(tiny.unlabelled[0])


def test_an_own_labelled_test_set_is_t_and_an_unlabelled_one_is_not_used(data: Path) -> None:
    folder = a_copy(data, False, "MRI").raw.folder
    (folder / "imagesTs").mkdir()
    (folder / "imagesTr" / "phantom_004_0000.nii.gz").rename(folder / "imagesTs" / "phantom_004_0000.nii.gz")
    label = (folder / "labelsTr" / "phantom_004.nii.gz").rename(folder / "phantom_004.nii.gz")
    dataset = Nnunet("510")
    assert "phantom_004" not in (*dataset.pool, *dataset.test, *dataset.unlabelled)
    (folder / "labelsTs").mkdir()
    label.rename(folder / "labelsTs" / label.name)
    dataset = Nnunet("510")
    assert dataset.test == ("phantom_004",)
    assert dataset.pool == ("phantom_001", "phantom_002", "phantom_003")


def test_a_dataset_is_found_by_id_and_the_users_own_plans_are_used(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset = a_copy(data, False, "MRI")
    dataset.ready()
    plans = copy.deepcopy(dataset._plans)
    plans["configurations"]["2d"].update(patch_size=[16, 16], batch_size=5)
    own = tmp_path / "preprocessed" / dataset.folder
    own.mkdir(parents=True)
    (own / "nnUNetPlans.json").write_text(json.dumps(plans))
    monkeypatch.setenv("nnUNet_preprocessed", str(own.parent))
    monkeypatch.setenv("nnUNet_raw", str(dataset.raw.folder.parent))
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "elsewhere"))
    for name in ("510", "0510"[1:], "Dataset510_Copy"):
        found = Nnunet(name)
        assert found.name == "Dataset510_Copy"
    assert any("plans from" in line for line in found.prepare())
    assert found._key != dataset._key
    task = found.task(found.pool, found.pool, Budget.parse("9"), {})
    assert (task.recipe.patch, task.recipe.batch) == ((16, 16), 5)
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["nonlin"] = "os.system"
    (own / "nnUNetPlans.json").write_text(json.dumps(plans))
    with pytest.raises(ValueError, match=r"2d.architecture.arch_kwargs.nonlin is 'os.system'"):
        Nnunet("510").prepare()


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        (("architecture", "network_class_name"), "subprocess.Popen"),
        (("architecture", "_kw_requires_import"), ["conv_op", "strides"]),
        (("architecture", "arch_kwargs", "nonlin"), "torch.nn.LeakyReLU.__init__"),
        (("architecture", "arch_kwargs", "dropout_op"), "torch.hub.load"),
        (("resampling_fn_data",), "system"),
        (("normalization_schemes",), ["Path"]),
        (("preprocessor_name",), "MyPreprocessor"),
    ],
)
def test_plans_that_name_unknown_things_are_refused(tiny: Any, entry: tuple[str, ...], value: Any) -> None:
    plans = copy.deepcopy(tiny._plans)
    check_plans(plans)
    place = plans["configurations"]["2d"]
    for key in entry[:-1]:
        place = place[key]
    place[entry[-1]] = value
    with pytest.raises(ValueError, match="trusted"):
        check_plans(plans)


def test_unknown_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="2d, 3d_fullres"):
        Nnunet(configuration="3d_cascade_fullres")


def test_data_that_is_not_there_says_what_to_do(data: Path) -> None:
    from atso_bench.datasets.hippocampus import Hippocampus

    there, hint = Hippocampus().is_ready()
    assert not there
    assert "atso-bench prepare hippocampus --from PATH" in hint
    with pytest.raises(FileNotFoundError, match="--from PATH"):
        Hippocampus().ready()
    with pytest.raises(FileNotFoundError, match="no Dataset777_"):
        Nnunet("777")
    with pytest.raises(ValueError, match="Dataset004_Hippocampus, 004 or 4"):
        Nnunet("../secret")


def test_a_preparation_that_is_stopped_is_not_mistaken_for_done(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from atso_bench.datasets._volumes import prepare

    write, written = arrays.write_array, []

    def stop_at_the_seventh(path: Path, *rest: Any) -> None:
        written.append(path)
        if len(written) == 7:
            raise KeyboardInterrupt
        write(path, *rest)

    monkeypatch.setattr(prepare, "write_array", stop_at_the_seventh)
    with pytest.raises(KeyboardInterrupt):
        Phantom(**SMALL).ready()
    assert Phantom(**SMALL)._find_prepared() is None
    monkeypatch.setattr(prepare, "write_array", write)
    lines: list[str] = []
    assert Phantom(**SMALL).ready(lines.append) == lines
    assert lines
    assert Phantom(**SMALL).ready() == []
    assert not list(data.rglob("*.partial"))


def test_a_second_process_waits(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with storage.locked(tmp_path / "lock"):
            order.append("second")

    with storage.locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_a_read_only_data_root_is_read_and_the_cache_is_written(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_copy(data, False, "MRI")
    before = sorted(data.rglob("*"))
    monkeypatch.setattr(storage, "_writable", lambda folder: folder != data)
    dataset = Nnunet("510")
    dataset.ready()
    assert dataset._prepared.is_relative_to(tmp_path / "cache")
    assert sorted(data.rglob("*")) == before
    monkeypatch.undo()


def test_changed_data_is_noticed(data: Path) -> None:
    identity = Phantom(**SMALL).identity
    assert Phantom(**SMALL).identity == identity
    folder = Phantom(**SMALL).raw.folder
    relabel(folder / "labelsTr", lambda image: image * 0, "phantom_001")
    assert Phantom(**SMALL).identity != identity


# -- archives ---------------------------------------------------------------------------------------------------------


def decathlon(folder: Path) -> Path:
    """A small task in the decathlon's layout, without imagesTs as some copies come."""
    raw = Phantom(**SMALL).raw.folder
    task = folder / "Task04_Hippocampus"
    for name in ("imagesTr", "labelsTr"):
        (task / name).mkdir(parents=True)
    for number in range(1, 5):
        image = raw / "imagesTr" / f"phantom_00{number}_0000.nii.gz"
        shutil.copy(image, task / "imagesTr" / f"hippocampus_00{number}.nii.gz")
        shutil.copy(
            raw / "labelsTr" / f"phantom_00{number}.nii.gz", task / "labelsTr" / f"hippocampus_00{number}.nii.gz"
        )
    (task / "imagesTr" / "._hippocampus_001.nii.gz").write_bytes(b"what a Mac leaves in a tar")
    description = {"name": "H", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "A", "2": "P"}}
    (task / "dataset.json").write_text(json.dumps({**description, "training": [], "numTraining": 4}))
    return task


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net's converter starts processes anew, each of which imports torch; the server has done so."""
    from nnunetv2.dataset_conversion import convert_MSD_dataset

    monkeypatch.setattr(convert_MSD_dataset, "multiprocessing", SimpleNamespace(get_context=lambda _: SERVER))


@pytest.mark.usefixtures("served")
def test_a_decathlon_folder_is_imported(data: Path, tmp_path: Path) -> None:
    from atso_bench.datasets.hippocampus import Hippocampus

    lines = Hippocampus().prepare(decathlon(tmp_path))
    assert "imported" in lines[0]
    dataset = Hippocampus()
    assert sorted((*dataset.pool, *dataset.test)) == [f"hippocampus_00{number}" for number in range(1, 5)]
    assert dataset.raw.folder == data / "nnUNet_raw" / "Dataset004_Hippocampus"
    assert dataset.raw.classes == ("background", "A", "P")
    assert dataset.is_ready()[0]
    assert "already exists" in Hippocampus().prepare(tmp_path)[0]
    assert [path.name for path in (data / "nnUNet_raw").glob("[!.]*Hippo*")] == ["Dataset004_Hippocampus"]


@pytest.mark.usefixtures("served")
def test_a_decathlon_tar_is_imported_if_its_checksum_is_the_published_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atso_bench.datasets._volumes.msd import _md5
    from atso_bench.datasets.hippocampus import Hippocampus

    archive = tmp_path / "Task04_Hippocampus.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(decathlon(tmp_path), "Task04_Hippocampus")
    with pytest.raises(ValueError, match="published is 9d24dba78a72977dbd1d2e110310f31b"):
        Hippocampus().prepare(archive)
    assert not list((data / "nnUNet_raw").glob("*Hippo*/*"))
    monkeypatch.setattr(Hippocampus, "md5", _md5(archive))
    Hippocampus().prepare(archive)
    assert len(Hippocampus().raw.labelled) == 4


def test_an_archive_cannot_write_outside(data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(__file__, "../evil.py")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        Nnunet("Dataset600_Evil").prepare(archive)
    assert not list(data.rglob("*evil*"))


def test_a_folder_in_nnunets_layout_is_imported(data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(Phantom(**SMALL).raw.folder, tmp_path / "mine")
    lines = Nnunet("Dataset611_Mine").prepare(folder)
    assert "imported" in lines[0]
    assert len(Nnunet("611").pool) == 3


def volume(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.2, 1.2, 5.0))
    sitk.WriteImage(image, str(path))


def test_acdc_groups_the_frames_of_a_patient(data: Path, tmp_path: Path) -> None:
    from atso_bench.datasets.acdc import Acdc

    array = np.random.default_rng(0).integers(0, 4, (4, 20, 20)).astype(np.uint8)
    for patient in range(1, 6):
        for frame in ("frame01", "frame12"):
            name = tmp_path / "training" / f"patient00{patient}" / f"patient00{patient}_{frame}"
            volume(name.with_name(f"{name.name}.nii.gz"), array)
            volume(name.with_name(f"{name.name}_gt.nii.gz"), array)
        volume(tmp_path / "training" / f"patient00{patient}" / f"patient00{patient}_4d.nii.gz", array)
    dataset = Acdc()
    dataset._import(tmp_path)
    assert len(dataset.raw.labelled) == 10
    assert len(dataset.test) == 2
    assert len({dataset.group(name) for name in dataset.test}) == 1
    assert not {dataset.group(name) for name in dataset.test} & {dataset.group(name) for name in dataset.pool}


def test_la_reads_the_challenges_nrrd_files(data: Path, tmp_path: Path) -> None:
    from atso_bench.datasets.la import La

    array = np.random.default_rng(0).integers(0, 2, (4, 20, 20)).astype(np.uint8) * 255
    for patient in ("0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX"):
        volume(tmp_path / "Training Set" / patient / "lgemri.nrrd", array)
        volume(tmp_path / "Training Set" / patient / "laendo.nrrd", array)
    dataset = La()
    dataset._import(tmp_path)
    assert sorted(dataset.raw.labelled) == ["0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX"]
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset.raw.cases["0RZDK210BSMWAA6467LU"].label)))
    assert set(np.unique(label)) == {0, 1}
    (tmp_path / "h5").mkdir()
    (tmp_path / "h5" / "mri_norm2.h5").touch()
    with pytest.raises(ValueError, match=r"mri_norm2\.h5 is no HDF5 file with an image and a label"):
        La().convert(tmp_path / "h5", tmp_path)


def test_pancreas_ct_brings_image_and_label_into_one_orientation(data: Path, tmp_path: Path) -> None:
    from atso_bench.datasets.pancreas_ct import PancreasCt

    truth = np.zeros((5, 16, 16), np.int16)
    truth[1, 2:5, 8:] = 1
    series = tmp_path / "Pancreas-CT" / "PANCREAS_0001" / "study" / "series"
    series.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, plane in enumerate(truth):
        image = sitk.GetImageFromArray(plane * 100)
        image.SetSpacing((0.8, 0.8))
        position = f"0\\0\\{number * 1.5}"
        for tag, value in (
            ("0008|0060", "CT"),
            ("0020|000e", "1.2.3.4"),
            ("0020|000d", "1.2.3"),
            ("0008|0018", f"1.2.3.4.{number}"),
            ("0020|0032", position),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0020|0013", str(number)),
        ):
            image.SetMetaData(tag, value)
        writer.SetFileName(str(series / f"{number}.dcm"))
        writer.Execute(image)
    flipped = sitk.GetImageFromArray(truth[:, ::-1].astype(np.uint8))  # rows run the other way, and the header says so
    flipped.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    flipped.SetSpacing((0.8, 0.8, 1.5))
    (tmp_path / "labels").mkdir()
    sitk.WriteImage(flipped, str(tmp_path / "labels" / "label0001.nii.gz"))
    dataset = PancreasCt()
    dataset._import(tmp_path)
    case = dataset.raw.cases["pancreas_0001"]
    image, label = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (case.images[0], case.label))
    assert np.array_equal(image > 50, label == 1)
    assert label.sum() == truth.sum()


# -- whole ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["MRI", "CT"])
def test_nnunets_own_command_predicts_the_same_with_an_exported_model(
    data: Path, tmp_path: Path, modality: str
) -> None:
    dataset = a_copy(data, False, modality)
    task = dataset.task(dataset.pool[:2], dataset.test, SMOKE, {"width": 4})
    torch.manual_seed(0)
    network = task.network()
    command = task.export(network, tmp_path / "model", {"method": "none"})
    with pytest.raises(ValueError, match="not empty"):
        task.export(network, tmp_path / "model", {})
    images = tmp_path / "images"
    images.mkdir()
    for name in dataset.test:
        shutil.copy(dataset.raw.cases[name].images[0], images)
    words = command.replace("IMAGES", str(images)).replace("OUT", str(tmp_path / "out")).split()
    program = str(Path(sys.executable).with_name(words[0]))
    few = ["-npp", "1", "-nps", "1"]  # processes; the rest is as it is printed
    done = subprocess.run([program, *words[1:], *few], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in dataset.test:
        ours = task.restore(task.images[name], task.predict(network, task.images[name], CPU, mirror=True))
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"{name}.nii.gz")))
        assert len(np.unique(ours)) > 1
        assert (ours == theirs).mean() == 1


@pytest.mark.slow
def test_a_new_process_draws_the_same_batch(tiny: Any) -> None:
    task = open_task(tiny)
    draw = task.draws(labelled_pool(task), 4)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.map(Numbers(draw), range(3))
    for seed in range(3):
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(there[seed], seeded(draw, seed), strict=True))


@pytest.mark.real
@pytest.mark.usefixtures("served")
def test_real_hippocampus_volumes(data: Path, tmp_path: Path, real_data: Path) -> None:
    from atso_bench.datasets.hippocampus import Hippocampus

    source = tmp_path / "Task04_Hippocampus"
    for name in ("imagesTr", "labelsTr"):
        (source / name).mkdir(parents=True)
        for path in sorted((real_data / "Task04_Hippocampus" / name).glob("*.nii.gz"))[:6]:
            shutil.copy(path, source / name)
    shutil.copy(real_data / "Task04_Hippocampus" / "dataset.json", source)
    dataset = Hippocampus()
    dataset.prepare(source)
    assert len(dataset.test) == 1
    task = dataset.task(dataset.pool[:2], (*dataset.pool, *dataset.test), SMOKE, {})
    assert task.classes == ("background", "Anterior", "Posterior")
    image, label = seeded(task.draws(labelled_pool(task), 4))
    loss = task.loss(task.network().train()(image), label)
    assert torch.isfinite(loss)
    name = dataset.test[0]
    logits = task.predict(task.network(), task.images[name], CPU, mirror=False)
    assert task.restore(task.images[name], logits).shape == dataset.reference(name).label.shape
