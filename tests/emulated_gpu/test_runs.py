"""What is learnt, survived and said on emulated GPUs: ``on_runs.py``, and the tests that are marked for GPUs."""

from __future__ import annotations

import re
from pathlib import Path

import emulated
import pytest
from emulated import HERE, ROOT, said

MARKED = re.compile(r"^@pytest\.mark\.gpu\n(?:@.*\n)*def (\w+)", re.MULTILINE)
LOOK = """
from atso_bench.benchmark.machine import devices, doctor
print([(check.status, check.found, check.remedy) for check in doctor.checks() if check.name == "GPU"])
try:
    print(devices.devices("{device}"))
except ValueError as error:
    print("refused:", error)
"""


def test_two_gpus_and_the_tests_that_are_marked_for_gpus(library: Path) -> None:
    texts = {
        path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path.parent != HERE
    }
    marked = [f"{path}::{name}" for path, text in texts.items() for name in MARKED.findall(text)]
    assert len(marked) == sum(text.count("\n@pytest.mark.gpu\n") for text in texts.values()) > 1
    emulated.passes(library, "on_runs.py", *marked, devices=2)


@pytest.mark.parametrize("device", ["auto", "cuda:0"])
@pytest.mark.parametrize(
    ("pretended", "words"),
    [
        ({"capability": 70}, r"torch \S+ has no code for cuda:0, Fake GPU \(86 GB, sm_70\), but for sm_75"),
        ({"driver": 12040}, r"the NVIDIA driver can do CUDA 12\.4, torch \S+ was built for CUDA"),
    ],
    ids=["old card", "old driver"],
)
def test_what_torch_cannot_use_is_a_problem_and_refused(
    pretended: dict[str, int], words: str, device: str, library: Path
) -> None:
    shown = said(emulated.run(library, "-c", LOOK.format(device=device), **pretended))
    assert "[('problem'," in shown
    assert re.search(rf"^refused: --device {device}: {words}", shown, re.MULTILINE), shown


def test_a_healthy_gpu_is_named_with_capability_and_driver(library: Path) -> None:
    shown = said(emulated.run(library, "-c", LOOK.format(device="auto")))
    assert re.search(r"\('ok', 'Fake GPU \(86 GB, sm_90\); driver for CUDA \d+\.\d', ''\)", shown), shown
    assert "['cuda:0']" in shown
