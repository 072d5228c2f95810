"""Street scenes on disk: the official layout, what can be wrong with it, the decoded cache, and the published lists."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import struct
import zlib
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as TABLE
from PIL import Image

from atso_bench.benchmark.scoring import label_tables
from atso_bench.benchmark.splits import read_list
from atso_bench.benchmark.task import IGNORE
from atso_bench.datasets._frames import cityscapes_reader
from atso_bench.datasets._frames.cityscapes import CityscapesDataset
from atso_bench.datasets._frames.opened import FrameImages, FrameLabels
from atso_bench.datasets._frames.published import FOLDER, PERCENT, is_published, published_list
from atso_bench.datasets.cityscapes import Cityscapes
from atso_bench.datasets.cityscapes_extra import CityscapesExtra

SIZE = (6, 8)
TRAIN = ("aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313")
VAL = ("lindau_000000_000019",)


class Streets(CityscapesDataset):
    name = "tiny-streets"
    source = "https://www.cityscapes-dataset.com"


class StreetsExtra(Streets):
    extra = True


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    monkeypatch.delenv("CITYSCAPES_DATASET", raising=False)
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ATSO_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three training frames in two cities and one of val."""
    folder = tmp_path / "downloaded"
    for part, names in (("train", TRAIN), ("val", VAL)):
        for number, name in enumerate(names):
            write_image(folder, part, name, number)
            write_label(folder, part, name, np.full(SIZE, 11 + number))
    return folder


def image_path(folder: Path, part: str, name: str) -> Path:
    return folder / "leftImg8bit" / part / name.split("_")[0] / f"{name}_leftImg8bit.png"


def label_path(folder: Path, part: str, name: str, kind: str = "labelIds") -> Path:
    return folder / "gtFine" / part / name.split("_")[0] / f"{name}_gtFine_{kind}.png"


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8) if array.dtype == np.int64 else array).save(path)
    return path


