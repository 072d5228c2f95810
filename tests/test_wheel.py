"""What is published: a wheel that is complete, and that runs outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")
PARTS = ("benchmark", "datasets", "methods", "reports", "src", "docs")
FILES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "requirements.lock")

pytestmark = pytest.mark.skipif(not UV.exists(), reason="uv is not in this environment")


def run(*words: object, cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ATSO_BENCH", "PYTHON"))}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=leftovers)
    for file in FILES:
        shutil.copy(ROOT / file, source)
    build = ("--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", source / "dist")
    run(UV, "build", *build, source, cwd=source)
    (found,) = (source / "dist").glob("*.whl")
    return found


def test_the_wheel_holds_all_files_of_the_four_folders_the_docs_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = ("benchmark", "datasets", "methods", "reports")
    ours = {path.relative_to(ROOT) for part in folders for path in (ROOT / part).rglob("*") if path.is_file()}
    missing = {f"atso_bench/{path}" for path in ours if "__pycache__" not in path.parts} - names
    assert not missing
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("share/doc/atso-bench/metrics.md") for name in names)
    assert not [name for name in names if name.split("/")[0] in folders]


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """With this environment's libraries; the slow test below has an environment of its own."""
    place = tmp_path / "installed"
    run(UV, "pip", "install", "--no-deps", "--target", place, wheel, cwd=tmp_path)
    script = "import atso_bench; print(atso_bench.__file__); from atso_bench.benchmark.cli import app; app()"
    shown = run(sys.executable, "-c", script, "list", "methods", cwd=tmp_path, PYTHONPATH=str(place))
    assert str(place) in shown
    assert "self-learning" in shown


@pytest.mark.slow
def test_the_main_job_runs_from_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    run(UV, "pip", "install", "--python", python, "--constraint", ROOT / "requirements.lock", wheel, cwd=tmp_path)
    words = ("run", "--method", "atso", "--fraction", "10", "--budget", "smoke", "--out", "results")
    run(python.with_name("atso-bench"), *words, cwd=tmp_path, ATSO_BENCH_DATA=str(tmp_path / "data"))
    assert (tmp_path / "results" / "report" / "index.html").is_file()
