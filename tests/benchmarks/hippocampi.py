"""Cases that benchmarks of the medical track share: real hippocampi where they are, else a phantom of their size."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from atso_bench.benchmark.spec import Budget

CASES = 16
ROOT = Path(__file__).resolve().parents[2]


def open_cases(root: Path, configuration: str, budget: str = "standard", **overrides: Any) -> tuple[Any, Any]:
    """The dataset of a few cases, prepared in the empty folder ``root``, and its task with two labelled cases."""
    from atso_bench.datasets.hippocampus import Hippocampus
    from atso_bench.datasets.phantom import Phantom

    source = Path(os.environ.get("ATSO_BENCH_REAL_DATA") or ROOT.parent / "shared" / "data") / "Task04_Hippocampus"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(root / "data"))
        for name in ("nnUNet_raw", "nnUNet_preprocessed"):
            patch.delenv(name, raising=False)
        dataset: Any = (
            Hippocampus(configuration)
            if source.is_dir()
            else Phantom(configuration, cases=CASES, unlabelled=0, size=(36, 50, 35))
        )
        dataset.prepare(_few(source, root / "Task04_Hippocampus") if source.is_dir() else None)
        visible = (*dataset.pool, *dataset.test, *dataset.unlabelled)
        return dataset, dataset.task(dataset.pool[:2], visible, Budget.parse(budget), overrides)


def _few(source: Path, folder: Path) -> Path:
    """The decathlon's task with its first cases only."""
    description = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    description["training"] = description["training"][:CASES]
    for entry in description["training"]:
        for path in entry.values():
            link = folder / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source / path)
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": CASES}), encoding="utf-8")
    return folder
