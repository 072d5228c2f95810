"""Plans of nnU-Net, and what changes one thing in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_data import write_raw

from atso_bench.datasets.nnunet import Nnunet


def made(root: Path, name: str) -> dict[str, Any]:
    """nnU-Net's plans of a small raw dataset of this name, made and prepared in a data root."""
    write_raw(root / "nnUNet_raw" / name, ["c0", "c1", "c2"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATSO_BENCH_DATA", str(root))
        patch.delenv("nnUNet_preprocessed", raising=False)
        dataset = Nnunet(name)
        dataset.ready()
        return json.loads(json.dumps(dataset._plans))


def change(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(plans: dict[str, Any]) -> None:
        place: Any = plans
        for key in keys[:-1]:
            place = place[key]
        if to is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = to

    return apply


TWO, ARCHITECTURE = ("configurations", "2d"), ("configurations", "2d", "architecture", "arch_kwargs")
