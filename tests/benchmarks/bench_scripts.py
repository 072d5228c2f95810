"""The measurements that are commands of their own run, small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from racing import TABLE

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(TABLE is not None, reason="they are commands of their own")


def run(script: str, *words: str) -> str:
    done = subprocess.run([sys.executable, HERE / script, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_growth(tmp_path: Path) -> None:
    assert "exponents" in run("growth.py", "--only", "generations", "--largest", "2", "--to", str(tmp_path))
    assert (tmp_path / "growth.svg").is_file()


@pytest.mark.parametrize("what", ["label", "score"])
def test_a_large_volume(what: str) -> None:
    assert '"taken"' in run("large_volume.py", what, "32", "64", "4")