def write_image(folder: Path, part: str, name: str, seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    array = np.random.default_rng([seed, part == "val"]).integers(0, 256, (*size, 3), dtype=np.uint8)
    save(image_path(folder, part, name), array)
    return array


def write_label(folder: Path, part: str, name: str, values: np.ndarray, kind: str = "labelIds") -> None:
    save(label_path(folder, part, name, kind), np.asarray(values).astype(np.uint8))


def prepared(source: Path, kind: type[CityscapesDataset] = Streets) -> CityscapesDataset:
    dataset = kind()
    dataset.prepare(source)
    return dataset


def problems(source: Path, kind: type[CityscapesDataset] = Streets) -> str:
    with pytest.raises(ValueError, match="problem") as refused:
        kind().prepare(source)
    return str(refused.value)


def test_the_parts_are_those_of_the_folders(source):
    dataset = prepared(source)
    assert (dataset.pool, dataset.test, dataset.unlabelled) == (TRAIN, VAL, ())


def test_before_preparation_the_parts_come_from_the_names(source, monkeypatch, root):
    monkeypatch.setenv("CITYSCAPES_DATASET", str(source))
    assert Streets().pool == TRAIN
    assert not root.exists()


def test_images_and_labels_arrive_unchanged(source):
    expected = write_image(source, "train", TRAIN[0], 5)
    values = np.arange(48).reshape(SIZE) % 34
    write_label(source, "train", TRAIN[0], values)
    dataset = prepared(source)
    image = FrameImages(dataset._folder / "images", TRAIN, "tiny-streets")[TRAIN[0]]
    np.testing.assert_array_equal(image.array, expected.transpose(2, 0, 1))
    assert image.properties == {"size": list(SIZE)}
    by_hand = {7: 0, 8: 1, 11: 2, 33: 18, 0: 255, 9: 255, 30: 255}
    label = dataset.hidden_label(TRAIN[0])
    assert label.dtype == np.uint8
    for value, train_id in by_hand.items():
        assert set(label[values == value]) == {train_id}
    reference = dataset.reference(TRAIN[0])
    np.testing.assert_array_equal(reference.label, label)
    assert reference.spacing == (1.0, 1.0)


def test_both_kinds_of_label_files_give_the_same_labels(source):
    ids = np.array([max(label.id, 0) for label in TABLE] + [7] * 13).reshape(SIZE)
    train_ids = np.array([label.trainId % 256 for label in TABLE] + [0] * 13).reshape(SIZE)
    write_label(source, "train", TRAIN[0], ids)
    label_path(source, "train", TRAIN[1]).unlink()
    write_label(source, "train", TRAIN[1], train_ids, "labelTrainIds")
    dataset = prepared(source)
    np.testing.assert_array_equal(dataset.hidden_label(TRAIN[0]), dataset.hidden_label(TRAIN[1]))
    assert set(np.unique(dataset.hidden_label(TRAIN[0]))) == {*range(19), IGNORE}


def test_label_ids_are_read_where_both_kinds_are_there(source):
    write_label(source, "train", TRAIN[0], np.full(SIZE, 3), "labelTrainIds")
    assert set(prepared(source).hidden_label(TRAIN[0]).ravel()) == {2}


def test_classes_and_ignored_label_are_the_shared_ones():
    assert label_tables.VOID == IGNORE
    classes = label_tables.CLASSES
    assert (len(classes), classes[0], classes[13], classes[18]) == (19, "road", "car", "bicycle")


def test_every_broken_file_is_named_at_once_and_nothing_is_left(source, root, tmp_path):
    names = [f"aachen_{number:06d}_000019" for number in range(2, 18)]
    for name in names:
        write_image(source, "train", name, 9)
        write_label(source, "train", name, np.full(SIZE, 7))
    image = [image_path(source, "train", name) for name in names]
    label = [label_path(source, "train", name) for name in names]
    image[0].write_bytes(image[0].read_bytes()[:-40])
    flipped = bytearray(image[1].read_bytes())
    flipped[flipped.index(b"IEND") - 5] ^= 1  # in the pixels' checksum, which Pillow does not look at when it decodes
    image[1].write_bytes(flipped)
    label[2].write_bytes(b"no PNG")
    save(image[3], np.zeros((*SIZE, 4), np.uint8))
    save(label[4], np.zeros((*SIZE, 3), np.uint8))
    save(label[5], np.zeros(SIZE, np.uint16))
    image[6].write_bytes(sixteen_bit_rgb())
    save(label[7], np.full((5, 8), 7))
    save(label[8], np.full(SIZE, 77))
    label[9].unlink()
    image[10].unlink()
    write_image(source, "val", names[11], 9)
    write_label(source, "val", names[11], np.full(SIZE, 7))
    image[12].rename(image[12].with_name(f"bonn_000000_000019{label_tables.IMAGE}"))
    image[13].rename(image[13].with_suffix(".jpg"))
    Image.fromarray(np.full(SIZE, 3, np.uint8)).convert("P").save(label[14])
    image[15].unlink()
    image[15].symlink_to(tmp_path / "nowhere")
    message = problems(source)
    lines = message.splitlines()[1:]
    expected = {
        f"{names[0]}_leftImg8bit.png: it cannot be read": "again",
        f"{names[1]}_leftImg8bit.png: it cannot be read": "again",
        f"{names[2]}_gtFine_labelIds.png: it is missing or no PNG": "again",
        f"{names[3]}_leftImg8bit.png: it is 8-bit RGBA, expected 8-bit RGB": "export",
        f"{names[4]}_gtFine_labelIds.png: it is 8-bit RGB, expected 8-bit grey": "export",
        f"{names[5]}_gtFine_labelIds.png: it is 16-bit grey": "export",
        f"{names[6]}_leftImg8bit.png: it is 16-bit RGB": "export",
        f"{names[7]}_gtFine_labelIds.png: the label has 8x5 pixels, its image 8x6": "export",
        f"{names[8]}_gtFine_labelIds.png: values 77 are not in": "export",
        f"{names[9]}_leftImg8bit.png: it has no label": "add",
        f"{names[10]}_gtFine_labelIds.png: it has no image": "add",
        f"leftImg8bit/val/aachen/{names[11]}_leftImg8bit.png: frame {names[11]} is also in train": "remove",
        "leftImg8bit/train/aachen/bonn_000000_000019_leftImg8bit.png: its name says bonn": "rename",
        f"leftImg8bit/train/aachen/{names[13]}_leftImg8bit.jpg: the name does not end in": "rename",
        f"{names[14]}_gtFine_labelIds.png: it is 8-bit palette": "export",
        f"{names[15]}_leftImg8bit.png: it is missing": "again",
    }
    for start, remedy in expected.items():
        found = [line for line in lines if start in line]
        assert len(found) == 1, f"{start!r} in {message}"
        assert remedy in found[0]
    assert f"{source} has {len(lines)} problem(s)" in message
    assert len(lines) == len(expected) + 2  # two labels have lost their image by the renaming
    assert sorted(path.name for path in root.rglob("*")) == [".lock", "prepared", "tiny-streets"]


def sixteen_bit_rgb() -> bytes:
    """A PNG that Pillow opens as mode RGB and silently halves to 8 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(6 * SIZE[1]) for _ in range(SIZE[0])))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_labels_of_two_bits_are_refused_because_pillow_would_scale_their_values(source):
    header = struct.pack(">IIBBBBB", 8, 6, 2, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes([0b01010101] * 2) for _ in range(6)))
    parts = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    label_path(source, "train", TRAIN[0]).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert "it is 2-bit grey, expected 8-bit grey" in problems(source)


def test_a_missing_part_is_named(source):
    shutil.rmtree(source / "leftImg8bit" / "val")
    assert "leftImg8bit/val: no frame" in problems(source)


def test_frames_that_were_not_opened_cannot_be_looked_at(source):
    folder = prepared(source)._folder
    images, labels = (
        FrameImages(folder / "images", TRAIN[:2], "tiny-streets"),
        FrameLabels(folder / "labels", TRAIN[:1], "tiny-streets"),
    )
    assert (list(images), len(labels), TRAIN[2] in images) == (list(TRAIN[:2]), 1, False)
    with pytest.raises(KeyError, match="2 frames that this task was opened for"):
        images[TRAIN[2]]
    with pytest.raises(KeyError, match="1 frames that this task was opened for"):
        labels[TRAIN[1]]


def test_frames_are_read_only_memory_maps_that_pickle_small(source):
    folder = prepared(source)._folder
    images = pickle.loads(pickle.dumps(FrameImages(folder / "images", TRAIN, "tiny-streets")))
    array = images[TRAIN[0]].array
    assert isinstance(array, np.memmap)
    assert array.shape == (3, *SIZE)
    assert not array.flags.writeable
    assert not FrameLabels(folder / "labels", TRAIN, "tiny-streets")[TRAIN[0]].flags.writeable
    assert len(pickle.dumps(images)) < 1000


def test_the_identity_follows_content_and_not_the_time_of_a_file(source):
    first = prepared(source)
    path = image_path(source, "train", TRAIN[0])
    os.utime(path, (1, 1))
    assert Streets().prepare(source)[0].startswith("checked")
    touched = Streets()
    assert touched.identity == first.identity
    assert touched.ready() == []
    write_image(source, "train", TRAIN[0], 77)
    assert prepared(source).identity != first.identity
    label = np.full(SIZE, 7)
    label[0, 0] = 8
    before = Streets().identity
    write_label(source, "train", TRAIN[0], label)
    assert prepared(source).identity != before


def test_a_second_preparation_decodes_nothing(source, monkeypatch):
    first = prepared(source)
    monkeypatch.setattr("atso_bench.datasets._frames.decoded.write_frame", None)
    monkeypatch.setattr(cityscapes_reader, "_decode", None)
    notes = Streets().prepare(source)
    assert notes[0] == f"tiny-streets is prepared in {first._folder}"
    assert Streets().ready() == []


def test_a_file_that_joins_later_is_noticed(source):
    prepared(source)
    write_image(source, "train", "ulm_000000_000019", 3)
    assert "has no label" in problems(source)
    write_label(source, "train", "ulm_000000_000019", np.full(SIZE, 7))
    assert len(prepared(source).pool) == 4


def test_a_copy_of_the_folder_is_known(source, tmp_path):
    first = prepared(source)
    shutil.copytree(source, tmp_path / "copy", copy_function=shutil.copy2)
    assert Streets().prepare(tmp_path / "copy")[0] == f"tiny-streets is prepared in {first._folder}"


def test_the_environment_goes_before_what_was_given_last(source, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(source, other)
    prepared(source)
    assert Streets().find() == source
    monkeypatch.setenv("CITYSCAPES_DATASET", str(other))
    assert Streets().find() == other
    with pytest.raises(ValueError, match=f"CITYSCAPES_DATASET is {other} and overrides --from {source}"):
        Streets().prepare(source)


def test_a_failed_preparation_is_not_remembered(source, tmp_path):
    prepared(source)
    bad = tmp_path / "bad"
    shutil.copytree(source, bad)
    label_path(bad, "train", TRAIN[0]).unlink()
    problems(bad)
    assert Streets().find() == source


def test_runs_work_from_the_cache_when_the_source_is_gone(source):
    first = prepared(source)
    shutil.rmtree(source)
    gone = Streets()
    assert gone.is_ready() == (True, f"prepared from {source}")
    assert gone.ready() == []
    assert (gone.identity, gone.pool) == (first.identity, TRAIN)
    assert gone.hidden_label(TRAIN[0]).shape == SIZE


def test_without_data_it_says_how_to_get_it(tmp_path):
    ready, hint = Cityscapes().is_ready()
    assert not ready
    for part in ("csDownload", "leftImg8bit_trainvaltest.zip", "CITYSCAPES_DATASET", "prepare cityscapes --from"):
        assert part in hint
    with pytest.raises(FileNotFoundError, match="csDownload"):
        Cityscapes().prepare()
    with pytest.raises(FileNotFoundError, match="csDownload"):
        _ = Cityscapes().pool
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        Cityscapes().prepare(tmp_path / "nowhere")
    assert "leftImg8bit_trainextra.zip" in CityscapesExtra().is_ready()[1]


def test_archives_that_are_not_unpacked_are_recognised(tmp_path):
    (tmp_path / "gtFine_trainvaltest.zip").touch()
    with pytest.raises(ValueError, match=r"unpack gtFine_trainvaltest\.zip there"):
        Streets().prepare(tmp_path)


def test_an_unknown_configuration_is_refused():
    with pytest.raises(ValueError, match="512x1024, unimatch-801, cps-800, got '2d'"):
        Cityscapes("2d")


def test_a_frame_is_its_own_group_or_belongs_to_its_city():
    assert [Streets().group(TRAIN[0], by) for by in ("", "frame", "city")] == [TRAIN[0], TRAIN[0], "aachen"]
    with pytest.raises(ValueError, match="frame, city, got 'patient'"):
        Streets().group(TRAIN[0], "patient")


def test_only_extra_takes_images_without_labels(source):
    name = "troisdorf_000000_000073"
    write_image(source, "train_extra", name, 4)
    assert prepared(source).unlabelled == ()
    extra = prepared(source, StreetsExtra)
    assert (extra.unlabelled, extra.pool) == ((name,), TRAIN)
    with pytest.raises(KeyError, match="no labelled frame 'troisdorf"):
        extra.hidden_label(name)
    assert extra.identity != prepared(source).identity


def test_extra_without_its_images_is_refused(source):
    assert "leftImg8bit/train_extra: no frame" in problems(source, StreetsExtra)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_decoded(source, root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * 4 * 48 - 1))
    with pytest.raises(ValueError, match=r"4 decoded frames take 7\.68e-07 GB.*free; .*ATSO_BENCH_DATA"):
        Streets().prepare(source)
    assert sorted(path.name for path in root.rglob("*")) == [".lock", "prepared", "tiny-streets"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * 4 * 48))
    Streets().prepare(source)


CAR = np.full(SIZE, 26)  # which no train id is


def test_data_that_is_not_the_official_release_says_so(source):
    write_label(source, "train", TRAIN[2], CAR)
    dataset = prepared(source, Cityscapes)
    assert dataset.caveats == (
        "the data is not the official Cityscapes release: 3 + 1 frames of 8x6 instead of 2,975 + 500 of 2048x1024",
    )
    assert f"note: {dataset.caveats[0]}" in Cityscapes().prepare(source)
    assert prepared(source).caveats == ()


def test_what_makes_a_score_doubtful_is_a_caveat_and_no_error(source):
    write_label(source, "train", TRAIN[2], CAR)
    write_label(source, "train", TRAIN[0], np.full(SIZE, 4))
    save(image_path(source, "train", TRAIN[1]), np.zeros((*SIZE, 3), np.uint8))
    near = "bochum_000009_000019"
    write_image(source, "val", near, 9)
    write_label(source, "val", near, np.full(SIZE, 7))
    assert prepared(source).caveats == (
        "training and test share 1 city folder(s), whose frames may look alike: bochum",
        f"1 label(s) have no pixel of an evaluated class: {TRAIN[0]}",
        f"1 image(s) have one colour throughout: {TRAIN[1]}",
    )


def test_what_a_killed_preparation_left_is_removed(source, root):
    home = root / "prepared" / "tiny-streets"
    for name in (".decoding.1234.partial", "decoding"):
        (home / name / "images").mkdir(parents=True)
    dataset = prepared(source)
    assert sorted(path.name for path in home.iterdir()) == [".lock", dataset._folder.name, "source.json"]


def test_a_task_gets_the_frames_it_was_opened_for(source, monkeypatch):
    import sys

    seen: dict[str, Any] = {}
    task = SimpleNamespace(FramesTask=lambda **arguments: seen.update(arguments))
    monkeypatch.setitem(sys.modules, "atso_bench.datasets._frames.task", task)
    dataset = prepared(source)
    dataset.task(TRAIN[1:2], TRAIN, "budget", {})  # type: ignore[arg-type]
    assert list(seen["images"]) == list(TRAIN)
    assert list(seen["labels"]) == [TRAIN[1]]
    assert seen["labelled"] == {TRAIN[1]: dataset._frames[TRAIN[1]]["label"]}
    assert (seen["unlabelled"], seen["listed"]) == (2, False)
    with pytest.raises(ValueError, match=r"labelled frame\(s\) ulm_1 are not among tiny-streets's 4"):
        dataset.task(["ulm_1"], TRAIN, "budget", {})  # type: ignore[arg-type]


COUNTS = {"3.33333": 100, "6.25": 186, "12.5": 372, "25": 744, "50": 1488, "100cases": 100, "744cases": 744}


@pytest.mark.parametrize(("fraction", "count"), COUNTS.items())
def test_published_lists_have_their_numbers_of_frames(fraction, count):
    ids = published_list("unimatch", fraction)
    assert len(ids) == len(set(ids)) == count
    assert is_published(reversed(ids))
    assert not is_published(ids[1:])


def test_lists_from_186_on_are_nested_and_that_of_100_is_apart():
    lists = [set(published_list("unimatch", f"{count}cases")) for count in PERCENT]
    for small, large in pairwise(lists[1:]):
        assert small < large
    assert [len(lists[0] & other) for other in lists[1:]] == [7, 11, 29, 55]


def test_cps_has_the_lists_of_unimatch_but_for_100_frames():
    assert published_list("cps", "12.5") == published_list("unimatch", "12.5")
    with pytest.raises(LookupError, match=r"6\.25 % \(186cases\)"):
        published_list("cps", "3.33333")


def test_unknown_lists_are_answered_with_what_there_is():
    with pytest.raises(LookupError, match=r"no list for 10; there are: 3\.33333 % \(100cases\), 6\.25 %"):
        published_list("unimatch", "10")
    with pytest.raises(LookupError, match="there are: unimatch, cps"):
        published_list("u2pl", "25")


def test_a_damaged_list_is_refused(tmp_path, monkeypatch):
    shutil.copytree(FOLDER, tmp_path / "manifests")
    monkeypatch.setattr("atso_bench.datasets._frames.published.FOLDER", tmp_path / "manifests")
    path = tmp_path / "manifests" / "cityscapes-unimatch-186.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # as git may check it out
    assert len(published_list("unimatch", "6.25")) == 186
    path.write_text(path.read_text().replace("jena_000078", "jena_000079", 1))
    with pytest.raises(OSError, match=r"cityscapes-unimatch-186\.txt is damaged"):
        published_list("unimatch", "6.25")


def test_a_published_list_is_refused_for_other_data(source):
    with pytest.raises(ValueError, match="185 of them are not in its train part"):
        prepared(source).published("unimatch", "6.25")


@pytest.mark.real
@pytest.mark.parametrize(("part", "count"), [(30, 100), (16, 186), (8, 372), (4, 744), (2, 1488)])
def test_our_lists_are_the_published_ones(real_data, part, count):
    path = real_data.parent / "reference" / "splits" / f"cityscapes_unimatch_1_{part}_labeled.txt"
    if not path.is_file():
        pytest.skip(f"no {path}")
    assert published_list("unimatch", f"{count}cases") == read_list(path)
    ids = "".join(f"{line.split('_leftImg8bit')[0].split('/')[-1]}\n" for line in path.read_text().splitlines())
    ours = FOLDER / f"cityscapes-unimatch-{count}.txt"
    assert hashlib.sha256(ours.read_bytes()).hexdigest() == hashlib.sha256(ids.encode()).hexdigest()


@pytest.mark.real
def test_camvid_in_the_layout_of_cityscapes_is_prepared(real_data):
    source = real_data / "camvid_as_cityscapes"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    dataset = prepared(source, Cityscapes)
    assert (len(dataset.pool), len(dataset.test)) == (120, 40)
    assert dataset.caveats[0].endswith("120 + 40 frames of 480x360 instead of 2,975 + 500 of 2048x1024")
    assert "training and test share 1 city folder(s)" in dataset.caveats[1]
    name = dataset.test[0]
    image = FrameImages(dataset._folder / "images", dataset.test, "tiny-streets")[name].array
    with Image.open(image_path(source, "val", name)) as opened:
        np.testing.assert_array_equal(image, np.asarray(opened).transpose(2, 0, 1))
    with Image.open(label_path(source, "val", name)) as opened:
        ids = np.asarray(opened)
    label = dataset.hidden_label(name)
    for entry in TABLE:
        expected = IGNORE if entry.ignoreInEval else entry.trainId
        assert set(label[ids == entry.id]) <= {expected}
    frames = dataset._frames
    assert len({fact["image"] for fact in frames.values()}) == 160


def test_a_damaged_cache_is_noticed_and_made_again(source):
    dataset = prepared(source)
    folder = dataset._folder
    image, label = folder / "images" / f"{TRAIN[0]}.npy", folder / "labels" / f"{TRAIN[1]}.npy"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    with pytest.raises(OSError, match=r"missing or damaged .*`atso-bench prepare tiny-streets` makes it again"):
        FrameImages(folder / "images", TRAIN, "tiny-streets")[TRAIN[0]]
    for damage in (lambda: image.write_bytes(whole[:100]), label.unlink):
        damage()
        assert prepared(source).identity == dataset.identity
        assert image.read_bytes() == whole
        assert label.is_file()


@pytest.mark.parametrize("content", ["{bad", "[]", '{"prepared": {"x": {}}}'])
def test_a_broken_memory_is_forgotten(source, root, content):
    prepared(source)
    (memory,) = root.rglob("source.json")
    memory.write_text(content)
    assert not Streets().is_ready()[0]
    assert prepared(source).is_ready()[0]


def test_a_test_set_without_an_evaluated_pixel_is_refused(source):
    for name in VAL:
        write_label(source, "val", name, np.zeros(SIZE))
    with pytest.raises(ValueError, match="no label of val has a pixel of an evaluated class"):
        Streets().prepare(source)


def test_train_ids_under_the_name_of_label_ids_are_refused(source):
    write_label(source, "train", TRAIN[0], np.full(SIZE, 255))
    assert "values 255 are not in" in (told := problems(source))
    assert "train ids are named *labelTrainIds.png" in told


def test_what_a_mac_adds_to_archives_is_left_alone(source):
    for path in list(source.rglob("*.png")):
        path.with_name(f"._{path.name}").write_bytes(b"resource fork")
    assert prepared(source).pool == TRAIN


def test_labels_that_are_missing_altogether_are_one_problem(source):
    shutil.rmtree(source / "gtFine")
    assert "gtFine/train is missing; unpack gtFine_trainvaltest.zip" in (told := problems(source))
    assert len(told.splitlines()) == 3


def test_a_folder_beside_the_right_one_is_answered_with_the_right_one(source, monkeypatch):
    for wrong in (source.parent, source / "leftImg8bit"):
        with pytest.raises(ValueError, match=rf"give {source}$"):
            Streets().prepare(wrong)
    monkeypatch.setenv("CITYSCAPES_DATASET", str(source / "nowhere"))
    with pytest.raises(FileNotFoundError, match="correct or unset CITYSCAPES_DATASET"):
        Streets().prepare()
    monkeypatch.setenv("HOME", str(source.parent))
    monkeypatch.setenv("CITYSCAPES_DATASET", f"~/{source.name}")
    assert Streets().find() == source


@pytest.mark.parametrize(("kind", "make"), [("polygons.json", True), ("instanceIds.png", False), ("color.png", False)])
def test_frames_with_other_annotations_than_label_images_are_one_line_that_says_how_to_make_them(source, kind, make):
    for path in source.rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds.png", kind)))
    told = problems(source).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in told] == ["gtFine/train", "gtFine/val"]
    assert f"3 of 3 images have *_gtFine_{kind} and no label image; unpack gtFine_trainvaltest.zip" in told[0]
    assert all(("csCreateTrainIdLabelImgs" in line) == make for line in told)


def test_a_frame_that_lacks_its_label_is_still_named_beside_those_with_polygons(source):
    label_path(source, "train", TRAIN[0]).unlink()
    polygons = label_path(source, "train", TRAIN[1])
    polygons.rename(polygons.with_name(polygons.name.replace("labelIds.png", "polygons.json")))
    told = problems(source)
    assert "1 of 3 images have *_gtFine_polygons.json" in told
    assert f"{TRAIN[0]}_leftImg8bit.png: it has no label" in told
    assert len(told.splitlines()) == 3


def test_train_ids_without_void_under_the_name_of_label_ids_are_said(source):
    for part, names in (("train", TRAIN), ("val", VAL)):
        for name in names:
            write_label(source, part, name, np.full(SIZE, 8))
    assert any("no label holds an id above 8" in line for line in Streets().prepare(source))
    write_label(source, "val", VAL[0], CAR)
    assert not any("no label holds an id above" in line for line in Streets().prepare(source))
    identity = Streets().identity
    for name in (*TRAIN, *VAL):
        for path in source.rglob(f"{name}_gtFine_labelIds.png"):
            ids = np.array(Image.open(path))
            path.unlink()
            values = label_tables.train_ids("x")[ids].astype(np.uint8)
            save(path.with_name(path.name.replace("labelIds", "labelTrainIds")), values)
    assert not any("no label holds an id above" in line for line in Streets().prepare(source))
    assert Streets().identity == identity
