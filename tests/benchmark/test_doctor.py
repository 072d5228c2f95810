"""The doctor: what it finds on a healthy machine, and on ill ones."""

from __future__ import annotations

import builtins
import importlib.metadata
import re
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from atso_bench.benchmark.machine import doctor
from atso_bench.benchmark.machine.doctor import Check, checks

ROOT = Path(__file__).resolve().parents[2]
Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing wrong, of which each test breaks one thing."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "CITYSCAPES_DATASET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(100e9, 0, 100e9))
    monkeypatch.setattr(doctor, "_DRIVER", tmp_path / "no driver")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)


def found(results: Path, name: str) -> Check:
    (check,) = [check for check in checks(results) if check.name == name]
    return check


def test_a_healthy_machine_has_nothing_to_remedy(tmp_path: Path) -> None:
    made = checks(tmp_path / "results")
    assert {check.status for check in made} == {"ok"}
    assert not any(check.remedy for check in made)
    names = ["Python", "torch", "GPU", "CPU", "nnU-Net", "data", "nnUNet_raw", "nnUNet_preprocessed"]
    assert [check.name for check in made][:10] == [*names, "CITYSCAPES_DATASET", "results"]


def test_looking_changes_nothing(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    checks(tmp_path / "new" / "results")
    assert sorted(tmp_path.rglob("*")) == before


def test_every_trouble_comes_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nothing"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    troubled = [check for check in checks(tmp_path / "results") if check.status != "ok"]
    assert len(troubled) >= 5
    assert all(check.remedy for check in troubled)


@pytest.mark.parametrize(("version", "status"), [("3.9.1", "problem"), ("3.10.0", "ok"), ("3.14.0rc1", "problem")])
def test_python_has_a_range(version: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(version=f"{version} (main)"))
    assert found(tmp_path, "Python").status == status


def test_the_ranges_are_those_of_pyproject() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for pattern, versions in (
        (r'requires-python = "(.*)"', doctor.PYTHON),
        (r'"nnunetv2(.*)"', doctor.NNUNET),
        (r'"torch(>=.*)"', doctor.TORCH),
    ):
        match = re.search(pattern, text)
        assert match is not None
        assert match[1] == doctor._range(versions)


def test_torch_that_cannot_be_imported_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_torch(name: str, *rest: Any, **more: Any) -> Any:
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    check = found(tmp_path, "torch")
    assert check.status == "problem"
    assert "libcudart" in check.found


@pytest.mark.parametrize(("version", "status"), [("2.9.1+cpu", "problem"), ("2.16.0a0+git1", "ok"), ("x", "problem")])
def test_torch_has_a_lowest_version(version: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    assert found(tmp_path, "torch").status == status


def test_gpus_are_named_with_their_memory_and_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = SimpleNamespace(name="NVIDIA H200", total_memory=150_000_000_000, uuid="00", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    check = found(tmp_path, "GPU")
    assert (check.status, check.found) == ("ok", "NVIDIA H200 (150 GB, sm_90), NVIDIA H200 (150 GB, sm_90)")


def test_a_gpu_that_torch_does_not_see_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert found(tmp_path, "GPU").status == "warning"


def test_a_missing_nnunet_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert found(tmp_path, "nnU-Net").status == "problem"
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.6.0")
    assert found(tmp_path, "nnU-Net") == Check("nnU-Net", "problem", "2.6.0", "install nnunetv2 >=2.8,<2.9")


def test_a_data_folder_may_be_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writable = doctor._writable
    monkeypatch.setattr(doctor, "_writable", lambda folder: folder.name != "data" and writable(folder))
    check = found(tmp_path, "data")
    assert check.status == "ok"
    assert "read-only" in check.found


def test_a_data_folder_that_does_not_exist_yet_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "not yet"))
    assert found(tmp_path, "data").status == "warning"
    monkeypatch.delenv("ATSO_BENCH_DATA")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert found(tmp_path, "data").found.startswith(str(tmp_path / "home" / "atso-bench" / "data"))


def test_a_file_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "file"))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "file"))
    assert found(tmp_path, "data").status == "problem"
    assert found(tmp_path, "nnUNet_preprocessed").status == "warning"
    assert found(tmp_path / "file", "results").status == "problem"
    assert found(tmp_path / "file" / "below", "results").status == "problem"
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "file" / "below"))
    assert found(tmp_path, "data").status == "problem"


def test_results_that_cannot_be_written_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(**options: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", read_only)
    check = found(tmp_path / "results", "results")
    assert check.status == "problem"
    assert "--out" in check.remedy


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(64e6, 0, 4.9e9))
    assert found(tmp_path, "disk space for results") == Check(
        "disk space for results",
        "warning",
        "4.9 GB free",
        "make at least 5 GB free; stages/ may be deleted once the records exist",
    )
    assert found(tmp_path, "disk space for data").status == "warning"
    if sys.platform == "linux":
        assert found(tmp_path, "shared memory").found == "0.06 GB"


def test_a_system_without_dev_shm_is_not_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SHARED", tmp_path / "no shm")
    assert "shared memory" not in {check.name for check in checks(tmp_path)}


def test_more_threads_than_cores_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    check = found(tmp_path, "CPU")
    assert check.status == "warning"
    assert re.fullmatch(r"set OMP_NUM_THREADS=\d+", check.remedy)
