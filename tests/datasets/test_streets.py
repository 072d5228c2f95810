"""The embedded street scenes are always the same, look like Cityscapes to its tools, and what they promise."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.csHelpers import getCsFileInfo
from cityscapesscripts.helpers.labels import id2label
from PIL import Image

from atso_bench.datasets._drawn.scene import make_city
from atso_bench.datasets.streets import CITIES, EXTRA, SEED, TRAIN, VAL, Streets, make_frame

SMALL = (32, 64)
TRAIN_IDS = np.array([id2label[value].trainId if value in id2label else -2 for value in range(256)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("streets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(folder))
        patch.setenv("ATSO_BENCH_CACHE", str(folder / "cache"))
        patch.delenv("CITYSCAPES_DATASET", raising=False)
        yield folder


@pytest.fixture(scope="module")
def tiny(root: Path) -> Streets:
    dataset = Streets(train=10, val=3, unlabelled=2, size=SMALL)
    dataset.ready()
    return dataset


def classes(cities: tuple[str, ...], frames: int) -> np.ndarray:
    """Pixels by train id, ``(frames, 19)``."""
    labels = [TRAIN_IDS[make_frame(number, city)[1]] for number in range(frames) for city in cities]
    return np.stack([np.bincount(label[label < 255], minlength=19) for label in labels])


def test_a_frame_is_the_same_each_time_and_differs_from_the_next_and_from_other_cities() -> None:
    (image, label), (same_image, same_label) = make_frame(3, "corvane", SMALL), make_frame(3, "corvane", SMALL)
    assert np.array_equal(image, same_image)
    assert np.array_equal(label, same_label)
    for other in (make_frame(4, "corvane", SMALL), make_frame(3, "jorvale", SMALL)):
        assert (other[0] != image).mean() > 0.5
        assert (other[1] != label).mean() > 0.1


def test_a_frame_is_the_same_on_every_machine() -> None:
    """These hashes change with ``RELEASE`` and with nothing else."""
    image, label = make_frame(0, "aldmoor")
    assert hashlib.sha256(label.tobytes()).hexdigest()[:16] == "916e526bd155b9e3"
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == "6f2d83b0b69d850e"


def test_image_and_label_agree_in_size_and_the_ids_are_those_of_cityscapes() -> None:
    for city in CITIES:
        image, label = make_frame(0, city, (48, 80))
        assert image.shape == (48, 80, 3)
        assert label.shape == (48, 80)
        assert image.dtype == label.dtype == np.uint8
        assert (TRAIN_IDS[label] >= 0).all()
        assert (TRAIN_IDS[label] == 255).any()  # out of the region of interest, at least
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 500


def test_every_class_occurs_often_enough_in_training_and_in_test_cities() -> None:
    for cities, frames in ((TRAIN, 3), (VAL, 12)):
        pixels = classes(cities, frames)
        share = pixels.sum(axis=0) / pixels.sum()
        assert share.min() > 0.001
        assert share.max() < 0.45
        assert (pixels > 0).mean(axis=0).min() > 0.15  # frames


def test_no_class_can_be_told_from_its_colour_alone() -> None:
    """The mean colour of a frame's class, given to the nearest mean of all frames, is seldom the right one."""
    means, truth = [], []
    for city in TRAIN:
        image, label = make_frame(1, city)
        for train_id in range(19):
            if (mask := TRAIN_IDS[label] == train_id).sum() > 20:
                means.append(image[mask].mean(axis=0))
                truth.append(train_id)
    colours, ids = np.array(means), np.array(truth)
    centres = np.stack([colours[ids == train_id].mean(axis=0) for train_id in np.unique(ids)])
    guess = np.unique(ids)[np.linalg.norm(colours[:, None] - centres, axis=-1).argmin(axis=1)]
    assert 0.1 < (guess == ids).mean() < 0.35


