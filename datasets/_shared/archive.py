"""Unpacks untrusted archives: nothing outside the folder, no links, and no more than the disk can hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

MOST_MEMBERS = 1_000_000
"""Files and folders; the largest dataset known here has 30,000."""
RESERVE = 256 << 20
"""Bytes that stay free on the disk."""
_BLOCK = 1 << 20
_LONGEST_READ = 16 << 20  # a name or a header that is longer than this is an attack


class _Member(NamedTuple):
    name: str
    kind: str  # "file", "folder", or what is not unpacked
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar (plain, gzip, bzip2, xz) or a zip into the new folder ``folder``; returns it.

    Raises:
        ValueError: if it is damaged, would write elsewhere, holds links or devices, or does not fit on the disk. Then
            nothing of it is left.
    """
    folder.mkdir(parents=True)
    try:
        room = shutil.disk_usage(folder).free - RESERVE
        for number, member in enumerate(_members(archive), start=1):
            if number > MOST_MEMBERS:
                raise ValueError(f"it holds more than {MOST_MEMBERS:,} files")
            room -= _write(member, folder, room)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise _refused(archive, folder, f"{error}; is it whole? Fetch it again") from error
    except (ValueError, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise _refused(archive, folder, str(error) or type(error).__name__) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _refused(archive: Path, folder: Path, why: str) -> ValueError:
    shutil.rmtree(folder, ignore_errors=True)
    return ValueError(f"{archive} cannot be unpacked: {why}")


def _write(member: _Member, folder: Path, room: int) -> int:
    """Unpack one member; returns its bytes as they came, whatever the archive said before."""
    target = folder / _place(member.name)
    if member.kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
        return 0
    if member.kind != "file":
        raise ValueError(f"{member.name!a} is a {member.kind}; only files and folders are taken")
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise ValueError(f"{member.name!a} holds nothing that can be read")
    total = 0
    with source, target.open("xb") as file:  # "x": a name that comes twice is refused
        while block := source.read(_BLOCK):
            total += len(block)
            if total > room:
                left, kept = max(room, 0) / 1e9, RESERVE / 1e9
                raise ValueError(
                    f"it unpacks to more than the disk has room for: {left:.3g} GB are left for {member.name!a} "
                    f"({kept:.2g} GB stay free); make room, or set ATSO_BENCH_DATA to a folder on a larger disk"
                )
            file.write(block)
    return total


def _place(name: str) -> PurePosixPath:
    """The path in the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name.isprintable():
        raise ValueError(f"{name!a} does not name a place in its folder")
    return path


def _members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as file:
        magic = file.read(6)
    if magic[:2] == b"PK":
        yield from _zipped(archive)
        return
    openers: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
        (b"\x1f\x8b", gzip.open),
        (b"BZh", bz2.open),
        (b"\xfd7zXZ\x00", lzma.open),
    )
    opener = next((opener for start, opener in openers if magic.startswith(start)), lambda path: path.open("rb"))
    with opener(archive) as file:
        yield from _tarred(file)


def _tarred(file: Any) -> Iterator[_Member]:
    kinds = {tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "link", tarfile.FIFOTYPE: "pipe"}
    with tarfile.open(fileobj=_Bounded(file), mode="r:") as tar:  # type: ignore[call-overload]
        for member in tar:
            tar.members = []  # it would keep all of them
            other = "file" if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else "device"
            kind = "folder" if member.isdir() else "sparse file" if member.issparse() else kinds.get(member.type, other)
            yield _Member(member.name, kind, lambda member=member: tar.extractfile(member))  # type: ignore[misc]


def _zipped(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            kind = "folder" if info.is_dir() else "file" if mode in (0, stat.S_IFREG) else "link or device"
            yield _Member(info.filename, kind, lambda info=info: zipped.open(info))  # type: ignore[misc]


class _Bounded:
    """A file that gives no more than some megabytes at once: a tar's header may ask for all memory there is."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise ValueError("one of its headers is larger than any name")
        content: bytes = self._file.read(size)
        return content

    def seek(self, *place: int) -> int:
        return int(self._file.seek(*place))

    def tell(self) -> int:
        return int(self._file.tell())
