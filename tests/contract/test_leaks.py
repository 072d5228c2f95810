"""What a method may not see is not there while it learns, and not in anything that it is given."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fitting import METHODS, fit
from PIL import Image as Picture

from atso_bench.benchmark import registry
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.run import Bench, execute, model_file
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import Split, make_split
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.batches import Batches
from atso_bench.datasets._volumes.joint import joined
from atso_bench.datasets._volumes.plan import needs_intensities
from atso_bench.datasets.cityscapes import Cityscapes
from atso_bench.datasets.nnunet import Nnunet
from atso_bench.datasets.phantom import Phantom
from atso_bench.datasets.phantom_shifted import PhantomShifted
from atso_bench.datasets.streets import Streets

SMOKE = Budget("smoke", 7)
RECIPES = {
    "volumes": {"width": 2, "batch": 2},
    "streets": {"patch": [32, 48], "decoder": 8, "batch": 2, "encoder": "resnet18"},
}


def few(method: str) -> dict[str, Any]:
    """One generation, where a method has some."""
    return {"generations": 1} if "generations" in registry.load("methods", method).model_fields else {}


@dataclass(frozen=True)
class Data:
    """A dataset and the folder in which all that is known of it lies, raw and prepared."""

    dataset: Any
    root: Path

    def spec(self, method: str) -> RunSpec:
        """Two labelled cases, some for R, one or two for V, and T."""
        track = "streets" if self.dataset.track == "natural" else "volumes"
        made = RunSpec(self.dataset.name, method, "2cases", 0, SMOKE, self.dataset.configuration, validation=25.0)
        return replace(made, recipe=RECIPES[track], options=few(method))

    @property
    def split(self) -> Split:
        return make_split(self.dataset, self.spec("supervised"))


@pytest.fixture(scope="module", params=["volumes", "streets"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(root))
        for name in ("ATSO_BENCH_CACHE", "CITYSCAPES_DATASET", "nnUNet_raw", "nnUNet_preprocessed"):
            patch.delenv(name, raising=False)
        if request.param == "streets":
            dataset: Any = Streets(train=6, val=2, unlabelled=1, size=(32, 64))
        else:
            dataset = Phantom(cases=8, unlabelled=2, size=(8, 24, 24))
        dataset.ready()
        yield Data(dataset, root)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    """Labels of one dataset, and another one to adapt to."""
    root = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(root))
        for name in ("ATSO_BENCH_CACHE", "nnUNet_raw", "nnUNet_preprocessed"):
            patch.delenv(name, raising=False)
        source, target = (kind(cases=8, unlabelled=2, size=(8, 24, 24)) for kind in (Phantom, PhantomShifted))
        dataset = joined(source, target)
        dataset.ready()
        yield Data(dataset, root)


@contextmanager
def taken_away(data: Data) -> Iterator[list[Path]]:
    """Every file of the data is gone but the prepared images of S and R and the prepared labels of S."""
    split = data.split
    kept = {"images": {*split.labelled, *split.unlabelled}, "labels": set(split.labelled)}
    elsewhere = data.root.with_name(f"{data.root.name}-taken-away")
    gone = [
        file
        for file in data.root.rglob("*")
        if file.is_file() and file.name.split(".")[0] not in kept.get(file.parent.name, ())
    ]
    try:
        for file in gone:
            place = elsewhere / file.relative_to(data.root)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.rename(place)
        yield gone
    finally:
        for file in gone:
            (elsewhere / file.relative_to(data.root)).rename(file)


@dataclass
class Watched:
    """A method that learns while what it may not see is away; what it was given is kept."""

    method: Any
    data: Data
    given: tuple[Trainer, TrainData] | None = None

    def fit(self, trainer: Trainer, data: TrainData) -> torch.nn.Module:
        with taken_away(self.data) as gone:
            assert {file.parent.name for file in gone} >= {"images", "labels"}
            model: torch.nn.Module = self.method.fit(trainer, data)
        self.given = trainer, data
        return model

    def model_dump(self) -> dict[str, Any]:
        found: dict[str, Any] = self.method.model_dump()
        return found


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_without_what_it_may_not_see_and_is_given_none_of_it(
    name: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sees_nothing_hidden(name, data, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["supervised", "atso", "mean-teacher", "classmix"])
def test_a_method_adapts_without_any_label_of_the_target(
    name: str, pair: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {case.startswith("source_") for case in pair.split.labelled} == {True}
    assert {case.startswith("source_") for case in pair.split.unlabelled} == {False}
    sees_nothing_hidden(name, pair, tmp_path, monkeypatch)


def sees_nothing_hidden(name: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with and without the files that the method may not see; look through what it was given."""
    spec, watched = data.spec(name), Watched(registry.method(name, few(name)), data)
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": data.dataset)
    record = execute(spec, Bench(tmp_path / "undisturbed", "cpu", 0, silent()))
    monkeypatch.setattr(registry, "method", lambda name, options: watched)
    again = execute(spec, Bench(tmp_path / "watched", "cpu", 0, silent()))
    first, second = (
        torch.load(model_file(tmp_path / folder, spec), weights_only=True) for folder in ("undisturbed", "watched")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[part]) for part, value in first.items())
    assert json.dumps(record.cases) == json.dumps(again.cases)
    assert watched.given is not None
    assert leaks(data, *watched.given) == []