def test_cities_differ_in_camera_and_build_and_a_citys_frames_in_weather() -> None:
    cities = [make_city(np.random.default_rng([SEED, 1, place])) for place in range(len(CITIES))]
    assert len({(city.height, city.horizon, city.wide, city.tall) for city in cities}) > 0.5 * len(CITIES)
    assert len({tuple(city.colours["facade"]) for city in cities}) > 0.5 * len(CITIES)
    skies = np.stack([make_frame(number, "corvane")[0][2:8].mean(axis=(0, 1)) for number in range(12)])
    assert np.ptp(skies, axis=0).min() > 60


def test_names_and_folders_are_those_of_cityscapes(tiny: Streets) -> None:
    folder = tiny.find()
    images, labels = (sorted((folder / kind).rglob("*.png")) for kind in ("leftImg8bit", "gtFine"))
    assert (len(images), len(labels)) == (15, 13)
    for path in (*images, *labels):
        facts = getCsFileInfo(str(path))
        assert path.parent.name == facts.city
        assert (facts.type, facts.type2) in {("leftImg8bit", ""), ("gtFine", "labelIds")}
    stored = {path.name.split("_gtFine")[0]: path for path in labels}
    for path in images:
        _, city, number, _ = path.parent.name, *path.name.split("_")[:3]
        image, label = make_frame(int(number), city, SMALL)
        assert np.array_equal(np.asarray(Image.open(path)), image)
        if path.parent.parent.name != "train_extra":
            assert np.array_equal(np.asarray(Image.open(stored[path.name.removesuffix("_leftImg8bit.png")])), label)


def test_the_parts_do_not_overlap_and_have_cities_of_their_own(tiny: Streets) -> None:
    parts = [tiny.pool, tiny.test, tiny.unlabelled]
    assert [len(part) for part in parts] == [10, 3, 2]
    assert len({case for part in parts for case in part}) == 15
    cities = [{tiny.group(case, "city") for case in part} for part in parts]
    assert cities == [set(TRAIN), set(VAL), set(EXTRA)]
    assert tiny.caveats == ()


def test_train_extra_has_no_labels(tiny: Streets) -> None:
    assert not (tiny.find() / "gtFine" / "train_extra").exists()
    with pytest.raises(KeyError):
        tiny.hidden_label(tiny.unlabelled[0])
    assert tiny.hidden_label(tiny.pool[0]).shape == SMALL


def test_the_standard_streets_need_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path))
    monkeypatch.setenv("CITYSCAPES_DATASET", str(tmp_path / "the real one"))
    dataset = Streets()
    assert dataset.is_ready() == (True, "made when first used")
    assert dataset.folder == "streets"
    assert dataset.counts == {"train": 160, "val": 40, "train_extra": 24}
    with pytest.raises(ValueError, match="takes no --from"):
        dataset.prepare(tmp_path)
    assert not list(tmp_path.iterdir())


def test_frames_of_another_release_are_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path))
    dataset = Streets(train=1, val=1, unlabelled=1, size=SMALL)
    facts = json.loads((dataset.find() / "streets.json").read_text())
    image = dataset.find() / "leftImg8bit" / "train" / "aldmoor" / "aldmoor_000000_000019_leftImg8bit.png"
    before = image.read_bytes()
    (dataset.find() / "streets.json").write_text(json.dumps({**facts, "release": "0"}))
    image.write_bytes(b"old")
    folder = Streets(train=1, val=1, unlabelled=1, size=SMALL).find()
    assert json.loads((folder / "streets.json").read_text()) == facts
    assert image.read_bytes() == before
    assert not list(tmp_path.glob(".*.partial"))


def test_frames_that_a_read_only_root_holds_are_not_made_again(root: Path, tiny: Streets) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(root / "nothing here"))
        patch.setenv("ATSO_BENCH_CACHE", str(root))
        found = Streets(train=10, val=3, unlabelled=2, size=SMALL).find()
    assert found == tiny.find()


@pytest.mark.parametrize("wrong", [{"train": 0}, {"unlabelled": 0}, {"size": (16, 64)}])
def test_impossible_sizes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="streets needs a frame"):
        Streets(**wrong)  # type: ignore[arg-type]
