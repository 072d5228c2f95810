"""What is learnt, survived and said on emulated GPUs; most is in ``on_*.py``, which run there."""

from __future__ import annotations

import re
from pathlib import Path

import emulated
import pytest
from emulated import ROOT, said

CLI = ("-m", "atso_bench.benchmark.cli")
SMALL = ("--dataset", "phantom", "--fraction", "10", "--budget", "14", "--option", "recipe.batch=2")


def test_two_gpus(library: Path) -> None:
    emulated.passes(library, "on_runs.py", devices=2)


def test_an_old_card(library: Path) -> None:
    emulated.passes(library, "on_old_card.py", capability=75)


def test_the_tests_that_are_marked_for_gpus(library: Path) -> None:
    marked = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^@pytest\.mark\.gpu", path.read_text("utf-8"), re.M)
    ]
    assert marked
    done = emulated.run(library, "-m", "pytest", "-p", "no:cacheprovider", "-m", "gpu", *map(str, marked))
    assert done.returncode == 0, said(done)
    assert "skipped" not in said(done)


def test_a_forecast_says_how_many_runs_fit_and_the_peak_is_each_runs_own(
    library: Path,
    tmp_path: Path,
) -> None:
    arguments = ("plan", "--method", "cps,supervised", *SMALL, "--out", str(tmp_path), "--device", "cuda")
    done = emulated.run(library, *CLI, *arguments, memory=4 << 30)
    assert done.returncode == 0, said(done)
    assert re.search(r"\d such runs fit on cuda:0 at once: --device 'cuda:0\*\d'", done.stdout), said(done)


@pytest.mark.parametrize("command", ["doctor", "run"])
@pytest.mark.parametrize(
    ("pretended", "words"),
    [
        ({"capability": 70}, r"torch .* has no code for cuda:0, Fake GPU \(86 GB, sm_70\), but for sm_75"),
        ({"driver": 12040}, r"the NVIDIA driver can do CUDA 12\.4"),
    ],
    ids=["old card", "old driver"],
)
def test_what_torch_cannot_use_is_a_problem_and_no_fault_of_the_program(
    command: str,
    pretended: dict[str, int],
    words: str,
    library: Path,
    tmp_path: Path,
) -> None:
    asked = (
        (*CLI, command, "--method", "supervised", *SMALL, "--out", str(tmp_path))
        if command == "run"
        else (*CLI, command)
    )
    done = emulated.run(library, *asked, **pretended)
    assert done.returncode == {"doctor": 1, "run": 2}[command], said(done)
    assert re.search(words, " ".join(said(done).split())), said(done)
    assert "bug of the program" not in said(done)


def test_a_healthy_gpu_is_named_with_capability_and_driver(library: Path) -> None:
    done = emulated.run(library, *CLI, "doctor")
    assert re.search(r"Fake GPU \(86 GB, sm_90\); driver for CUDA \d+\.\d", " ".join(said(done).split())), said(done)
