"""The measurements that are commands of their own run, small."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from children import ended
from racing import TABLE

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(TABLE is not None, reason="they are commands of their own")


def run(script: str, *words: str) -> None:
    """The command, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *words])
        patch.setattr(sys, "path", [str(HERE), *sys.path])
        patch.setenv("ATSO_BENCH_DATA", "")  # which they set for themselves
        runpy.run_path(str(HERE / script), run_name="__main__")


def test_growth(tmp_path: Path) -> None:
    """It forks its points, so it is given a process that has computed nothing but its own."""
    said = tmp_path / "said.txt"
    words = ("--only", "generations", "--largest", "2", "--to", str(tmp_path))
    assert ended(run, "growth.py", *words, said=said) == 0, said.read_text(encoding="utf-8")
    assert "exponents" in said.read_text(encoding="utf-8")
    assert (tmp_path / "growth.svg").is_file()


@pytest.mark.parametrize("what", ["label", "score"])
def test_a_large_volume(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("large_volume.py", what, "32", "64", "4")
    assert '"taken"' in capsys.readouterr().out
