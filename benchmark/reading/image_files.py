"""Checks that an image file is complete and as large as its header says, before memory is allocated for it."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from atso_bench.benchmark.reading.user_files import file_trouble

PACKED = 1100
"""Deflate packs at most 1,032 bytes into one; a header that claims more than that lies."""
_SLACK = 64 << 20  # headers and their extensions, bytes
_COPIES = 3  # of the voxels as float32 that a reader and a check hold at once
_HEADER = 1 << 20  # of text: Slicer writes a paragraph for each segment
_GZIP, _ZLIB = 31, 15
_MAGIC = b"\x1f\x8b"
_GIPL_HEADER = 256
_NIFTI = (".nii", ".nii.gz")
_PIXELS = {".png": "PNG", ".bmp": "BMP"}


class Claim(NamedTuple):
    """What a header says of the voxels as they are stored: their bytes, and the bytes before them in the same file."""

    voxels: int
    before: int = 0


def file_problem(path: Path, *, beside: bool = False) -> str:
    """What is wrong with the file of an image or a label, and what to do; empty if nothing is.

    Readers trust a header: they allocate what it asks for, and some of them return zeros, or wrong voxels, where the
    file was cut off or a bit has changed. So size, length and checksums are looked at first. What a reader reads whole
    is whole here too, however it is stored: scaled, big endian, packed in several members, with headers from Windows.

    Args:
        path: the file.
        beside: whether its header may name a file in the same folder for the voxels.
    """
    try:
        if trouble := file_trouble(path):
            return trouble
        if not path.stat().st_size:
            return "it is empty; replace it"
        claimed = _claim(path)
        if other := _elsewhere(path):
            if beside and claimed and Path(other).name == other:
                return _voxels_problem(path.with_name(other), claimed)
            return f"its header names another file, {other!r}; save image and header in one file"
        return _too_large(path, claimed) or _damaged(path, claimed) or _not_numbers(path)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error}); replace it"


def _voxels_problem(path: Path, claimed: Claim) -> str:
    """The same of a file of voxels alone, which a header beside it names."""
    if trouble := file_trouble(path):
        return f"its header names {path.name!a}: {trouble}"
    with path.open("rb") as file:
        wbits = _GZIP if file.read(2) == _MAGIC else _ZLIB if path.suffix == ".zraw" else 0
        file.seek(0)
        if wbits:
            return _reason(lambda: _unpack(file, wbits, claimed))
    size = path.stat().st_size
    return "" if size >= claimed.voxels else f"{path.name} has {size:,} bytes of {claimed.voxels:,}; replace it"


def memory_bytes() -> int:
    """Memory of this machine, or of the container that this process runs in."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return whole


def _claim(path: Path) -> Claim | None:
    """None for a header that is not known here: the reader will say more."""
    if path.name.lower().endswith(_NIFTI):
        return _claim_of_nifti(path)
    claim = _claim_by_itk(path)
    return claim and Claim(claim.voxels, _GIPL_HEADER if path.suffix.lower() == ".gipl" else 0)


def _claim_of_nifti(path: Path) -> Claim | None:
    """ITK tells the type after scaling, which may be eight times as large as what is stored."""
    try:
        with _nifti(path) as (_, _, header):
            size = math.prod(map(int, header.get_data_shape())) * header.get_data_dtype().itemsize
            return Claim(size, int(header.get_data_offset()))
    except Exception:  # nibabel is stricter than ITK about headers; the reader has the last word
        return _claim_by_itk(path)


