"""Whether an image file is whole and as large as its header says, found out before anything is allocated for it."""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

PACKED = 1100
"""Deflate packs at most 1,032 bytes into one; a header that claims more than that lies."""
_SLACK = 64 << 20  # headers and their extensions, bytes
_COPIES = 3  # of the voxels as float32 that a reader and a check hold at once
_HEADER = 1 << 16
_GZIP, _ZLIB = 31, 15


def file_problem(path: Path) -> str:
    """What is wrong with the file of an image or a label, and what to do; empty if nothing is.

    Readers trust a header: they allocate what it asks for, and some of them return zeros, or wrong voxels, where the
    file was cut off or a bit has changed. So size, length and checksums are looked at first.
    """
    try:
        if not path.stat().st_size:
            return "it is empty; replace it"
        if other := _elsewhere(path):
            return f"its header names another file, {other!r}; save image and header in one file"
        claimed = _claimed_bytes(path)
        return _too_large(path, claimed) or _damaged(path, claimed) or _not_numbers(path)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error}); replace it"


def memory_bytes() -> int:
    """Memory of this machine, or of the container that this process runs in."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return whole


def _claimed_bytes(path: Path) -> int | None:
    """Bytes of the voxels by the header; None if ITK does not know the format: its reader will say more."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    return math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * (int(bits[1]) if bits else 8) // 8


def _too_large(path: Path, claimed: int | None) -> str:
    if claimed is None:
        return ""
    size = path.stat().st_size
    if claimed > size * (1 if path.suffix == ".nii" else PACKED):
        return (
            f"its header promises {claimed:,} bytes of voxels, which {size:,} bytes of file cannot hold; it is cut "
            "off, or its header is wrong: replace it"
        )
    needed, there = _COPIES * claimed, memory_bytes()
    if needed > there:
        return f"to read it takes about {needed / 1e9:.3g} GB of memory, there are {there / 1e9:.3g} GB; crop it"
    return ""


def _damaged(path: Path, claimed: int | None) -> str:
    """Go through checksums, without keeping anything."""
    if path.suffix == ".png":
        return _reason(lambda: _verify_png(path))
    with path.open("rb") as file:
        wbits = _seek_packed(file, path)
        return _reason(lambda: _unpack(file, wbits, claimed)) if wbits else ""


def _reason(check: Callable[[], str | None]) -> str:
    try:
        return check() or ""
    except (EOFError, zlib.error, OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError
        return f"it is damaged or cut off ({str(error).strip() or type(error).__name__}); replace it"


def _unpack(file: IO[bytes], wbits: int, claimed: int | None) -> str:
    """Read to the end, where the checksum is; stop where a file goes on and on."""
    most = _SLACK + (claimed if claimed is not None else memory_bytes() // _COPIES)
    total, stream = 0, zlib.decompressobj(wbits)
    while block := stream.unconsumed_tail or file.read(1 << 20):
        total += len(stream.decompress(block, 1 << 20))
        if total > most:
            return f"it unpacks to more than {most:,} bytes, and its header promises fewer; replace it"
        if stream.eof:
            break
    if not stream.eof:
        raise EOFError("its packed part has no end")
    if claimed is not None and total < claimed:
        return f"it is cut off: its header promises {claimed:,} bytes of voxels, it holds {total:,}; replace it"
    return ""


def _seek_packed(file: Any, path: Path) -> int:
    """Go to where packed bytes begin, at the start or behind a header of text; returns how (zlib's ``wbits``), or 0."""
    start: bytes = file.read(_HEADER)
    file.seek(0)
    if path.suffix == ".nrrd":
        text, _, _ = start.partition(b"\n\n")
        file.seek(len(text) + 2)
        return _GZIP if re.search(rb"(?im)^encoding:\s*gz", text) else 0
    if path.suffix == ".mha":
        local = re.search(rb"(?m)^ElementDataFile[ \t]*=[ \t]*LOCAL\r?\n", start)
        file.seek(local.end() if local else 0)
        return _ZLIB if local and re.search(rb"(?im)^CompressedData\s*=\s*true", start[: local.end()]) else 0
    return _GZIP if start[:2] == b"\x1f\x8b" else 0


def _elsewhere(path: Path) -> str:
    """The file that a header names for its voxels instead of holding them; empty if there is none."""
    if path.suffix not in (".nrrd", ".nhdr", ".mha", ".mhd"):
        return ""
    with path.open("rb") as file:
        start = file.read(_HEADER)
    nrrd = re.search(rb"(?im)^data ?file:[ \t]*(.*)$", start.partition(b"\n\n")[0])
    meta = re.search(rb"(?m)^ElementDataFile[ \t]*=[ \t]*(.*)$", start)
    named = (nrrd or meta) if path.suffix in (".nrrd", ".nhdr") else meta
    name = named[1].decode("utf-8", "replace").strip() if named else ""
    return "" if name == "LOCAL" else name


def _not_numbers(path: Path) -> str:
    """NaN and infinity in NIfTI, which ITK reads as 0 without a word."""
    if not path.name.endswith((".nii", ".nii.gz")):
        return ""
    import nibabel

    try:
        stored: Any = nibabel.load(path)
        if stored.get_data_dtype().kind != "f":
            return ""
        count = int((~np.isfinite(stored.dataobj.get_unscaled())).sum())
    except Exception:  # nibabel is stricter than ITK about headers; the reader has the last word
        return ""
    return f"{count} voxels are NaN or infinite; replace them" if count else ""


def _verify_png(path: Path) -> None:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as opened:
        opened.verify()