def leaks(data: Data, trainer: Trainer, given: TrainData) -> list[str]:
    """What can be reached from what a method was given, and is of T or V, or a label of R: arrays, names, hashes."""
    split = data.split
    away, hidden = [*split.test, *split.validation], hidden_arrays(data)
    words = [*away, *hidden_hashes(data)]
    found = []
    for one in reachable(trainer, given):
        if isinstance(one, str | bytes | Path):
            text = one.decode("latin-1") if isinstance(one, bytes) else str(one)
            found += [f"{word} in {text[:80]!r}" for word in words if word in text]
        elif isinstance(one, Mapping) and not isinstance(one, dict):
            found += [f"{type(one).__name__} opens {name}" for name in away if opens(one, name) is not None]
            found += [
                f"{type(one).__name__} holds the label of {name}"
                for name in split.unlabelled
                if any(np.array_equal(opens(one, name), array) for array in hidden)
            ]
        elif (array := as_array(one)) is not None:
            found += [f"an array {array.shape}" for other in hidden if np.array_equal(array, other)]
    sent = pickle.dumps(Batches(draws_of(trainer, given), 0, 0, whole=True))  # what a loader's process gets
    found += [f"{word} is sent to a loader" for word in words if word.encode() in sent]
    found += ["an array is sent to a loader" for array in hidden if array.tobytes() in sent]
    return found


def draws_of(trainer: Trainer, given: TrainData) -> dict[str, Any]:
    pools = {"labelled": given.labelled, "unlabelled": given.unlabelled}
    return {name: trainer.task.draws(pool, 2) for name, pool in pools.items()}


def hidden_arrays(data: Data) -> list[np.ndarray]:
    """Labels of R, V and T, images of V and T, as the task has them."""
    split, dataset = data.split, data.dataset
    labelled = {*dataset.pool, *dataset.test}
    names = [name for name in (*split.unlabelled, *split.validation, *split.test) if name in labelled]
    exam = dataset.task(split.labelled, (*split.validation, *split.test), SMOKE, data.spec("supervised").recipe)
    return [*(dataset.hidden_label(name) for name in names), *(image.array[:] for image in exam.images.values())]


def hidden_hashes(data: Data) -> set[str]:
    split, dataset = data.split, data.dataset
    facts = dataset._frames if dataset.track == "natural" else getattr(dataset, "inner", dataset).hashes
    found = {facts[name].get("label") for name in (*split.unlabelled, *split.validation, *split.test)}
    return {*filter(None, found), *(facts[name]["image"] for name in (*split.validation, *split.test))}


def reachable(*start: Any) -> Iterator[Any]:
    """All that can be had from these objects by attributes, items and closures; no module's globals, and no class."""
    seen, waiting = {}, list(start)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, ModuleType | type):
            continue
        seen[id(one)] = one
        yield one
        if isinstance(one, FunctionType):
            waiting += [one.__closure__, one.__defaults__, one.__kwdefaults__, one.__dict__]
        else:
            waiting += gc.get_referents(one)
            waiting.append(getattr(one, "base", None) if isinstance(one, np.ndarray) else None)


