"""No image and no patient is on both sides of a split, whatever files and names they come in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from raw_data import alone, describe, image_file, label_file, mask, save, voxels, write_case, write_raw

from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.splits import make_split
from atso_bench.datasets.nnunet import Nnunet

NAME = "Dataset700_Pairs"
TEN = [f"c{number}" for number in range(10)]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return alone(monkeypatch, tmp_path, NAME)


def refused() -> str:
    with pytest.raises(ValueError, match="problem") as error:
        Nnunet(NAME).prepare()
    return str(error.value)


def split(dataset: Any, fraction: str = "30", seed: int = 0, **more: Any) -> Any:
    return make_split(dataset, RunSpec(dataset.name, "supervised", fraction, seed, Budget.parse("smoke"), **more))


def parts(dataset: Any) -> tuple[str, str, str]:
    """A case of the pool, another one, and one of T."""
    return dataset.pool[0], dataset.pool[1], dataset.test[0]


def saved_again(folder: Path, source: str, target: str, how: str, part: str = "imagesTr") -> None:
    """The image of ``source`` as ``target``: the same voxels in other bytes."""
    old, new = image_file(folder, source), image_file(folder, target, part)
    if how == "gzipped":
        new.write_bytes(gzip.compress(gzip.decompress(old.read_bytes()), 1, mtime=7))
    else:
        image = sitk.ReadImage(str(old))
        image = sitk.Cast(image, sitk.sitkFloat64) if how == "float64" else image
        image.SetOrigin((5.0, 5.0, 5.0) if how == "moved" else image.GetOrigin())
        new.parent.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(new), useCompression=how != "plain")
        if how == "moved":
            label = sitk.ReadImage(str(label_file(folder, target)))
            label.SetOrigin((5.0, 5.0, 5.0))
            sitk.WriteImage(label, str(label_file(folder, target)))
    assert old.read_bytes() != new.read_bytes()


@pytest.mark.parametrize("how", ["gzipped", "float64", "moved"])
def test_an_image_saved_again_under_another_name_is_found_in_pool_and_test(folder: Path, how: str) -> None:
    write_raw(folder, TEN)
    one, _, test = parts(Nnunet(NAME))
    saved_again(folder, one, test, how)
    first, second = sorted((one, test))
    assert f"{first}: the same image as {second}, and a split could divide them" in (told := refused())
    assert "remove all but one, or give them the same patient in patients.json" in told


def test_all_pairs_are_named_at_once_and_those_that_no_split_divides_are_not(folder: Path) -> None:
    write_raw(folder, TEN)
    for name, seed in (("u0", 50), ("u1", 50), ("u2", 51)):
        write_case(folder, name, seed, "Un")
    one, two, test = parts(Nnunet(NAME))
    Nnunet(NAME).prepare()  # two equal images without labels are in R together
    saved_again(folder, one, two, "float64")
    saved_again(folder, test, "u2", "float64", "imagesUn")
    told = refused()
    assert f"{one}: the same image as {two}" in told
    assert f"{test}: the same image as u2" in told
    assert "u0" not in told
    assert "2 problem(s)" in told


def test_equal_images_of_one_patient_are_allowed_and_stay_together(folder: Path) -> None:
    write_raw(folder, TEN)
    saved_again(folder, "c3", "c4", "float64")
    patients = {name: "twin" if name in ("c3", "c4") else name for name in TEN}
    (folder / "patients.json").write_text(json.dumps(patients))
    dataset = Nnunet(NAME)
    dataset.prepare()
    assert dataset.content("c3") == dataset.content("c4") != dataset.content("c5")
    for seed in range(4):
        split(dataset, seed=seed)


def test_equal_images_in_test_are_a_note_and_lists_that_part_them_are_refused(folder: Path) -> None:
    write_raw(folder, TEN)
    one, other = Nnunet(NAME).test
    saved_again(folder, one, other, "float64")
    note = f"{one}: the same image as {other}, all in the test set, which counts it more than once"
    assert f"note: {note}" in Nnunet(NAME).prepare()
    dataset = Nnunet(NAME)
    assert dataset.caveats == (note,)
    split(dataset)
    with pytest.raises(ValueError, match="the same image is in"):
        split(dataset, "100", lists={"test": [one]})


def test_the_content_is_of_the_image_alone_and_of_its_shape(folder: Path) -> None:
    from atso_bench.datasets._volumes.examine import content_of

    image = voxels(0)[None]
    assert content_of(image) == content_of(image.astype(np.float64))
    assert content_of(np.zeros((1, 2, 3, 4))) == content_of(-np.zeros((1, 2, 3, 4)))
    assert content_of(image) != content_of(image.reshape(1, 24, 24, 6))
    changed = image.copy()
    changed[0, 0, 0, 0] += 0.001
    assert content_of(image) != content_of(changed)


# -- patients ---------------------------------------------------------------------------------------------------------


def test_patients_with_several_scans_are_never_divided(folder: Path) -> None:
    names = [f"p{patient}_{scan}" for patient in range(8) for scan in "ab"]
    write_raw(folder, names)
    write_case(folder, "extra", 90, "Un")
    patients = {name: int(name[1]) for name in names} | {"extra": 3}
    (folder / "patients.json").write_text(json.dumps(patients))
    dataset = Nnunet(NAME)
    dataset.prepare()
    assert len({dataset.group(name) for name in dataset.test}) * 2 == len(dataset.test)
    for seed in range(6):
        for validation in (0.0, 20.0):
            made = split(dataset, "30", seed, validation=validation)
            groups = [{dataset.group(case) for case in part} for part in (made.labelled, made.validation, made.test)]
            rest = {dataset.group(case) for case in made.unlabelled if case != "extra"}
            assert sum(map(len, [*groups, rest])) == len(set().union(*groups, rest))
            assert ("extra" in made.unlabelled) == ("3" not in groups[1] | groups[2])


def test_the_patients_belong_to_the_identity_of_the_data(folder: Path) -> None:
    write_raw(folder, TEN[:4])
    before = Nnunet(NAME).identity
    (folder / "patients.json").write_text(json.dumps({name: name for name in TEN[:4]}))
    assert Nnunet(NAME).identity != before


def test_a_patient_in_images_tr_and_in_images_ts_is_refused(folder: Path) -> None:
    write_raw(folder, TEN[:3])
    write_case(folder, "t0", 20, "Ts")
    write_case(folder, "t1", 21, "Ts")
    (folder / "patients.json").write_text(json.dumps({**{n: n for n in TEN[:3]}, "t0": "c1", "t1": "t1"}))
    assert "c1: its patient 'c1' is in the test set too, as t0 (imagesTs); move all images of a patient" in refused()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"c0": "a", "c1": "b"}', "c2: patients.json does not name its patient"),
        ('{"c0": "a", "c1": "b", "c2": null}', "got None for 'c2'"),
        ('{"c0": "a", "c1": "b", "c2": ["x"]}', "must look like"),
        ('{"c0": "a", "c1": "b", "c2": " "}', "must look like"),
        ('{"c0": "a", "c1": "b", "c2": "a\\nb"}', "must look like"),
        ('{"c0": "a", "c1": "b", "c1": "c", "c2": "d"}', "'c1' occurs twice"),
        ('["c0"]', "must hold an object"),
        ("c0,a", "is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_patients_that_are_wrong_or_not_complete_are_refused(folder: Path, content: str, told: str) -> None:
    write_raw(folder, TEN[:3])
    (folder / "patients.json").write_text(content)
    with pytest.raises(ValueError, match=r"patients\.json") as error:
        Nnunet(NAME).prepare()
    assert told in str(error.value)


def test_one_patient_alone_cannot_be_divided_and_the_message_says_so(folder: Path) -> None:
    write_raw(folder, TEN[:3])
    (folder / "patients.json").write_text(json.dumps(dict.fromkeys(TEN[:3], "one")))
    with pytest.raises(ValueError, match=r"1 labelled case\(s\) or patient\(s\), and a test set needs one more"):
        Nnunet(NAME).prepare()


def test_masks_may_be_equal(folder: Path) -> None:
    write_raw(folder, TEN[:4])
    save(label_file(folder, "c0"), mask())
    describe(folder)
    assert Nnunet(NAME).prepare()


@pytest.mark.parametrize("one", ["pool", "test", "unlabelled"])
@pytest.mark.parametrize("other", ["pool", "test", "unlabelled"])
@pytest.mark.parametrize("together", [True, False])
def test_exactly_the_pairs_that_a_split_can_divide_are_problems(one: str, other: str, together: bool) -> None:
    from atso_bench.datasets._shared.twins import twins

    parts, content = {"a": one, "b": other}, {"a": "same", "b": "same", "c": "another"}
    patient = (lambda _: "P") if together else str
    problems, notes = twins(content, lambda case: parts.get(case, "pool"), patient, "do this")
    pair, labelled = {one, other}, "unlabelled" not in (one, other)
    divided = pair != {"unlabelled"} and pair != {"test"} and not (together and (labelled or "test" in pair))
    assert problems == (["a: the same image as b, and a split could divide them; do this"] if divided else [])
    assert len(notes) == (pair == {"test"} and not together)
