"""Any folder of images and masks with a dataset.json: what is read, what is refused, and a run from end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from frames_data import LABELS, describe, make_frames, picture, save
from PIL import Image
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.task import IGNORE, Pool
from atso_bench.datasets.frames import AnyFrames

SMOKE = Budget.parse("smoke")
PALETTE = {"background": [0, 0, 0], "polyp": [220, 20, 60], "tool": [0, 0, 255]}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ATSO_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_frames(tmp_path / "polyps")


def prepared(source: Path, name: str = "frames-polyps") -> AnyFrames:
    dataset = AnyFrames(name)
    dataset.prepare(source)
    return dataset


def refused(source: Path) -> str:
    with pytest.raises(ValueError, match="problem") as error:
        AnyFrames("frames-polyps").prepare(source)
    return str(error.value)


# -- what is read -----------------------------------------------------------------------------------------------------


def test_values_become_classes_in_the_order_of_their_values_and_ignored_ones_do_not_count(folder):
    dataset = prepared(folder)
    _, mask = picture(3)
    label = dataset.hidden_label("frame_03")
    assert label.dtype == np.uint8
    expected = np.array([0, 1, 2, 2])[np.minimum(mask, 3)]
    np.testing.assert_array_equal(label, np.where(mask == 255, IGNORE, expected))
    assert dataset.classes.names == ("background", "polyp", "tool")
    assert dataset.classes.ids == (0, 1, 2)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".bmp"])
def test_grey_and_colour_images_are_read_as_rgb(ending, folder):
    image, mask = picture(20)
    save(folder / "images" / f"new{ending}", image)
    save(folder / "images" / f"grey{ending}", image[..., 0])
    for name in ("new", "grey"):
        save(folder / "masks" / f"{name}.png", mask)
    dataset = prepared(folder)
    stored = image if ending != ".jpg" else np.asarray(Image.open(folder / "images" / "new.jpg"))
    np.testing.assert_array_equal(dataset.picture("new"), stored)
    grey = dataset.picture("grey")
    assert (grey == grey[..., :1]).all()


@pytest.mark.parametrize("ending", [".png", ".tiff", ".bmp"])
def test_masks_may_be_png_tiff_or_bmp_with_or_without_a_palette(ending, folder):
    (folder / "masks" / "frame_03.png").unlink()
    mask = Image.fromarray(picture(3)[1]).convert("P")
    mask.putpalette([value * 7 % 256 for value in range(768)])
    mask.save(folder / "masks" / f"frame_03{ending}")
    assert set(np.unique(prepared(folder).hidden_label("frame_03"))) == {0, 1, 2, IGNORE}


def test_without_a_test_set_a_fifth_is_drawn_and_always_the_same_one(folder):
    dataset = prepared(folder)
    assert (len(dataset.pool), len(dataset.test), dataset.unlabelled) == (8, 2, ())
    assert not set(dataset.pool) & set(dataset.test)
    assert prepared(folder, "frames-other").test == dataset.test


def test_a_test_set_and_unlabelled_images_of_its_own(folder):
    (folder / "images" / "frame_09.PNG").unlink(missing_ok=True)
    (folder / "images" / "frame_09.tif").unlink(missing_ok=True)
    (folder / "masks" / "frame_09.png").unlink()
    image, mask = picture(30)
    save(folder / "held out" / "a.png", image)
    save(folder / "held out masks" / "a_mask.png", mask)
    save(folder / "more" / "b.jpg", picture(31)[0])
    for path in sorted((folder / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    named = {"test_images": "held out", "test_masks": "held out masks", "unlabelled_images": "more"}
    describe(folder, mask_suffix="_mask", **named)
    dataset = prepared(folder)
    assert (len(dataset.pool), dataset.test, dataset.unlabelled) == (9, ("a",), ("b",))


def test_a_group_is_never_divided(folder):
    groups = {f"frame_{number:02d}": f"patient {number // 2}" for number in range(10)}
    describe(folder, groups=groups)
    dataset = prepared(folder)
    assert dataset.group("frame_03") == "patient 1"
    parts = [{dataset.group(case) for case in part} for part in (dataset.pool, dataset.test)]
    assert parts[1]
    assert not parts[0] & parts[1]


def test_the_same_image_twice_in_one_group_is_no_problem_and_in_two_groups_it_is(folder):
    for kind in ("images", "masks"):
        shutil.copy(folder / kind / "frame_04.png", folder / kind / "copy.png")
    assert "copy: the same image as frame_04" in refused(folder)
    names = [path.stem for path in (folder / "masks").iterdir()]
    describe(folder, groups={name: "one" if name in ("copy", "frame_04") else name for name in names})
    assert "copy" in {*prepared(folder).pool, *prepared(folder).test}


def test_the_folder_is_not_needed_once_it_is_prepared(folder):
    first = prepared(folder)
    shutil.rmtree(folder)
    again = registry.dataset("frames-polyps")
    assert (again.identity, again.pool, again.is_ready()[0]) == (first.identity, first.pool, True)


def test_another_value_in_dataset_json_prepares_anew(folder):
    first = prepared(folder)
    describe(folder, labels={"background": 0, "polyp": [1, 2], "tool": 3, "ignore": 255})
    second = prepared(folder)
    assert first.identity != second.identity
    assert (second.hidden_label("frame_03") == 1).sum() > (first.hidden_label("frame_03") == 1).sum()


def test_another_name_of_a_class_is_another_dataset_and_another_task(folder):
    first = prepared(folder)
    one = first.task(first.pool[:2], first.pool, SMOKE, {})
    describe(folder, labels={**{name: value for name, value in LABELS.items() if name != "tool"}, "knife": [2, 3]})
    second = prepared(folder)
    assert first.identity != second.identity
    assert one.identity != second.task(first.pool[:2], first.pool, SMOKE, {}).identity


def test_another_colour_is_used_and_makes_no_other_data(folder):
    first = prepared(folder)
    assert first.classes.palette == ()
    describe(folder, palette=PALETTE)
    second = prepared(folder)
    assert first.identity == second.identity
    assert second.classes.palette == ((0, 0, 0), (220, 20, 60), (0, 0, 255))


# -- notes ------------------------------------------------------------------------------------------------------------


def notes(source: Path) -> str:
    return "\n".join(line for line in AnyFrames("frames-polyps").prepare(source) if line.startswith("note"))


def test_what_is_left_out_or_odd_is_said(folder):
    describe(folder, palete=PALETTE, description="ours", labels={**LABELS, "clip": 9})
    save(folder / "images" / "animation.gif", picture(40)[0])
    save(folder / "images" / ".hidden.png", picture(41)[0])
    turned = Image.fromarray(picture(42)[0])
    exif = turned.getexif()
    exif[274] = 3
    turned.save(folder / "images" / "turned.jpg", exif=exif)
    save(folder / "masks" / "turned.png", picture(42)[1])
    said = notes(folder)
    for text in (
        "dataset.json says palete, which nothing reads",
        "images/animation.gif",
        "images/.hidden.png",
        "no mask holds clip",
        "the camera was turned (EXIF)",
    ):
        assert text in said
    assert "description" not in said
    assert "clip" not in notes(make_frames(folder.with_name("plain")))


# -- what is refused --------------------------------------------------------------------------------------------------


def spoil_size(folder: Path) -> str:
    save(folder / "masks" / "frame_01.png", np.zeros((3, 5), np.uint8))
    return "masks/frame_01.png: the label has 5x3 pixels, its image 70x33"


def spoil_value(folder: Path) -> str:
    save(folder / "masks" / "frame_01.png", np.full((33, 70), 7, np.uint8))
    return (
        "masks/frame_01.png: values 7 are not in dataset.json (0: background, 1: polyp, 2: tool, 3: tool, 255: ignored)"
    )


def spoil_colours(folder: Path) -> str:
    save(folder / "masks" / "frame_01.png", picture(1)[0])
    return "masks/frame_01.png: has 3 values per voxel"


def spoil_image(folder: Path) -> str:
    (folder / "images" / "frame_04.png").write_bytes(b"no image")
    return "images/frame_04.png: "


def spoil_depth(folder: Path) -> str:
    Image.fromarray(np.arange(40 * 56, dtype=np.uint16).reshape(40, 56)).save(folder / "images" / "frame_04.png")
    return "images/frame_04.png: it has more than 8 bits by channel"


def spoil_alpha(folder: Path) -> str:
    save(folder / "images" / "frame_04.png", np.full((40, 56, 4), 90, np.uint8))
    return "images/frame_04.png: it is transparent in places"


def spoil_pages(folder: Path) -> str:
    pages = [Image.fromarray(picture(9)[0]) for _ in range(2)]
    pages[0].save(folder / "images" / "frame_01.tif", save_all=True, append_images=pages[1:])
    return "images/frame_01.tif: it holds 2 pictures"


def spoil_cmyk(folder: Path) -> str:
    (folder / "images" / "frame_04.png").unlink()
    Image.fromarray(picture(4)[0]).convert("CMYK").save(folder / "images" / "frame_04.jpg")
    return "images/frame_04.jpg: its colours are CMYK"


def spoil_pair(folder: Path) -> str:
    (folder / "masks" / "frame_01.png").unlink()
    return "images/frame_01.tif: it has no mask; add masks/frame_01.png"


def spoil_other_pair(folder: Path) -> str:
    (folder / "images" / "frame_01.tif").unlink()
    return "masks/frame_01.png: it has no image; add images/frame_01.png"


def spoil_twice(folder: Path) -> str:
    save(folder / "images" / "frame_01.png", picture(50)[0])
    return "images/frame_01.tif: frame_01.png has the same name"


def spoil_lossy(folder: Path) -> str:
    (folder / "masks" / "frame_01.png").unlink()
    save(folder / "masks" / "frame_01.jpg", picture(1)[1])
    return "masks/frame_01.jpg: JPEG changes the values of a mask"


SPOILS = [value for name, value in sorted(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_a_bad_file_is_named_and_nothing_is_kept(spoil, folder, root):
    expected = spoil(folder)
    assert expected in refused(folder)
    assert not list(root.rglob("prepared.json"))


def test_all_bad_files_are_named_in_one_pass(folder):
    expected = [spoil_value(folder), spoil_alpha(folder), "images/extra.png: it has no mask"]
    save(folder / "images" / "extra.png", picture(50)[0])
    told = refused(folder)
    assert "has 3 problem(s)" in told
    assert all(text in told for text in expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"labels": {"polyp": 1}}, "labels: there are 1 class(es), from 2 to 254 are possible"),
        ({"labels": {"a": 1, "b": [1, 2]}}, "labels: a and b are both 1"),
        ({"labels": {"a": 1, "b": 70000}}, "labels: b is 70000; values are from 0 to 65535"),
        ({"labels": 3}, "labels: Input should be a valid dictionary"),
        ({"palette": {"tools": [1, 2, 3]}}, "palette: tools is not among the labels"),
        ({"palette": {"tool": [1, 2, 3]}}, "palette: there is no colour for background, polyp"),
        ({"palette": {"tool": [1, 2, 300]}}, "palette.tool.2: Input should be less than or equal to 255"),
        ({"images": "pictures"}, "there is no folder pictures"),
        ({"images": "../polyps/images"}, "leads out of"),
        ({"test_images": "images"}, "there is no folder test_masks"),
        ({"groups": {"frame_00": True}}, "groups.frame_00"),
        ({"groups": {"frame_00": "a"}}, "frame_01: groups in dataset.json does not name it"),
    ],
)
def test_a_wrong_dataset_json_says_what_is_wrong(content, expected, folder):
    describe(folder, **content)
    told = refused(folder)
    assert str(folder) in told
    assert expected in told


def test_a_frame_or_group_in_two_parts_is_refused(folder):
    groups = {f"frame_{number:02d}": str(number) for number in range(10)}
    save(folder / "test_images" / "frame_01.png", picture(60)[0])
    save(folder / "test_masks" / "frame_01.png", picture(60)[1])
    save(folder / "test_images" / "new.png", picture(61)[0])
    save(folder / "test_masks" / "new.png", picture(61)[1])
    describe(folder, groups={**groups, "new": "3"})
    told = refused(folder)
    assert "test_images/frame_01.png: frame frame_01 is also in train" in told
    assert "frame_03: its group is in the test set too, as new" in told


def test_one_frame_makes_no_test_set(tmp_path):
    assert "a test set needs a second frame" in refused(make_frames(tmp_path / "one", count=1))


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder_name", "content", "expected"),
    [("polyps", {}, "frames-polyps"), ("my data (2)", {}, "frames-my-data-2"), ("x", {"name": "CVC"}, "frames-CVC")],
)
def test_the_name_is_the_datas_own_or_the_folders(folder_name, content, expected, tmp_path):
    dataset = AnyFrames()
    lines = dataset.prepare(make_frames(tmp_path / folder_name, **content))
    assert dataset.name == expected
    assert f"--dataset {expected}" in lines[-1]
    assert registry.dataset(expected).pool == dataset.pool
    assert expected in AnyFrames().is_ready()[1]


def test_a_name_that_another_folder_has_is_not_taken_over_unless_it_is_asked_for(folder, tmp_path):
    prepared(folder)
    other = make_frames(tmp_path / "elsewhere" / "polyps", count=6)
    with pytest.raises(ValueError, match=rf"frames-polyps is {folder} already.*prepare frames-NAME --from {other}"):
        AnyFrames().prepare(other)
    assert len(prepared(other).pool) == 5
    AnyFrames().prepare(other)


def test_frames_without_a_name_stands_for_no_dataset():
    with pytest.raises(ValueError, match="stands for any dataset"):
        AnyFrames().prepare()
    result = CliRunner().invoke(app, ["run", "-m", "supervised", "-f", "50", "-d", "frames"])
    assert result.exit_code == 2
    assert "frames is not one dataset" in result.output


# -- frames of different sizes ----------------------------------------------------------------------------------------


def test_crops_and_predictions_take_frames_of_different_sizes(folder):
    dataset = prepared(folder)
    task = dataset.task(dataset.pool, (*dataset.pool, *dataset.test), SMOKE, {})
    assert len({task.images[name].array.shape for name in task.images}) == 3
    image, label = task.draws(Pool(dataset.pool, task.images, task.labels), 16)()
    assert image.shape == (16, 3, 64, 64)
    assert label is not None
    assert set(label.unique().tolist()) <= {0, 1, 2, IGNORE}
    network = task.network()
    for name in dataset.pool:
        predicted = task.restore(
            task.images[name], task.slabs(network, task.images[name], torch.device("cpu"), mirror=True)
        )
        assert predicted.shape == dataset.hidden_label(name).shape
        assert predicted.max() < 3


# -- from end to end --------------------------------------------------------------------------------------------------


def test_two_methods_run_from_a_folder_to_a_report(folder, tmp_path):
    describe(folder, palette=PALETTE)
    runner, out = CliRunner(), tmp_path / "out"
    result = runner.invoke(app, ["prepare", "frames", "--from", str(folder)])
    assert result.exit_code == 0, result.output
    words = ["-m", "supervised,self-learning", "-f", "50", "-d", "frames-polyps", "--budget", "smoke"]
    result = runner.invoke(app, ["run", *words, "--workers", "0", "--out", str(out)])
    assert result.exit_code == 0, result.output
    files = sorted((out / "records" / "frames-polyps").rglob("seed*.json"))
    assert len(files) == 2
    for file in files:
        record = json.loads(file.read_text(encoding="utf-8"))
        assert record["classes"] == [*PALETTE]
        assert record["palette"] == PALETTE
        assert set(record["cases"]) == set(prepared(folder).test)
        assert record["spent_steps"] == 24
        assert 0 < record["score"] <= 1
    assert (out / "report" / "index.html").is_file()
    key = files[0].stem.rpartition("-")[2]
    result = runner.invoke(app, ["export", key, "--to", str(tmp_path / "model"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    described = json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))
    assert [each["label_id"] for each in described["classes"]] == [0, 1, 2]


def test_evaluate_scores_such_masks_with_the_labels_of_dataset_json(folder, tmp_path):
    """By Dice and class, without the background, as it scores any two folders of masks."""
    for path in (folder / "masks").iterdir():
        mask = np.array(Image.open(path))
        save(tmp_path / "predictions" / path.name, np.where(mask == 255, 0, mask))
    words = ["--predictions", str(tmp_path / "predictions"), "--references", str(folder / "masks")]
    result = CliRunner().invoke(app, ["evaluate", *words, "--output", str(tmp_path / "scores.csv")])
    assert result.exit_code == 0, result.output
    rows = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert {row.split(",")[1] for row in rows[1:]} == {"polyp", "tool"}
    assert "10 cases" in result.output