def opens(mapping: Mapping[str, Any], name: str) -> Any:
    try:
        value = mapping[name]
    except (KeyError, TypeError, IndexError):
        return None
    return getattr(value, "array", value)


def as_array(one: Any) -> np.ndarray | None:
    if isinstance(one, torch.Tensor):
        return one.detach().cpu().numpy()
    return one if isinstance(one, np.ndarray) else None


def test_the_search_finds_what_is_hidden_in_a_closure_a_cache_or_a_name(data: Data) -> None:
    """The test above would pass if the search saw nothing."""
    split, dataset, recipe = data.split, data.dataset, data.spec("supervised").recipe
    task = dataset.task(split.labelled, (*split.labelled, *split.unlabelled), SMOKE, recipe)
    loose = dataset.task(split.labelled, split.test, SMOKE, recipe)
    label, hash_of_a_label = hidden_arrays(data)[0], next(iter(hidden_hashes(data)))
    given = TrainData(*(pool_of(task, part) for part in (split.labelled, split.unlabelled)))
    for secret in (lambda: label, {"a": [label.copy()]}, loose.images, Path("x", hash_of_a_label), {split.test[0]}):
        assert leaks(data, trainer_with(task, secret), given)
    assert leaks(data, trainer_with(task, None), given) == []


def pool_of(task: Any, ids: tuple[str, ...]) -> Pool:
    return Pool(ids, task.images, task.labels if set(ids) <= set(task.labels) else None)


def trainer_with(task: Any, secret: Any) -> Any:
    trainer = Trainer(task, SMOKE, 0, Stages(Path("nowhere")))
    trainer.secret = secret  # type: ignore[attr-defined]
    return trainer


# the store


@pytest.mark.parametrize("name", METHODS)
def test_no_phase_of_a_run_that_knew_more_labels_is_taken(name: str, usual: Any, tmp_path: Path) -> None:
    """The store is shared: half of the cases were labelled in the first run, and are in R in the second."""
    _, more, knowing = fit(name, tmp_path / "shared", fraction="50")
    shared, trainer, split = fit(name, tmp_path / "shared", fraction="10")
    assert set(split.labelled) < set(knowing.labelled)
    assert not any(phase.reused for phase in trainer.phases)
    assert not {phase.key for phase in more.phases} & {phase.key for phase in trainer.phases}
    assert shared == usual(name)[0]


@pytest.mark.parametrize("name", METHODS)
def test_no_phase_of_another_seed_is_taken(name: str, usual: Any, tmp_path: Path) -> None:
    fit(name, tmp_path / "shared")
    shared, trainer, _ = fit(name, tmp_path / "shared", seed=1)
    assert not any(phase.reused for phase in trainer.phases)
    assert shared == usual(name, seed=1)[0]


# what a task is made from


