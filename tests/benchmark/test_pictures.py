"""What a run keeps to be looked at: the slice is the reference's choice, the files are small and shared."""

from __future__ import annotations

import numpy as np
import pytest

from atso_bench.benchmark.scoring.pictures import LONGEST, Album, Kept, ground_file, predictions_file, view
from atso_bench.benchmark.task import IGNORE, Reference


def volume(shape=(9, 20, 30)) -> np.ndarray:
    """Class 1 fills slices 2 to 4, most of all 3; all of class 2, one voxel, lies in slice 4."""
    label = np.zeros(shape, np.uint8)
    label[2, 5:8, 5:8], label[3, 4:9, 4:9], label[4, 5:8, 5:8] = 1, 1, 1
    label[4, 12, 12] = 2
    return label


def test_the_slice_is_the_one_with_the_largest_shares_of_all_classes_across_the_coarsest_axis():
    assert view(Reference(volume(), (3.0, 1.0, 1.0))).index == 4, "one voxel is all of class 2"
    alone = view(Reference(np.where(volume() == 2, 0, volume()), (3.0, 1.0, 1.0)))
    assert (alone.axis, alone.index) == (0, 3)
    turned = view(Reference(volume().transpose(1, 2, 0), (1.0, 0.5, 3.0)))
    assert (turned.axis, turned.index, turned.spacing) == (2, 4, (1.0, 0.5))


def test_ignored_voxels_do_not_choose_the_slice_and_an_empty_reference_gives_the_middle():
    label = np.zeros((9, 8, 8), np.uint8)
    assert view(Reference(label, (1.0, 1.0, 1.0))).index == 4
    label[0] = IGNORE
    assert view(Reference(label, (1.0, 1.0, 1.0))).index == 4
    label[7, 3, 3] = 1
    assert view(Reference(label, (1.0, 1.0, 1.0))).index == 7


@pytest.mark.parametrize("longest", [LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST])
def test_no_side_is_longer_than_promised_and_image_and_label_are_thinned_alike(longest):
    seen = view(Reference(np.zeros((4, longest), np.uint8), (1.0, 1.0)))
    half = np.zeros((4, longest), np.uint8)
    half[:, longest // 2 :] = 255
    label, grey, colour = seen.label(half), seen.image(half.astype(float)), seen.image(np.stack([half] * 3, -1))
    assert max(label.shape) <= LONGEST
    assert label.shape == grey.shape == colour.shape[:2]
    assert (label != grey).sum() <= len(label), "the two differ at the edge at most"
    assert np.array_equal(colour[..., 0], grey)


def test_image_and_reference_are_kept_once_and_predictions_for_every_run(tmp_path):
    asked = []

    def picture(case: str) -> np.ndarray:
        asked.append(case)
        return np.random.default_rng(0).normal(size=(9, 20, 30)).astype(np.float32)

    reference = Reference(volume(), (3.0, 1.0, 1.0))
    for key, value in (("one", 1), ("two", 2)):
        with Album(tmp_path, key, "data", ["a", "b"], picture) as album:
            for case in ("a", "b"):
                album.add(case, np.full((9, 20, 30), value), reference)
    assert asked == ["a", "b"], "the second run found them there"
    ground = Kept(ground_file(tmp_path, "data", ["b", "a"]))
    image = ground.array("image", "b")
    assert image.dtype == np.uint8
    assert (image.min(), image.max()) == (0, 255)
    assert np.array_equal(ground.array("reference", "a"), volume()[4])
    assert ground.array("spacing", "a").tolist() == [1.0, 1.0]
    for key, value in (("one", 1), ("two", 2)):
        prediction = Kept(predictions_file(tmp_path, key, "data")).array("prediction", "a")
        assert (prediction == value).all()
        assert prediction.shape == (20, 30)


def test_other_data_or_other_cases_have_other_files(tmp_path):
    assert predictions_file(tmp_path, "one", "data") != predictions_file(tmp_path, "one", "other data")
    files = {ground_file(tmp_path, data, cases) for data in ("x", "y") for cases in (["a"], ["a", "b"])}
    assert len(files) == 4


def test_an_image_of_one_intensity_or_with_nan_is_no_error(tmp_path):
    plane = np.full((1, 4, 4), 7.0)
    plane[0, 0, 0] = np.nan
    with Album(tmp_path, "one", "data", ["a"], lambda case: plane) as album:
        album.add("a", np.zeros((1, 4, 4)), Reference(np.zeros((1, 4, 4), np.uint8), (1.0, 1.0, 1.0)))
    assert (Kept(ground_file(tmp_path, "data", ["a"])).array("image", "a") == 0).all()


def test_a_damaged_file_says_which_it_is_and_a_missing_one_that_it_is_missing(tmp_path):
    with Album(tmp_path, "one", "data", ["a"], lambda case: np.zeros((1, 4, 4))) as album:
        album.add("a", np.zeros((1, 4, 4)), Reference(np.zeros((1, 4, 4), np.uint8), (1.0, 1.0, 1.0)))
    path = predictions_file(tmp_path, "one", "data")
    with pytest.raises(ValueError, match=f"{path.name} is damaged: it has no prediction of b"):
        Kept(path).array("prediction", "b")
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"x" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name} is damaged"):
            Kept(path)
    with pytest.raises(FileNotFoundError):
        Kept(path.with_name("other.npz"))


def test_a_picture_that_cannot_be_kept_costs_no_score_and_leaves_no_half_file(tmp_path):
    def gone(case: str) -> np.ndarray:
        raise FileNotFoundError("the image of a is gone")

    reference = Reference(np.zeros((1, 4, 4), np.uint8), (1.0, 1.0, 1.0))
    with Album(tmp_path, "one", "data", ["a", "b"], gone) as album:
        for case in ("a", "b"):
            album.add(case, np.zeros((1, 4, 4)), reference)
    assert album.notes == ["no pictures were kept: FileNotFoundError: the image of a is gone"]
    assert not list((tmp_path / "pictures").iterdir())
    (tmp_path / "full").write_text("a file where a folder should be")
    with Album(tmp_path / "full", "one", "data", ["a"], gone) as album:
        album.add("a", np.zeros((1, 4, 4)), reference)
    assert len(album.notes) == 1


def test_a_run_that_fails_while_it_is_scored_leaves_no_pictures(tmp_path):
    def scored() -> None:
        with Album(tmp_path, "one", "data", ["a", "b"], lambda case: np.zeros((1, 4, 4))) as album:
            album.add("a", np.zeros((1, 4, 4)), Reference(np.zeros((1, 4, 4), np.uint8), (1.0, 1.0, 1.0)))
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        scored()
    assert not list((tmp_path / "pictures").iterdir())


def test_damaged_images_are_kept_anew_by_the_next_run(tmp_path):
    for key in ("one", "two"):
        with Album(tmp_path, key, "data", ["a"], lambda case: np.zeros((1, 4, 4))) as album:
            album.add("a", np.zeros((1, 4, 4)), Reference(np.zeros((1, 4, 4), np.uint8), (1.0, 1.0, 1.0)))
        ground = ground_file(tmp_path, "data", ["a"])
        assert Kept(ground).array("image", "a").shape == (4, 4)
        ground.write_bytes(ground.read_bytes()[:50])


def test_the_axis_does_not_follow_the_last_bits_of_a_header():
    for spacing in ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0000001), (0.99999994, 1.0, 1.0)):
        assert view(Reference(volume(), spacing)).axis == 0
