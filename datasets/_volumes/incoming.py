"""A raw dataset that comes in, by import or by conversion, and its ``dataset.json``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atso_bench.benchmark.reading.user_files import read_object

CAVEATS = "atso_bench_caveats"
"""In ``dataset.json``: what every record of an imported dataset has to say."""


def caveats_of(description: Mapping[str, Any]) -> list[str]:
    """What our import has written there; anything else is somebody else's."""
    found = description.get(CAVEATS)
    return list(map(str, found)) if isinstance(found, list) else []


def is_raw(folder: Path) -> bool:
    """Whether the folder is in nnU-Net's raw layout, not MSD's."""
    description = folder / "dataset.json"
    return description.is_file() and "file_ending" in read_object(description)


def copy_raw(source: Path, target: Path) -> None:
    """Copy a folder in nnU-Net's raw layout.

    Raises:
        ValueError: naming a file that cannot be copied.
    """
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except shutil.Error as error:  # it holds a list of what failed
        file, _, why = error.args[0][0]
        raise ValueError(f"{source} cannot be copied: {why} ({file}); remove or repair the file") from error


def write_description(
    folder: Path,
    name: str,
    channels: Mapping[str, str],
    labels: Mapping[str, int],
    cases: int,
    caveats: Sequence[str] = (),
) -> None:
    """Write nnU-Net's ``dataset.json``; ``caveats`` are what every record of this import has to say."""
    description = {
        "name": name,
        "channel_names": dict(channels),
        "labels": dict(labels),
        "numTraining": cases,
        "file_ending": ".nii.gz",
        **({CAVEATS: list(caveats)} if caveats else {}),
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
