"""The check of a GPU, tried on an emulated one; what the documentation says of its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import emulated
import figures
import pytest


def test_the_page_has_a_place_for_every_figure() -> None:
    text = figures.PAGE.read_text(encoding="utf-8")
    assert figures.BEGIN in text
    assert all(f"| {part} |" in text for part, *_ in figures.ROWS)
    if "no GPU yet" in text:
        assert figures.page(text, {}) == text


def test_figures_are_said_with_their_card() -> None:
    found = {
        "device": {"name": "H100", "launch us": 2.345},
        "steps": {"2d bare": {"ms": 7}, "frames unimatch": {"error": ""}},
    }
    table = figures.table(found)
    assert "| part | H100 |" in table
    assert "| one launch | 2.35 µs |" in table or "| one launch | 2.34 µs |" in table
    assert "| bare step, 2d hippocampus | 7 ms |" in table
    assert "| UniMatch's step, 8 crops of 801 x 801 | unmeasured |" in table


@pytest.mark.slow
def test_the_whole_check_passes_on_an_emulated_gpu(tmp_path: Path) -> None:
    if why := emulated.missing():
        pytest.skip(why)
    environment = emulated.environment(emulated.build(tmp_path))
    done = subprocess.run(
        [str(Path(figures.__file__).with_name("gpu_check.sh")), "1500", str(tmp_path / "out")],
        env={**environment, "GPU_CHECK_SMALL": "1", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))
    assert {"device", "tests", "steps", "augmentation", "parts", "sharing", "grid"} <= set(found)
    assert not [name for name, row in found["steps"].items() if row.get("waits")]