@contextlib.contextmanager
def _nifti(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """The file, packed or not whatever its name says; nibabel's class for its version, 1 or 2; its header."""
    import nibabel

    with path.open("rb") as plain, gzip.open(plain) as unpacked:
        file: Any = unpacked if plain.read(2) == _MAGIC else plain
        plain.seek(0)
        start = file.read(540)
        file.seek(0)
        kinds = (nibabel.Nifti1Image, nibabel.Nifti2Image)
        kind = next(kind for kind in kinds if kind.header_class.may_contain_header(start))
        yield file, kind, kind.header_class(start[: kind.header_class.template_dtype.itemsize], check=False)


def _claim_by_itk(path: Path) -> Claim | None:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    return Claim(math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * (int(bits[1]) if bits else 8) // 8)


def _too_large(path: Path, claimed: Claim | None) -> str:
    if claimed is None:
        return ""
    size = path.stat().st_size
    if sum(claimed) > size * (1 if _is_plain(path) else PACKED):
        return (
            f"its header promises {claimed.voxels:,} bytes of voxels, which {size:,} bytes of file cannot hold; it is "
            "cut off, or its header is wrong: replace it"
        )
    needed, there = _COPIES * claimed.voxels, memory_bytes()
    if needed > there:
        return f"reading it takes about {needed / 1e9:.3g} GB of memory, but there are {there / 1e9:.3g} GB; crop it"
    return ""


def _is_plain(path: Path) -> bool:
    """Whether nothing of it is packed; what is called .nii.gz need not be, for ITK."""
    with path.open("rb") as file:
        return path.name.lower().endswith((*_NIFTI, ".gipl")) and file.read(2) != _MAGIC


def _damaged(path: Path, claimed: Claim | None) -> str:
    """Go through checksums, without keeping anything."""
    if kind := _PIXELS.get(path.suffix.lower()):
        return _reason(lambda: _verify_pixels(path, kind))
    with path.open("rb") as file:
        wbits = _seek_packed(file, path)
        return _reason(lambda: _unpack(file, wbits, claimed)) if wbits else ""


def _reason(check: Callable[[], str | None]) -> str:
    try:
        return check() or ""
    except (EOFError, zlib.error, OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError
        return f"it is damaged or cut off ({str(error).strip() or type(error).__name__}); replace it"


def _unpack(file: IO[bytes], wbits: int, claimed: Claim | None) -> str:
    """Read to the end, where the checksum is; stop where a file goes on and on.

    A gzip file may have several members (pigz, bgzip, cat); what follows the last one is ignored, as readers do.
    """
    most = _SLACK + (claimed.voxels if claimed else memory_bytes() // _COPIES)
    total, stream, more = 0, zlib.decompressobj(wbits), b""
    while block := stream.unconsumed_tail or more or file.read(1 << 20):
        total, more = total + len(stream.decompress(block, 1 << 20)), b""
        if total > most:
            return f"it unpacks to more than {most:,} bytes, and its header promises fewer; replace it"
        if stream.eof:
            more = stream.unused_data if len(stream.unused_data) > 1 else stream.unused_data + file.read(1 << 20)
            if wbits != _GZIP or not more.startswith(_MAGIC):
                break
            stream = zlib.decompressobj(wbits)
    if not stream.eof:
        raise EOFError("its packed part has no end")
    if claimed and total < sum(claimed):
        there = max(0, total - claimed.before)
        return f"it is cut off: its header promises {claimed.voxels:,} bytes of voxels, it holds {there:,}; replace it"
    return ""


def _seek_packed(file: Any, path: Path) -> int:
    """Go to where packed bytes begin, at the start or behind a header of text; returns how (zlib's ``wbits``), or 0."""
    start: bytes = file.read(_HEADER)
    file.seek(0)
    suffix = path.suffix.lower()
    if suffix == ".nrrd":
        header = _nrrd_header(start)
        file.seek(header.end())
        return _GZIP if re.search(rb"(?im)^encoding:\s*gz", header[0]) else 0
    if suffix == ".mha":
        local = re.search(rb"(?m)^ElementDataFile[ \t]*=[ \t]*LOCAL\r?\n", start)
        file.seek(local.end() if local else 0)
        return _ZLIB if local and re.search(rb"(?im)^CompressedData\s*=\s*true", start[: local.end()]) else 0
    return _GZIP if start.startswith(_MAGIC) else 0


def _nrrd_header(start: bytes) -> re.Match[bytes]:
    """Up to and with the first blank line; lines may end as on Windows."""
    header = re.match(rb"(?s).*?\r?\n\r?\n|.*", start)
    assert header is not None  # the second half matches anything
    return header


def _elsewhere(path: Path) -> str:
    """The file that a header names for its voxels instead of holding them; empty if there is none."""
    suffix = path.suffix.lower()
    if suffix in (".hdr", ".img"):
        return path.with_suffix(".img" if suffix == ".hdr" else ".hdr").name
    if suffix in (".tif", ".tiff"):
        return _other_tiff(path)
    if suffix not in (".nrrd", ".nhdr", ".mha", ".mhd"):
        return ""
    with path.open("rb") as file:
        start = file.read(_HEADER)
    nrrd = re.search(rb"(?im)^data ?file:[ \t]*(.*)$", _nrrd_header(start)[0])
    meta = re.search(rb"(?m)^ElementDataFile[ \t]*=[ \t]*(.*)$", start)
    named = (nrrd or meta) if suffix in (".nrrd", ".nhdr") else meta
    name = named[1].decode("utf-8", "replace").strip() if named else ""
    return "" if name == "LOCAL" else name


def _other_tiff(path: Path) -> str:
    """The first other file that an OME-TIFF takes planes from."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as opened:
            if not opened.is_ome:
                return ""
            pages = (page for series in opened.series for page in series.pages if page is not None)
            names = (str(page.parent.filehandle.name) for page in pages)
            return next((name for name in names if name != path.name), "")
    except Exception:  # the reader says more
        return ""


def _not_numbers(path: Path) -> str:
    """NaN and infinity in NIfTI, which ITK reads as 0 without a word."""
    if not path.name.lower().endswith(_NIFTI):
        return ""
    from nibabel import FileHolder

    try:
        with _nifti(path) as (file, kind, header):
            if header.get_data_dtype().kind not in "fc":
                return ""
            stored = kind.from_file_map({"image": FileHolder(fileobj=file)})
            count = int((~np.isfinite(stored.dataobj.get_unscaled())).sum())
    except Exception:  # as above
        return ""
    return f"{count} voxels are NaN or infinite; replace them" if count else ""


def _verify_pixels(path: Path, kind: str) -> None:
    from PIL import Image

    with Image.open(path, formats=[kind]) as opened:
        opened.verify()
    with Image.open(path, formats=[kind]) as opened:
        opened.load()  # verify() reads no pixels of formats without checksums
