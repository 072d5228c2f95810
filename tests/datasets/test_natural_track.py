"""The main job on street scenes, small: frames to records, every method, leaks, lists, export."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.export import export
from atso_bench.benchmark.forecast.plan import forecast
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.run import Bench, execute, model_file
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.store.packs import PseudoLabels
from atso_bench.benchmark.store.record import Record
from atso_bench.benchmark.store.stages import Stages
from atso_bench.datasets._frames.published import published_list
from atso_bench.datasets.cityscapes import Cityscapes
from atso_bench.datasets.streets import Streets, make_frame

RECIPE = {"patch": [32, 48], "decoder": 8, "batch": 2}
SPEC = RunSpec(
    "streets", "atso", "2cases", 0, Budget("smoke", 7), "512x1024", options={"generations": 1}, recipe=RECIPE
)


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Eight frames to learn from, two without label, two for test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(tmp_path_factory.mktemp("streets")))
        patch.delenv("CITYSCAPES_DATASET", raising=False)
        dataset = Streets(train=8, val=2, unlabelled=2, size=(48, 96))
        dataset.ready()
        return dataset


@pytest.fixture
def use(monkeypatch, streets):
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": streets)
    return streets


def bench(folder: Path) -> Bench:
    return Bench(folder, "cpu", 0, silent())


def spec_of(method: str) -> RunSpec:
    return replace(SPEC, method=method, options=SPEC.options if method == "atso" else {})


@pytest.mark.parametrize("method", registry.names("methods"))
def test_every_method_runs_on_street_scenes_and_its_record_reads_back(method, use, tmp_path):
    execute(spec_of(method), bench(tmp_path))
    record = Record.read(tmp_path / "records" / spec_of(method).path)
    assert (record.track, record.metric, record.spent_steps) == ("natural", "miou", 7)
    assert len(record.classes) == 19
    assert set(record.cases) == set(use.test)
    assert all(set(scores) == set(record.classes) for scores in record.cases.values())
    assert record.score == record.summary["metrics"]["miou"]["mean"]
    assert record.recipe["evaluation"] == "whole image"
    pixels = sum(scores["tp"] + scores["fn"] for frame in record.cases.values() for scores in frame.values())
    assert pixels == sum(int((use.reference(frame).label != 255).sum()) for frame in use.test)


def test_the_score_is_the_pooled_mean_iou_of_the_stored_model(use, tmp_path):
    record = execute(spec_of("supervised"), bench(tmp_path))
    task = use.task(record.split["labelled"], record.split["test"], SPEC.budget, RECIPE)
    model = task.network()
    model.load_state_dict(torch.load(model_file(tmp_path, record.spec), weights_only=True))
    scores = task.metric.scorer(task.classes)
    for frame, image in task.images.items():
        logits = task.predict(model, image, torch.device("cpu"), mirror=False)
        scores.add(frame, task.restore(image, logits), use.reference(frame))
    assert scores.summary()["metrics"]["miou"]["mean"] == pytest.approx(record.score)


def test_the_diagnostics_of_atso_are_in_mean_iou(use, tmp_path):
    record = execute(SPEC, bench(tmp_path))
    first, *others = record.diagnostics
    assert set(first) >= {"pseudo_miou", "pseudo_miou_by_class"}
    assert len(others) == 2
    assert all(0 <= entry["update_rate"] <= 1 and "agreement_inside" in entry for entry in others)


@pytest.mark.parametrize("method", registry.names("methods"))
def test_true_labels_outside_s_and_images_of_t_change_no_weight(method, streets, tmp_path, monkeypatch):
    """Bit for bit, from files on: labels of R and T are noise in the second run, and T's images too."""
    models = []
    for noisy in (False, True):
        place = tmp_path / f"noisy {noisy}"
        shutil.copytree(streets.find(), place / "files")
        monkeypatch.setenv("ATSO_BENCH_DATA", str(place / "data"))
        monkeypatch.setenv("CITYSCAPES_DATASET", str(place / "files"))
        dataset = Cityscapes()
        if noisy:
            for path in (place / "files" / "gtFine").rglob("*_labelIds.png"):
                if not any(path.name.startswith(frame) for frame in dataset.pool[:2]):
                    _to_noise(path, high=34)
            for path in (place / "files" / "leftImg8bit" / "val").rglob("*.png"):
                _to_noise(path, high=256)
            dataset = Cityscapes()
        monkeypatch.setattr(registry, "dataset", lambda name, configuration="", found=dataset: found)
        spec = replace(spec_of(method), dataset="cityscapes", lists={"labelled": list(dataset.pool[:2])})
        execute(spec, bench(place))
        models.append(torch.load(model_file(place, spec), weights_only=True))
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


