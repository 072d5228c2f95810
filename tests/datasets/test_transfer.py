"""Two datasets as one: whose labels, whose images, and which class is which."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frames_data import make_frames

from atso_bench.benchmark import grid, registry
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.benchmark.task import IGNORE
from atso_bench.datasets._frames.description import read_description
from atso_bench.datasets._shared.pairing import FOLDER, pairing
from atso_bench.datasets._volumes.joint import joined
from atso_bench.datasets.phantom import Phantom
from atso_bench.datasets.phantom_shifted import PhantomShifted

DOCS = Path(__file__).resolve().parents[2] / "docs" / "transfer.md"
SIZES = {"cases": 8, "unlabelled": 2, "size": (8, 24, 24)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(root))
        for name in ("ATSO_BENCH_CACHE", "CITYSCAPES_DATASET", "nnUNet_raw", "nnUNet_preprocessed"):
            patch.delenv(name, raising=False)
        yield root


@pytest.fixture(scope="module")
def volumes(root):
    pair = joined(Phantom(**SIZES), PhantomShifted(**SIZES))
    pair.ready()
    return pair


@pytest.fixture(scope="module")
def frames(root):
    """Two folders of frames; the target has a class that the pair merges, and one that it leaves out."""
    rest = {"rest": [2, 3], "ignore": 255}
    here, there = root / "from" / "here", root / "from" / "there"
    make_frames(here, 10, name="here", labels={"background": 0, "square": 1, **rest})
    make_frames(there, 10, 2, first=50, name="there", labels={"ground": 0, "box": 1, **rest})
    for folder in (here, there):
        registry.dataset("frames").prepare(folder)
    (root / "pairs").mkdir(exist_ok=True)
    (root / "pairs" / "frames-here-to-frames-there.yaml").write_text(
        "note: ours\nclasses:\n  background: {source: background, target: [ground, rest]}\n"
        "  square: {source: square, target: box}\n"
    )
    return registry.dataset("frames-here-to-frames-there")


def split(pair: Any, fraction: str, seed: int = 0, **more: Any) -> Any:
    return make_split(pair, RunSpec(pair.name, "supervised", fraction, seed, Budget.parse("smoke"), **more))


@pytest.mark.parametrize("which", ["volumes", "frames"])
def test_labels_are_the_sources_and_all_else_is_the_targets(which, volumes, frames):
    pair = {"volumes": volumes, "frames": frames}[which]
    few, more = split(pair, "2cases", validation=25.0), split(pair, "5cases", validation=25.0)
    assert set(few.labelled) < set(more.labelled) <= set(pair.labels_from)
    rest = (*few.unlabelled, *few.validation, *few.test)
    assert not any(case.startswith("source_") for case in rest)
    assert {*few.unlabelled, *few.validation} == {*pair.target_set.pool, *pair.target_set.unlabelled}
    assert set(few.test) == set(pair.target_set.test)


def test_at_100_percent_the_labels_are_the_targets(volumes):
    oracle = split(volumes, "100")
    assert set(oracle.labelled) == set(volumes.target_set.pool)
    assert set(oracle.unlabelled) == set(volumes.target_set.unlabelled)


def test_a_grid_takes_all_labels_of_the_source_and_the_oracle_beside_them(volumes, monkeypatch):
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": volumes)
    budget, options = Budget.parse("smoke"), grid.Options({}, {})
    specs = grid.make_specs([volumes.name], ["atso"], ["100"], [0], budget, options, upper_bound=True)
    assert [(spec.method, spec.fraction) for spec in specs] == [("atso", "8cases"), ("supervised", "100")]


def test_the_network_is_planned_on_the_targets_images(volumes):
    alone = PhantomShifted(**SIZES)
    alone.ready()
    plans = [each._plans["configurations"]["2d"] for each in (volumes.inner, alone)]
    assert plans[0]["spacing"] == plans[1]["spacing"]
    assert plans[0]["patch_size"] == plans[1]["patch_size"]


def test_an_image_that_both_have_is_refused(root):
    twice = joined(Phantom(**SIZES), Phantom(**SIZES))
    with pytest.raises(ValueError, match="phantom_001: the same image as source_phantom_001"):
        split(twice, "2cases")


def test_labels_of_frames_are_translated_and_none_of_the_target_is_opened(frames):
    parts = split(frames, "3cases")
    task = frames.task(parts.labelled, (*parts.labelled, *parts.unlabelled), Budget.parse("smoke"), {})
    assert task.classes == ("background", "square")
    for name in parts.labelled:
        own = frames.source_set.hidden_label(name.removeprefix("source_"))
        assert np.array_equal(task.labels[name], np.where(own > 1, IGNORE, own))
    for name in (*parts.unlabelled, *parts.test):
        with pytest.raises(KeyError, match="was opened for"):
            task.labels[name]
    test = parts.test[0]
    own = frames.target_set.hidden_label(test)
    assert np.array_equal(frames.reference(test).label, np.where(own == 2, 0, own))
    with pytest.raises(KeyError, match="was opened for"):
        task.images[test]


def test_labels_of_volumes_are_written_as_the_pair_has_them(root):
    source, target = Phantom(**SIZES), PhantomShifted(**SIZES)
    for each in (source, target):
        each.ready()
    pair = joined(source, target)
    pair.name = "phantom-to-merged"
    pair.pairing = pairing(
        "x",
        ["background", "organ", "lesion"],
        ["background", "organ", "lesion"],
        [_map(root, "x", "organ: {source: organ, target: [organ, lesion]}")],
    )
    pair.ready()
    raw = pair.inner.raw
    assert raw.classes == ("background", "organ")
    assert raw.ignore == 2
    lesion = next(name for name in target.test if (target.reference(name).label == 2).any())
    own, merged = target.reference(lesion).label, pair.reference(lesion).label
    assert np.array_equal(merged, np.minimum(own, 1))
    for name in source.pool:
        if ((own := source.reference(name).label) == 2).any():
            assert np.array_equal(pair.reference(f"source_{name}").label, np.where(own == 2, IGNORE, own))


def _map(root: Path, name: str, line: str) -> Path:
    folder = root / "maps"
    folder.mkdir(exist_ok=True)
    text = f"classes:\n  background: {{source: background, target: background}}\n  {line}\n"
    (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("organ: {source: liver, target: organ}", "the source has no class 'liver'; it has background, organ"),
        ("organ: {source: background, target: organ}", "background of the source is in background and in organ"),
        ("organ: {source: organ, target: []}", "nothing could be scored"),
        ("organ: {sources: organ, target: organ}", "is no class map"),
        ("organ: [", "is no YAML"),
    ],
)
def test_a_wrong_class_map_says_what_is_wrong(line, told, tmp_path):
    with pytest.raises(ValueError, match=re.escape(told)):
        pairing("p", ["background", "organ"], ["background", "organ"], [_map(tmp_path, "p", line)])


def test_other_classes_without_a_map_are_refused():
    with pytest.raises(ValueError, match="say which is which"):
        pairing("a-to-b", ["background", "liver"], ["background", "spleen"])


def test_equal_classes_in_another_order_need_no_map():
    found = pairing("a-to-b", ["background", "spleen", "liver"], ["background", "liver", "spleen"])
    assert found.classes == ("background", "liver", "spleen")
    assert found.table("source")[:3].tolist() == [0, 2, 1]
    assert found.table("target")[3] == IGNORE


def test_frames_and_volumes_do_not_mix():
    for source, target in (("phantom", "streets"), ("streets", "phantom")):
        with pytest.raises(ValueError, match="no network learns from both"):
            registry.dataset(registry.pair_name(source, target))


@pytest.mark.parametrize(
    ("name", "halves"),
    [
        ("phantom-to-phantom-shifted", ("phantom", "phantom-shifted")),
        ("frames-a-to-b-to-cityscapes", ("frames-a-to-b", "cityscapes")),
        ("4-to-Dataset005_Other", ("4", "Dataset005_Other")),
        ("Dataset004_Mine-to-go", None),
        ("phantom", None),
    ],
)
def test_names_of_pairs_are_read(name, halves):
    assert registry._pair(name) == halves


def test_the_descriptions_in_the_docs_are_read_and_have_the_classes_of_the_maps(tmp_path):
    blocks = re.findall(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    found = {}
    for text in blocks:
        content = json.loads(text)
        folder = tmp_path / content["name"]
        for part in (content.get("images", "images"), content.get("masks", "masks")):
            (folder / part).mkdir(parents=True)
        (folder / "dataset.json").write_text(text)
        found[content["name"]] = read_description(folder)
    street = registry.dataset("cityscapes").classes.names
    assert pairing("frames-gta5-to-cityscapes", found["gta5"].classes.names, street).classes == street
    sixteen = pairing("frames-synthia-to-cityscapes", found["synthia"].classes.names, street).classes
    assert set(street) - set(sixteen) == {"terrain", "truck", "train"}


def test_every_map_of_ours_names_its_protocol_and_the_targets_classes():
    street = registry.dataset("cityscapes").classes.names
    for path in FOLDER.glob("*-to-cityscapes.yaml"):
        text = path.read_text(encoding="utf-8")
        sources = re.findall(r"source: ([\w ]+),", text)
        assert pairing(path.stem, sources, street).note
