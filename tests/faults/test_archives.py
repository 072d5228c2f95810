"""Archives from strangers: nothing outside of the folder, no links, no full disk, and nothing left after a refusal."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atso_bench.datasets._shared import archive as _archive
from atso_bench.datasets._shared.archive import RESERVE, unpack

FILES = {"task/dataset.json": b"{}", "task/imagesTr/a b é.nii.gz": b"voxels" * 100}


def make_tar(path: Path, mode: str = "w", files: dict[str, bytes] = FILES, *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return path


def make_zip(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("task/odd")
    info.type, info.linkname = kind, target
    return info


def refused(archive: Path, message: str) -> None:
    """The archive is refused, and all that it had unpacked is gone; nothing appeared beside it."""
    place = archive.parent / "place"
    place.mkdir()
    with pytest.raises(ValueError, match=message) as error:
        unpack(archive, place / "new")
    assert str(archive) in str(error.value)
    assert not list(place.iterdir())
    assert {path.name for path in archive.parent.iterdir()} <= {archive.name, "place", "secret"}


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_kind_of_archive_is_unpacked_by_one_function(kind: str, tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a") if kind == "zip" else make_tar(tmp_path / "a", kind)
    folder = unpack(archive, tmp_path / "new")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == FILES
    assert not any(path.stat().st_mode & (stat.S_ISUID | stat.S_IXUSR) for path in folder.rglob("*.gz"))


@pytest.mark.parametrize("name", ["../secret", "/secret", "task/../../secret", "task\\..\\secret", "c:secret", "a\nb"])
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_no_member_can_be_written_outside_of_the_folder(make: Callable[..., Path], name: str, tmp_path: Path) -> None:
    refused(make(tmp_path / "a", files={**FILES, name: b"evil"}), "does not name a place in its folder")


@pytest.mark.parametrize("target", ["secret", "../secret", "/etc/passwd"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_a_tar_is_neither_made_nor_followed(kind: bytes, target: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    refused(make_tar(tmp_path / "a", "w", FILES, special(kind, target)), "is a link; only files and folders")
    assert (tmp_path / "secret").read_text() == "mine"


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_device_or_a_pipe_in_a_tar_is_refused(kind: bytes, tmp_path: Path) -> None:
    refused(make_tar(tmp_path / "a", "w", FILES, special(kind)), "only files and folders are taken")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("task/odd")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    refused(tmp_path / "a", "link or device")


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_an_archive_stops_before_the_disk_is_full_and_says_how_much_room_there_is(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make(tmp_path / "a", files={"one": b"1" * 600, "two": b"2" * 600})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=RESERVE + 1000))
    refused(archive, r"more than the disk has room for: 4e-07 GB are left for 'two'.*make room, or set ATSO_BENCH_DATA")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=RESERVE + 1200))
    unpack(archive, tmp_path / "fits")


def test_a_zip_that_lies_about_its_sizes_is_counted_as_it_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_zip(tmp_path / "a", {"bomb": b"0" * 1_000_000})
    content = archive.read_bytes()
    archive.write_bytes(content.replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=RESERVE + 5))
    refused(archive, "cannot be unpacked")


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    info = special(b"S")
    info.size = 1 << 40  # a few bytes that stand for a terabyte
    refused(make_tar(tmp_path / "a", "w", FILES, info), "cannot be unpacked")


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archive, "MOST_MEMBERS", 5)
    refused(make_tar(tmp_path / "a", files={f"{number}": b"" for number in range(6)}), "more than 5 files")


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 1 << 38
    (tmp_path / "a").write_bytes(name.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "a", "larger than any name")


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a", files={"one": b"1"})
    with tarfile.open(archive, "a") as tar:
        info = tarfile.TarInfo("./one")
        tar.addfile(info, io.BytesIO())
    refused(archive, "File exists")


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
@settings(derandomize=True, max_examples=15, deadline=None, database=None)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_gives_files_in_its_folder(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    archive = make_zip(root / "a") if kind == "zip" else make_tar(root / "a", kind)
    content = bytearray(archive.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    archive.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        unpack(archive, root / "new")
    except ValueError:
        assert not (root / "new").exists()
    assert {path.name for path in root.iterdir()} <= {"a", "new"}
    assert not any(path.is_symlink() for path in root.rglob("*"))
