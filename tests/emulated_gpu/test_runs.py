"""What is learnt, survived and said on emulated GPUs; most of it is in ``on_runs.py``, which runs there."""

from __future__ import annotations

import re
from pathlib import Path

import emulated
import pytest
from emulated import said

LOOK = """
from atso_bench.benchmark.machine import devices, doctor
print([(check.status, check.found, check.remedy) for check in doctor.checks() if check.name == "GPU"])
for device in ("auto", "cuda:0"):
    try:
        print(devices.devices(device))
    except ValueError as error:
        print("refused:", error)
"""

pytestmark = pytest.mark.timeout(900)  # most of it is one process, of many tests


def test_two_gpus(library: Path) -> None:
    emulated.passes(library, "on_runs.py", devices=2)


@pytest.mark.parametrize(
    ("pretended", "words"),
    [
        ({"capability": 70}, r"torch \S+ has no code for cuda:0, Fake GPU \(86 GB, sm_70\), but for sm_75"),
        ({"driver": 12040}, r"the NVIDIA driver can do CUDA 12\.4, torch \S+ was built for CUDA"),
    ],
    ids=["old card", "old driver"],
)
def test_what_torch_cannot_use_is_a_problem_and_refused(pretended: dict[str, int], words: str, library: Path) -> None:
    shown = said(emulated.run(library, "-c", LOOK, **pretended))
    assert "[('problem'," in shown
    for device in ("auto", "cuda:0"):
        assert re.search(rf"^refused: --device {device}: {words}", shown, re.MULTILINE), shown


def test_a_healthy_gpu_is_named_with_capability_and_driver(library: Path) -> None:
    shown = said(emulated.run(library, "-c", LOOK))
    assert re.search(r"\('ok', 'Fake GPU \(86 GB, sm_90\); driver for CUDA \d+\.\d', ''\)", shown), shown
    assert shown.count("['cuda:0']") == 2
