"""What is wrong with a user's files is found by `prepare`, all in one pass, with case, file and remedy."""

from __future__ import annotations

import gzip
import json
import resource
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from plans import ARCHITECTURE, TWO, change, made
from raw_data import SHAPE, alone, describe, image_file, label_file, mask, save, voxels, write_case, write_raw

from atso_bench.benchmark.reading import image_files
from atso_bench.benchmark.reading.image_files import file_problem
from atso_bench.datasets._volumes.examine import examine
from atso_bench.datasets._volumes.raw import Case
from atso_bench.datasets.nnunet import Nnunet

NAME = "Dataset702_Bad"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return alone(monkeypatch, tmp_path, NAME)


def refused() -> str:
    with pytest.raises(ValueError, match=NAME) as error:
        Nnunet(NAME).prepare()
    return str(error.value)


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 4
    path.write_bytes(content)


def cut(path: Path, share: float = 0.7) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def nifti_that_claims(path: Path, *sizes: int) -> None:
    """A small packed file whose header promises these sizes."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[40:56] = struct.pack("<8h", len(sizes), *sizes, *[1] * (7 - len(sizes)))
    path.write_bytes(gzip.compress(bytes(content)))


def test_one_pass_names_all_that_is_wrong_with_volumes(folder: Path) -> None:
    write_raw(folder, [f"c{number:02}" for number in range(13)], numTraining=99)
    save(image_file(folder, "c00"), np.full(SHAPE, 7, np.float32))
    cut(image_file(folder, "c01"))
    flip(image_file(folder, "c02"))
    cut(label_file(folder, "c03"))
    nifti_that_claims(image_file(folder, "c04"), 32767, 32767, 32767)
    image_file(folder, "c05").write_bytes(gzip.compress(b"no volume"))
    save(label_file(folder, "c06"), mask(), spacing=(2.0, 1.0, 2.0))
    save(label_file(folder, "c07"), mask() * 9)
    save(label_file(folder, "c08"), mask()[1:])
    image_file(folder, "c09").write_bytes(b"")
    shutil.copy(image_file(folder, "c10"), image_file(folder, "c11"))
    (folder / "imagesUn").mkdir()
    shutil.copy(image_file(folder, "c12"), image_file(folder, "c12", "imagesUn"))
    told = refused()
    for words in (
        "dataset.json: numTraining is 99, there are 13 labelled cases; correct it",
        "c00: the image has the value 7 everywhere; replace the file",
        "c01: imagesTr/c01_0000.nii.gz: it is damaged or cut off",
        "c02: imagesTr/c02_0000.nii.gz: it is damaged or cut off",
        "c03: labelsTr/c03.nii.gz: it is damaged or cut off",
        "c04: imagesTr/c04_0000.nii.gz: its header promises 140,724,603,846,652 bytes of voxels",
        "c05: cannot read its image imagesTr/c05_0000.nii.gz",
        "c06: image and label differ: the image's spacing is 1 1 2, the label's 2 1 2; correct the header",
        "c07: label values 9 are not in dataset.json, which names [0, 1]; correct one of the two",
        "c08: the label has shape (5, 24, 24), the image (6, 24, 24); resample one of them",
        "c09: imagesTr/c09_0000.nii.gz: it is empty; replace it",
        "c10: the same image as c11",
        "c12: in imagesTr and in imagesUn; remove it from one of them",
    ):
        assert told.count(words) == 1, f"{words!r} in {told}"
    assert not list(folder.parents[1].rglob("prepared.json"))


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".png"])
@pytest.mark.parametrize("part", ["image", "label"])
def test_no_flipped_bit_and_no_cut_passes_for_the_file(folder: Path, ending: str, part: str) -> None:
    write = save if ending != ".png" else lambda path, array: Image.fromarray(array[0].astype(np.uint8)).save(path)
    folder.mkdir(parents=True)
    path = folder / f"file{ending}"
    write(path, mask() if part == "label" else voxels(0))
    whole = path.read_bytes()
    assert file_problem(path) == ""
    missed: list[Any] = []

    def reader() -> np.ndarray:
        if ending == ".png":
            return np.array(Image.open(path))
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))

    truth = reader()
    for place in (0.4, 0.6, 0.8, 0.97):
        for damage in (flip, cut):
            path.write_bytes(whole)
            damage(path, place)
            if file_problem(path):
                continue
            try:
                same = np.array_equal(reader(), truth)
            except Exception:  # the reader itself says so, and examine names the case
                same = True
            missed += [] if same else [(damage.__name__, place)]
    assert not missed


@pytest.mark.parametrize(
    ("ending", "header"),
    [
        (".nrrd", "NRRD0004\ntype: float\ndimension: 3\nsizes: 90000 90000 90000\nencoding: gzip\nendian: little\n\n"),
        (".nrrd", "NRRD0004\ntype: float\ndimension: 3\nsizes: 90000 90000 90000\nencoding: raw\nendian: little\n\n"),
        (
            ".mha",
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = False\nDimSize = 90000 90000 90000\n"
            "ElementType = MET_FLOAT\nElementDataFile = LOCAL\n",
        ),
    ],
)
def test_a_header_that_promises_more_than_the_file_can_hold_allocates_nothing(
    tmp_path: Path, ending: str, header: str
) -> None:
    path = tmp_path / f"huge{ending}"
    path.write_bytes(header.encode() + gzip.compress(bytes(1000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "its header promises 2,916,000,000,000,000 bytes of voxels" in file_problem(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_a_volume_that_memory_cannot_hold_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.nii.gz", voxels(0))
    monkeypatch.setattr(image_files, "memory_bytes", lambda: 3 * 4 * voxels(0).size - 1)
    assert "reading it takes about 4.15e-05 GB of memory, but there are" in file_problem(path)


def test_a_file_that_unpacks_to_far_more_than_its_header_says_is_not_unpacked_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "_SLACK", 1 << 20)
    path = save(tmp_path / "a.nii.gz", voxels(0))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(20 << 20)))
    assert "it unpacks to more than" in file_problem(path)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.nrrd", "NRRD0004\ntype: uchar\ndimension: 2\nsizes: 4 4\nencoding: raw\ndata file: /etc/passwd\n\n"),
        (
            "a.mha",
            "NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = ../secret\n",
        ),
    ],
)
def test_a_header_that_names_another_file_is_refused(tmp_path: Path, name: str, header: str) -> None:
    (tmp_path / name).write_text(header)
    assert "its header names another file" in file_problem(tmp_path / name)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
def test_voxels_that_are_no_numbers_are_found_though_the_reader_makes_zeros_of_them(
    tmp_path: Path, kind: type, value: float, ending: str
) -> None:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    image = voxels(0).astype(kind)
    path = save(tmp_path / f"a{ending}", image)
    assert not examine(Case("a", (path,)), 1, [0, 1], SimpleITKIO()).problems
    image[0, 0, :3] = value
    save(path, image)
    (problem,) = examine(Case("a", (path,)), 1, [0, 1], SimpleITKIO()).problems
    assert "3 voxels" in problem
    assert "NaN or infinite; replace them" in problem


def test_masks_without_foreground_are_named_and_refused_only_if_there_is_nothing_to_learn(folder: Path) -> None:
    names = [f"c{number}" for number in range(6)]
    write_raw(folder, names, labels={"background": 0, "organ": 1, "lesion": 2})
    save(label_file(folder, "c2"), mask() * 0)
    told = Nnunet(NAME).prepare()
    assert "note: 1 case(s) have a mask without foreground, as a healthy case may: c2" in told
    assert "note: no mask holds the class(es) lesion; their scores are meaningless" in told
    assert len(Nnunet(NAME).caveats) == 2
    for name in Nnunet(NAME).pool:
        save(label_file(folder, name), mask() * 0)
    assert "none of the 5 training masks has foreground; are they the right files?" in refused()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"file_ending": ".nrrd"}, "expected imagesTr/CASE_0000.nrrd"),
        ({"file_ending": "*"}, "file_ending must look like"),
        ({"file_ending": "/../x.nii.gz"}, "file_ending must look like"),
        ({"file_ending": ".xyz"}, "has no reader for file_ending '.xyz'"),
        ({"channel_names": {"0": "T1", "1": "T2"}}, "1 channel file(s); dataset.json names 2"),
        ({"channel_names": {"0": "T1", "2": "T2"}}, "channel_names must look like"),
        ({"channel_names": {"0": 5}}, "channel_names must look like"),
        ({"numTraining": 5}, "numTraining is 5, there are 4 labelled cases"),
        ({"numTraining": "many"}, "numTraining is 'many'"),
        ({"labels": {"background": 0, "organ": 1.5}}, "give each name a number"),
        ({"labels": {"background": 0, "organ": True}}, "give each name a number"),
        ({"labels": {"background": 0, "organ": float("inf")}}, "give each name a number"),
        ({"labels": {"background": 0, "a\nb": 1}}, "cannot be displayed"),
        ({"labels": {"background": 0, "\ud800": 1}}, "cannot be displayed"),
        ({"labels": {"background": 0, **{f"c{n}": n for n in range(1, 300)}}}, "must have 2 to 254"),
        ({"labels": {"background": 0}}, "must have 2 to 254"),
        ({"labels": {"background": 0, "organ": 1, "wings": 2}}, ""),
    ],
)
def test_a_description_that_does_not_agree_with_the_files_is_refused(
    folder: Path, changes: dict[str, Any], told: str
) -> None:
    write_raw(folder, [f"c{number}" for number in range(4)])
    describe(folder, **changes)
    if changes.get("file_ending") == ".xyz":
        for path in [*folder.glob("*/*.nii.gz")]:
            path.rename(path.with_name(path.name.replace(".nii.gz", ".xyz")))
    if told:
        assert told in refused()
    else:
        assert any("wings" in line for line in Nnunet(NAME).prepare())


def listed(name: str) -> dict[str, Any]:
    """The files of a case as dataset.json lists them."""
    return {"images": [f"imagesTr/{name}_0000.nii.gz"], "label": f"labelsTr/{name}.nii.gz"}


OUTSIDE = ["/etc/passwd", "../a.nii.gz", "imagesTr/../../a.nii.gz", "$SECRET/a.nii.gz", "${SECRET}", "a\nb"]


@pytest.mark.parametrize("file", OUTSIDE)
def test_a_listed_file_outside_of_the_folder_is_refused_and_no_variable_is_shown(
    folder: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    write_raw(folder, ["c0", "c1", "c2"])
    whole = {name: listed(name) for name in ("c0", "c1")}
    describe(folder, dataset={**whole, "c2": {"images": ["imagesTr/c2_0000.nii.gz"], "label": file}})
    told = refused()
    assert "names 1 file(s) outside its folder, or by an environment variable" in told
    assert f"'c2': {file!a}" in told
    assert "hunter2" not in told
    describe(folder, dataset=whole)
    assert Nnunet(NAME).prepare()


ALLOWED = ["a b", "é", "o\u0308", "日本語", "-rf", "[/red]", "$x^2", "<img src=x>", "'; drop", "%s{0}", "x" * 170]
REFUSED = ["a\nb", "a\tb", "$\\foo$", " a", "x" * 200, "a\u202eb", "a\x1b[31m", "a.outside"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_be_shown_or_written_is_refused_by_name(folder: Path, name: str) -> None:
    write_raw(folder, ["c0", "c1", name])
    told = refused()
    assert f"{name!a}: the case's name" in told
    assert "rename its files" in told
    assert len(told.splitlines()) == 2


def test_two_names_that_look_alike_are_refused(folder: Path) -> None:
    write_raw(folder, ["é", "e\u0301", "c"])
    assert "looks like that of" in refused()


def test_a_listed_name_cannot_leave_the_prepared_folder(folder: Path) -> None:
    write_raw(folder, ["c0", "c1"])
    describe(folder, dataset={"../../../evil": listed("c0"), "c1": listed("c1")})
    assert "'../../../evil': the case's name is empty, or holds a slash" in refused()
    assert not list(folder.parents[2].rglob("*evil*"))


@pytest.mark.slow
def test_odd_names_work_from_prepare_to_report(folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from atso_bench.benchmark.cli import app

    write_raw(folder, ALLOWED)
    write_case(folder, "[bold]Un", 50, "Un")
    words = ["-m", "self-learning", "-f", "50", "-d", NAME, "--budget", "smoke:8", "--out", str(tmp_path / "out")]
    recipe = ["-o", "recipe.width=4", "-o", "recipe.batch=2", "--workers", "0"]
    result = CliRunner().invoke(app, ["run", *words, *recipe])
    assert result.exit_code == 0, result.output
    (record,) = (tmp_path / "out" / "records").rglob("seed*.json")
    scored = json.loads(record.read_text(encoding="utf-8"))["cases"]
    assert set(scored) == set(Nnunet(NAME).test)
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<img src=x>" not in page


def test_a_frame_that_claims_to_be_huge_is_named_and_nothing_is_allocated(tmp_path: Path) -> None:
    from atso_bench.datasets._frames.cityscapes_reader import _RGB, _decode

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path = tmp_path / "huge.png"
    header = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert "promises 13,000 x 13,000 pixels, which the file cannot hold" in str(_decode(path, _RGB))


# -- plans that fit another dataset -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A data root with a raw dataset, and nnU-Net's plans of it."""
    root = tmp_path_factory.mktemp("planned")
    return root, made(root, NAME)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            change(*TWO, "normalization_schemes", to=["ZScoreNormalization"] * 2),
            "has 2 entries, the images have 1 channel",
        ),
        (change(*TWO, "use_mask_for_norm", to=[False, True]), "use_mask_for_norm has 2 entries"),
        (change("dataset_name", to="Dataset001_Other"), "made for another dataset"),
        (change(*TWO, "patch_size", to=[16, 16, 16]), "spacing has 2 axes, patch_size 3"),
        (change(*TWO, "patch_size", to=[17, 16]), "must be divisible by"),
        (change(*TWO, "patch_size", to=[1 << 16, 1 << 16]), "GB for one patch at least"),
        (change(*TWO, "patch_size", to=[-4, 4]), "patch_size is [-4, 4]"),
        (change(*TWO, "batch_size", to=0), "batch_size is 0"),
        (change(*TWO, "batch_size", to=10**12), "batch_size is 1000000000000"),
        (change(*TWO, "spacing", to=[0, 1.0]), "spacing is [0, 1.0]"),
        (change(*TWO, "spacing", to=[float("nan"), 1.0]), "spacing is [nan, 1.0]"),
        (change(*TWO, "spacing", to=None), "lacks spacing"),
        (change(*TWO, "architecture", to=None), "cannot be put together"),
        (change(*ARCHITECTURE, "features_per_stage", to=[10**9] * 3), "features_per_stage is [1000000000"),
        (change(*ARCHITECTURE, "features_per_stage", to=[32]), "features_per_stage has 1 entries"),
        (change(*ARCHITECTURE, "strides", to=[[1, 1, 1]] * 3), "strides is"),
        (change(*ARCHITECTURE, "conv_op", to="torch.nn.modules.conv.Conv3d"), "is of another number"),
        (change(*ARCHITECTURE, "n_stages", to=99), "n_stages is 99"),
        (change(*ARCHITECTURE, "n_conv_per_stage", to=None), "lacks n_conv_per_stage"),
        (
            change(*ARCHITECTURE, "n_blocks_per_stage", to=[1] * 3),
            "has n_blocks_per_stage, which this network does not",
        ),
        (change("transpose_forward", to=[0, 0, 0]), "transpose_forward is [0, 0, 0]"),
        (change("transpose_backward", to=[2, 1, 0]), "does not undo"),
        (change(*TWO, "inherits_from", to="2d"), "cannot be put together"),
        (change(*TWO, "inherits_from", to="nothing"), "does not exist in the plans"),
        (change("configurations", to={}), "configurations is {}"),
        (change("configurations", "2d", to=None), "is not in the plans"),
    ],
)
def test_plans_that_fit_another_dataset_or_machine_are_refused(
    planned: tuple[Path, dict[str, Any]], changed: Any, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from atso_bench.datasets._volumes.plan import read_plans

    root, plans = planned
    plans = json.loads(json.dumps(plans))
    path = tmp_path / "nnUNetPlans.json"
    path.write_text(json.dumps(plans))
    monkeypatch.setenv("ATSO_BENCH_DATA", str(root))
    raw = Nnunet(NAME).raw
    assert read_plans(path, raw, "2d") == plans
    changed(plans)
    path.write_text(json.dumps(plans))
    with pytest.raises(ValueError, match=r"nnUNetPlans\.json cannot be used") as error:
        read_plans(path, raw, "2d")
    assert told in str(error.value)
    assert f"plan {NAME} again with nnU-Net, correct the entry, or unset nnUNet_preprocessed" in str(error.value)
