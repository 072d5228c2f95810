"""A small grid as commands, waiting for what they do, and what two results folders have in common."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import waiting

GRID = ["-m", "supervised,self-learning,atso", "-f", "10", "-d", "phantom", "--budget", "smoke"]
GRID += ["-o", "self-learning.generations=1", "-o", "atso.generations=1"]
GRID += ["-o", "recipe.width=4", "--device", "cpu", "--workers", "0"]


def command(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """``atso-bench`` as a user gives it; one that hangs ends, but not one that has a busy machine."""
    program = [str(Path(sys.executable).with_name("atso-bench")), *map(str, words)]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=1200, **more)


def prepared(folder: Path) -> dict[str, str]:
    """The variables with which runs find the prepared phantom."""
    environment = {**os.environ, "ATSO_BENCH_DATA": str(folder), "OMP_NUM_THREADS": "1"}
    done = command("prepare", "phantom", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return environment


def until(true: Callable[[], object], out: Path) -> None:
    """Wait for what a cluster does in a results folder; on a busy machine libraries alone take minutes to import."""
    waiting.until(true, 600, every=0.2, logs=out)


def facts(results: Path) -> dict[str, Any]:
    """What has to be equal of all records, bit for bit, and of the final weights."""
    found = {}
    for file in sorted((results / "records").rglob("seed*.json")):
        record = json.loads(file.read_text())
        phases = [[phase[name] for name in ("name", "kind", "steps", "key", "losses")] for phase in record["phases"]]
        kept = {name: record[name] for name in ("spec", "cases", "summary", "split", "diagnostics", "warnings")}
        weights = results / "stages" / "models" / f"{file.stem.partition('-')[2]}.pt"
        found[file.name] = kept | {"phases": phases, "weights": hashlib.sha256(weights.read_bytes()).hexdigest()}
    return found
