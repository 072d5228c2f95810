"""Settings of all tests, and a small dataset that several of them use."""

import locale
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from atso_bench.benchmark import registry

os.environ["OMP_NUM_THREADS"] = "1"  # also where a test runs a command: tiny tensors, and workers on every core
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_trace() -> Iterator[None]:
    """A test that leaves threads, variables, signals, a folder or a process behind fails, and the next has none of it.

    With more than one thread, for one, whatever forks afterwards would wait for ever in its first convolution.
    """
    before, children = _traces(), set(multiprocessing.active_children())
    yield
    after = _traces()
    changed = sorted(name for name in before | after if before.get(name) != after.get(name))
    torch.set_num_threads(1)
    locale.setlocale(locale.LC_ALL, "")  # cityscapesscripts sets another for good when its evaluation is imported
    orphans = set(multiprocessing.active_children()) - children
    for process in orphans:
        process.kill()
    assert not changed, f"this test changed {', '.join(changed)}"
    assert not orphans, f"still running: {orphans}"


def _traces() -> dict[str, object]:
    """What a test may change for those behind it; variables of pytest, torch and blosc2 are their own business."""
    own = ("PYTEST_", "TORCHINDUCTOR_", "KMP_", "ME_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(own)},
        "torch's threads": torch.get_num_threads(),
        "the handler of SIGINT": signal.getsignal(signal.SIGINT),
        "the handler of SIGTERM": signal.getsignal(signal.SIGTERM),
        "the working folder": Path.cwd(),
        "registry.dataset": registry.dataset,
        "registry.method": registry.method,
    }


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root of the tiny phantom."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def tiny(tiny_root: Path) -> Any:
    """Phantom of 10 labelled cases (2 of them T) and 2 without label, prepared for 2d; it keeps its folder."""
    return _tiny(tiny_root, "2d")


@pytest.fixture(scope="session")
def tiny_3d(tiny_root: Path) -> Any:
    """The same phantom prepared for 3d_fullres."""
    return _tiny(tiny_root, "3d_fullres")


def _tiny(root: Path, configuration: str) -> Any:
    from atso_bench.datasets.phantom import Phantom

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(root))
        for name in ("nnUNet_raw", "nnUNet_preprocessed"):
            patch.delenv(name, raising=False)
        dataset = Phantom(configuration, cases=10, unlabelled=2, size=(10, 24, 24))
        dataset.ready()
        return dataset


@pytest.fixture
def real_data() -> Path:
    """Folder of real data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("ATSO_BENCH_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set ATSO_BENCH_REAL_DATA")
    return folder
