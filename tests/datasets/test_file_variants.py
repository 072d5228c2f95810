"""What a reader reads whole is whole, in every variant that ITK and nibabel write; what is damaged never passes."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from atso_bench.benchmark.reading.image_files import file_problem
from atso_bench.benchmark.reading.masks import ENDINGS, ending_of, read_mask

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (5, 6, 7))
"""``(z, y, x)``, as ITK has it."""
INTENSITIES = RNG.normal(100, 20, (7, 6, 5)).astype(np.float32)
"""``(x, y, z)``, as nibabel has it."""
KINDS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def nifti(path: Path, array: np.ndarray, kind: str, version: type = nibabel.Nifti1Image, slope: Any = (1, 0)) -> Path:
    """Write ``(x, y, z)``; ``slope`` None lets nibabel choose a scale."""
    header = version.header_class(endianness=np.dtype(kind).byteorder.replace("=", "<").replace("|", "<"))
    header.set_data_dtype(np.dtype(kind))
    if slope:
        header.set_slope_inter(*slope)
    nibabel.save(version(array, AFFINE, header), path)
    return path


def by_itk(path: Path, array: np.ndarray, packed: bool) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), packed)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image], ids=["NIfTI-1", "NIfTI-2"])
def test_masks_of_every_kind_that_nibabel_writes(
    tmp_path: Path, ending: str, order: str, kind: str, version: type
) -> None:
    path = nifti(tmp_path / f"a{ending}", LABELS.T.astype(kind), order + kind, version)
    mask = read_mask(path)
    assert np.array_equal(mask.array, LABELS)
    assert mask.spacing == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", ["<u1", "<i2", ">i2", "<u2", ">i4"])
def test_images_that_nibabel_scales_are_whole_and_the_same_voxels(tmp_path: Path, ending: str, kind: str) -> None:
    path = nifti(tmp_path / f"a{ending}", INTENSITIES, kind, slope=None)
    assert nibabel.load(path).dataobj.slope != 1
    assert file_problem(path) == ""
    step = float(np.ptp(INTENSITIES)) / 200
    assert np.allclose(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, INTENSITIES, atol=step)


def test_a_slope_and_an_intercept_of_labels_are_heeded(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", LABELS.T, "<i2", slope=(0.5, -1))
    assert np.array_equal(read_mask(path).array, LABELS)


def _several_members(content: bytes) -> bytes:
    return b"".join(gzip.compress(content[place : place + 97]) for place in range(0, len(content), 97))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "one member": gzip.compress,
    "several members": _several_members,
    "an empty member": lambda content: gzip.compress(b"") + gzip.compress(content),
    "zeros behind it": lambda content: gzip.compress(content) + bytes(512),
    "not packed": bytes,
}


@pytest.mark.parametrize("how", PACKED)
def test_gzip_in_every_way_that_readers_take(tmp_path: Path, how: str) -> None:
    content = nifti(tmp_path / "a.nii", LABELS.T.astype(np.int16), "<i2").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(PACKED[how](content))
    assert np.array_equal(read_mask(path).array, LABELS)


@pytest.mark.parametrize("lost", [1, 8, 20, 200])
@pytest.mark.parametrize("how", [how for how in PACKED if how != "zeros behind it"])
def test_a_cut_of_any_length_is_found_in_any_of_them(tmp_path: Path, how: str, lost: int) -> None:
    content = nifti(tmp_path / "a.nii", LABELS.T.astype(np.int16), "<i2").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(PACKED[how](content)[:-lost])
    with pytest.raises(ValueError, match=r"b\.nii\.gz is not readable"):
        read_mask(path)


def test_a_changed_bit_in_a_later_member_is_found(tmp_path: Path) -> None:
    content = nifti(tmp_path / "a.nii", LABELS.T.astype(np.int16), "<i2").read_bytes()
    packed = bytearray(_several_members(content))
    packed[-30] ^= 4
    path = tmp_path / "b.nii.gz"
    path.write_bytes(packed)
    assert file_problem(path)


@pytest.mark.parametrize("lost", [1, 20, 1000])
def test_a_header_with_a_long_extension_counts_as_part_of_the_file(tmp_path: Path, lost: int) -> None:
    image = nibabel.Nifti1Image(LABELS.T.astype(np.uint8), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nibabel.save(image, tmp_path / "a.nii")
    assert np.array_equal(read_mask(tmp_path / "a.nii").array, LABELS)
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:-lost])
    assert "cut off" in file_problem(tmp_path / "a.nii")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".gipl", ".tif", ".tiff"])
def test_masks_of_every_kind_that_itk_writes(tmp_path: Path, ending: str, kind: str, packed: bool) -> None:
    try:
        path = by_itk(tmp_path / f"a{ending}", LABELS.astype(kind), packed)
    except RuntimeError:
        pytest.skip("ITK does not write this kind")
    assert np.array_equal(read_mask(path).array, LABELS)


@pytest.mark.parametrize("lost", [1, 20, 150])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".gipl", ".tif", ".png", ".bmp"])
def test_what_was_cut_is_refused_or_still_the_same(tmp_path: Path, ending: str, packed: bool, lost: int) -> None:
    flat = ending in (".png", ".bmp")
    array = np.tile(LABELS[0] if flat else LABELS, (1, 1, 4)[3 - (2 if flat else 3) :]).astype(np.uint8)
    path = by_itk(tmp_path / f"a{ending}", array, packed)
    voxels = next((file for file in tmp_path.iterdir() if file.suffix in (".raw", ".zraw")), path)
    voxels.write_bytes(voxels.read_bytes()[:-lost])
    try:
        found = read_mask(path).array
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017 - the other outcome is right too
    else:
        assert np.array_equal(found, array)


@pytest.mark.parametrize("packed", [True, False])
def test_headers_with_line_ends_of_windows(tmp_path: Path, packed: bool) -> None:
    header, _, content = by_itk(tmp_path / "a.nrrd", LABELS.astype(np.int16), packed).read_bytes().partition(b"\n\n")
    (tmp_path / "b.nrrd").write_bytes(header.replace(b"\n", b"\r\n") + b"\r\n\r\n" + content)
    assert np.array_equal(read_mask(tmp_path / "b.nrrd").array, LABELS)
    whole = by_itk(tmp_path / "a.mha", LABELS.astype(np.int16), packed).read_bytes()
    header, _, content = whole.partition(b"LOCAL\n")
    (tmp_path / "b.mha").write_bytes(header.replace(b"\n", b"\r\n") + b"LOCAL\r\n" + content)
    assert np.array_equal(read_mask(tmp_path / "b.mha").array, LABELS)


def test_a_header_of_text_may_be_long(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(LABELS.astype(np.int16))
    for number in range(2000):
        image.SetMetaData(f"Segment{number}_Name", "x" * 50)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"), True)
    assert (tmp_path / "a.nrrd").read_bytes().find(b"\n\n") > 1 << 16
    assert np.array_equal(read_mask(tmp_path / "a.nrrd").array, LABELS)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "I;16", "I"])
@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".PNG"])
def test_pictures_hold_indices_in_every_mode_of_one_channel(tmp_path: Path, ending: str, mode: str) -> None:
    flat = (LABELS[0] > 1 if mode == "1" else LABELS[0]).astype(np.uint8)
    if mode in ("I;16", "I"):
        image = Image.fromarray(flat.astype(np.uint16 if mode == "I;16" else np.int32))
    else:
        image = Image.fromarray(flat * 255).convert("1") if mode == "1" else Image.fromarray(flat)
    if mode == "P":
        image.putpalette([value for colour in range(256) for value in (255 - colour, 7, colour)])
    if mode == "LA":
        image = image.convert("LA")
    path = tmp_path / f"a{ending}"
    try:
        image.save(path)
    except OSError:
        pytest.skip("Pillow does not write this mode")
    if (ending, mode) == (".tif", "LA"):
        pytest.skip("two values a pixel, which nobody names alpha")
    mask = read_mask(path)
    assert np.array_equal(mask.array, flat)
    assert mask.spacing == (1.0, 1.0)


def test_colours_frames_and_complex_numbers_are_no_masks(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    nifti(tmp_path / "a.nii", np.zeros((4, 5, 6, 2), np.uint8), "<u1")
    nifti(tmp_path / "b.nii", np.zeros((4, 5, 6), np.complex64), "<c8")
    for name, told in (("a.png", "3 values"), ("a.tif", "3 values"), ("a.nii", "4 axes"), ("b.nii", "complex|values")):
        with pytest.raises(ValueError, match=rf"{name} has .*{told}|{name} holds .*{told}|{name} is not readable"):
            read_mask(tmp_path / name)


def test_a_single_frame_is_a_volume(tmp_path: Path) -> None:
    mask = read_mask(nifti(tmp_path / "a.nii", LABELS.T[..., None].astype(np.uint8), "<u1"))
    assert np.array_equal(mask.array, LABELS)
    assert mask.spacing == (3.0, 2.0, 1.0)
    mask = read_mask(nifti(tmp_path / "b.nii", LABELS.T[..., None].astype(np.uint8), "<u1", nibabel.Nifti2Image))
    assert np.array_equal(mask.array, LABELS)
    assert (mask.spacing, len(mask.direction)) == ((3.0, 2.0, 1.0), 9)


def test_axes_that_are_not_at_right_angles_are_read(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.6
    nibabel.save(nibabel.Nifti1Image(LABELS.T.astype(np.uint8), sheared), tmp_path / "a.nii.gz")
    assert np.array_equal(read_mask(tmp_path / "a.nii.gz").array, LABELS)


def test_both_readers_of_nifti_place_a_volume_alike(tmp_path: Path) -> None:
    turned = np.array([[0, -2.0, 0, 5], [1, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]])
    for name, kind in (("a.nii", nibabel.Nifti1Image), ("b.nii", nibabel.Nifti2Image)):  # ITK, and nibabel
        image = kind(LABELS.T.astype(np.uint8), turned)
        nibabel.save(image, tmp_path / name)
    one, other = read_mask(tmp_path / "a.nii"), read_mask(tmp_path / "b.nii")
    assert one.spacing == pytest.approx(other.spacing)
    assert one.origin == pytest.approx(other.origin)
    assert one.direction == pytest.approx(other.direction)


def test_tiff_volumes_have_the_spacing_of_the_file_beside_them(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.uint8), photometric="minisblack")
    mask = read_mask(tmp_path / "a.tif")
    assert (mask.spacing, mask.note) == ((1.0, 1.0, 1.0), "no a.json, so its voxels count as 1 mm")
    (tmp_path / "a.json").write_text(json.dumps({"spacing": [3, 2, 1]}))
    mask = read_mask(tmp_path / "a.tif")
    assert (mask.spacing, mask.note) == ((3.0, 2.0, 1.0), "")
    for wrong in ([1, 1], [0, 1, 1], "111", [1, 1, None], None):
        (tmp_path / "a.json").write_text(json.dumps({"spacing": wrong}))
        with pytest.raises(ValueError, match=r"a\.json must look like"):
            read_mask(tmp_path / "a.tif")


def test_planes_in_another_file_are_no_part_of_a_tiff(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="7" SizeY="6" SizeZ="2" '
        'SizeC="1" SizeT="1"><TiffData IFD="0" FirstZ="0"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstZ="1"><UUID FileName="b.ome.tif">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>'
    )
    for name, plane in (("a", 0), ("b", 1)):
        tifffile.imwrite(
            tmp_path / f"{name}.ome.tif",
            LABELS[plane].astype(np.uint8),
            description=xml.replace("<OME ", f'<OME UUID="urn:uuid:{plane + 1}" '),
            metadata=None,
        )
    if tifffile.imread(tmp_path / "a.ome.tif").ndim == 2:
        pytest.skip("tifffile takes no plane from another file here")
    assert "names another file, 'b.ome.tif'" in file_problem(tmp_path / "a.ome.tif")


def test_headers_apart_from_their_voxels(tmp_path: Path) -> None:
    """They are scored, but nothing learns from them: a change of the other file would not be seen."""
    path = by_itk(tmp_path / "a.mhd", LABELS.astype(np.uint8), True)
    assert "names another file, 'a.zraw'" in file_problem(path)
    assert file_problem(path, beside=True) == ""
    (tmp_path / "a.zraw").unlink()
    assert "a.zraw" in file_problem(path, beside=True)
    nibabel.save(nibabel.Nifti1Pair(LABELS.T.astype(np.uint8), AFFINE), tmp_path / "a.img")
    assert "names another file, 'a.hdr'" in file_problem(tmp_path / "a.img")
    assert "names another file, 'a.img'" in file_problem(tmp_path / "a.hdr")


def test_every_ending_that_nnunet_reads_is_read_here() -> None:
    from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES

    theirs = {ending for reader in LIST_OF_IO_CLASSES for ending in reader.supported_file_endings}
    assert theirs <= set(ENDINGS)
    assert ending_of(Path("A.NII.GZ")) == ".nii.gz"
    assert ending_of(Path("._a.nii")) == ending_of(Path("a.txt")) == ""


@pytest.mark.parametrize("name", [b"a\xff.nii.gz", b"\xe4.png"])
def test_a_name_that_is_not_utf_8_is_told(tmp_path: Path, name: bytes) -> None:
    try:
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    assert "its name is not UTF-8; rename it" in file_problem(tmp_path / os.fsdecode(name))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii.gz")
    assert "not a regular file" in file_problem(tmp_path / "a.nii.gz")