def _to_noise(path: Path, high: int) -> None:
    shape = np.asarray(Picture.open(path)).shape
    Picture.fromarray(np.random.default_rng(0).integers(0, high, shape).astype(np.uint8)).save(path)


def test_splits_are_by_frame_or_by_city(streets):
    by_frame = make_split(streets, replace(SPEC, fraction="4cases"))
    assert len(by_frame.labelled) == 4
    by_city = make_split(streets, replace(SPEC, fraction="4cases", split_by="city"))
    cities = [{frame.split("_")[0] for frame in part} for part in (by_city.labelled, by_city.unlabelled)]
    assert not cities[0] & cities[1]
    assert by_city.hash != by_frame.hash or len(by_city.labelled) == 4
    assert set(streets.unlabelled) <= set(by_frame.unlabelled)
    with pytest.raises(ValueError, match="can be split by frame or city, got 'patient'"):
        make_split(streets, replace(SPEC, split_by="patient"))


@pytest.fixture
def official(monkeypatch):
    """A dataset that holds the official frames, by name only."""
    frames = sorted({frame for fraction in ("6.25", "50") for frame in published_list("unimatch", fraction)})
    monkeypatch.setattr(Cityscapes, "pool", tuple(frames))
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": Cityscapes(configuration or "512x1024"))


def specs(fractions, **common):
    return grid.make_specs(["cityscapes"], ["supervised"], fractions, [0], SPEC.budget, grid.Options({}, {}), **common)


def test_a_published_list_is_found_by_its_name_for_each_fraction(official):
    made = specs(["1/16", "1/8"], lists={"labelled": "unimatch"}, upper_bound=True)
    assert [len(spec.lists.get("labelled", ())) for spec in made] == [186, 372, 0]
    assert made[0].lists["labelled"] == list(published_list("unimatch", "6.25"))
    with pytest.raises(LookupError, match="no published list 'other'"):
        specs(["1/16"], lists={"labelled": "other"})


def test_a_protocol_labels_by_its_own_list_where_there_is_one(official):
    made = specs(["1/16", "10", "100"], configuration="unimatch-801")
    assert [len(spec.lists.get("labelled", ())) for spec in made] == [186, 0, 0]
    assert not specs(["1/16"])[0].lists  # 512x1024 is nobody's protocol


def test_a_protocols_list_that_does_not_fit_the_data_gives_way_to_a_drawn_split(use, monkeypatch):
    monkeypatch.setattr(Streets, "default_list", "unimatch")
    assert not specs(["1/16"])[0].lists
    with pytest.raises(ValueError, match="the list is for the official Cityscapes"):
        specs(["1/16"], lists={"labelled": "unimatch"})


def test_an_export_of_frames_says_how_to_load_it(use, tmp_path):
    record = execute(spec_of("supervised"), bench(tmp_path))
    example = export(record.spec.key, tmp_path / "model", tmp_path)
    scope = {"image": torch.zeros(1, 3, 32, 32)}
    exec(example, scope)
    assert scope["logits"].shape == (1, 19, 32, 32)
    assert json.loads((tmp_path / "model" / "model.json").read_text())["facts"]["score"] == pytest.approx(record.score)


def test_a_plan_of_street_scenes_names_trainings_and_frames(use, tmp_path):
    (found,) = forecast([SPEC], tmp_path, "cpu", 0)
    assert (found.trainings, found.steps) == (3, 7)
    assert found.cases == 8 + 2 - 2 + 4 + 4 + 4 + 4  # M0 labels R, each student the other half and, to compare, its own
    assert sum(found.seconds.values()) > 0


def test_pseudo_labels_of_a_frame_take_little_room_and_are_read_when_they_are_used(tmp_path):
    label = make_frame(1, "aldmoor", (512, 1024))[1]
    with Stages(tmp_path).claim("key") as folder:
        stored = Stages.write_label(folder, label)
    assert stored.file.stat().st_size < 0.03 * label.size
    labels = PseudoLabels({"frame": stored, "gone": replace(stored, file=tmp_path / "none.npz")})
    assert np.array_equal(labels["frame"], label)
    with pytest.raises(FileNotFoundError):
        labels["gone"]


def test_a_command_line_may_span_both_tracks(monkeypatch, tmp_path):
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path))
    specs = grid.make_specs(["phantom", "streets"], ["atso"], ["10"], [0], SPEC.budget, grid.Options({}, {}))
    assert [(spec.dataset, spec.configuration) for spec in specs] == [("phantom", "2d"), ("streets", "512x1024")]