@pytest.fixture
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ATSO_BENCH_CACHE", "CITYSCAPES_DATASET", "nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def test_street_scenes_are_the_same_task_whatever_labels_outside_s_and_images_of_t_say(
    own_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mean, no class weight, no statistic comes from them: task, first weights, batches and loss are equal."""
    streets = Streets(train=4, val=2, unlabelled=1, size=(48, 96))
    streets.ready()
    seen = []
    for noisy in (False, True):
        files = own_root / f"files {noisy}"
        shutil.copytree(streets.find(), files)
        monkeypatch.setenv("CITYSCAPES_DATASET", str(files))
        if noisy:
            labels = [path for path in files.rglob("*_labelIds.png") if not path.name.startswith(streets.pool[0])]
            for path in (*labels, *(files / "leftImg8bit" / "val").rglob("*.png")):
                _to_noise(path, high=34)
        dataset = Cityscapes()
        task = dataset.task(
            dataset.pool[:1], (*dataset.pool, *dataset.unlabelled), SMOKE, {**RECIPES["streets"], "batch": 4}
        )
        seen.append((dataset.identity, task.identity, task.details, *_first_step(task)))
    (identity, *clean), (changed, *noise) = seen
    assert identity != changed
    assert clean == noise


def _first_step(task: Any) -> tuple[str, str, float]:
    """First weights, a batch of S and its loss."""
    torch.manual_seed(0)
    np.random.seed(0)
    network = task.network()
    image, label = task.draws(pool_of(task, tuple(task.labels)), 2)()
    loss = float(task.loss(network.eval()(image), label).detach())
    return weights_digest(network), image.numpy().tobytes().hex()[:64], loss


def _to_noise(path: Path, high: int) -> None:
    shape = np.asarray(Picture.open(path)).shape
    Picture.fromarray(np.random.default_rng(0).integers(0, high, shape).astype(np.uint8)).save(path)


def _volumes(own_root: Path, number: int, modality: str, configuration: str) -> Nnunet:
    """A generic dataset made of phantom volumes; equal but for its place."""
    raw = Phantom(cases=4, unlabelled=1, size=(8, 24, 24)).raw.folder
    target = raw.parent / f"Dataset{number}_Copy"
    shutil.copytree(raw, target)
    description = {**json.loads((target / "dataset.json").read_text()), "channel_names": {"0": modality}}
    (target / "dataset.json").write_text(json.dumps(description))
    return Nnunet(str(number), configuration)


def test_volumes_of_ct_in_three_dimensions_are_the_same_task_whatever_labels_outside_s_say(own_root: Path) -> None:
    tasks = []
    for number in (510, 511):
        dataset = _volumes(own_root, number, "CT", "3d_fullres")
        if number == 511:
            for name in dataset.raw.labelled:
                if name != dataset.pool[0]:
                    _noise_volume(dataset.raw.folder / "labelsTr" / f"{name}.nii.gz", high=3)
            for name in dataset.test:
                _noise_volume(dataset.raw.folder / "imagesTr" / f"{name}_0000.nii.gz", high=99)
        tasks.append(dataset.task(dataset.pool[:1], (*dataset.pool, *dataset.unlabelled), SMOKE, {}))
    clean, noisy = tasks
    assert needs_intensities(clean.plans, "3d_fullres")
    assert clean.identity == noisy.identity
    assert {**clean.plans, "dataset_name": ""} == {**noisy.plans, "dataset_name": ""}
    for name in clean.images:
        assert np.array_equal(clean.images[name].array, noisy.images[name].array)
        assert clean.images[name].properties == noisy.images[name].properties
    assert _first_step_of_volumes(clean) == _first_step_of_volumes(noisy)


def _first_step_of_volumes(task: Any) -> list[bytes]:
    np.random.seed(0)
    torch.manual_seed(0)
    return [part.numpy().tobytes() for part in task.draws(pool_of(task, tuple(task.labels)), 3)()]


def _noise_volume(path: Path, high: int) -> None:
    image = sitk.ReadImage(str(path))
    noise = np.random.default_rng(0).integers(0, high, image.GetSize()[::-1])
    new = sitk.GetImageFromArray(noise.astype(sitk.GetArrayViewFromImage(image).dtype))
    new.CopyInformation(image)
    sitk.WriteImage(new, str(path))


@pytest.mark.parametrize("modality", ["MRI", "CT"])
def test_the_users_own_plans_bring_no_intensities_of_other_labels(
    modality: str, own_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nnU-Net's plans hold the intensities below all labels; a task, its copies and its exports hold those of S."""
    dataset = _volumes(own_root, 510, modality, "2d")
    dataset.ready()
    plans = {**dataset._plans, "foreground_intensity_properties_by_modality": {"0": {"mean": 12345.0}}}
    plans["foreground_intensity_properties_per_channel"] = {
        "0": dict.fromkeys(plans["foreground_intensity_properties_per_channel"]["0"], 12345.0)
    }
    own = own_root / "preprocessed" / dataset.folder
    own.mkdir(parents=True)
    (own / "nnUNetPlans.json").write_text(json.dumps(plans))
    monkeypatch.setenv("nnUNet_preprocessed", str(own.parent))
    found = Nnunet("510")
    task = found.task(found.pool[:1], found.pool, SMOKE, {})
    assert "12345" not in json.dumps(task.plans)
    assert "12345" not in repr([one for one in reachable(task) if isinstance(one, float | str)])
