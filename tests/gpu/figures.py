"""The table of docs/performance.md for GPUs: ``python figures.py results/gpu/gpu.json`` writes a card's figures there.

Without a file all of them are "unmeasured", which is what the table says until there is a GPU.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- figures of a GPU -->\n", "<!-- end of the figures -->\n"
UNMEASURED = "unmeasured"
ROWS = (
    ("bfloat16 matrices", "device / bfloat16 TFLOP/s", "TFLOP/s"),
    ("memory", "device / copy TB/s", "TB/s"),
    ("one launch", "device / launch us", "µs"),
    ("bare step, 2d hippocampus", "steps / 2d bare / ms", "ms"),
    ("supervised step, 2d hippocampus, no loader", "steps / 2d supervised, 0 loaders / ms", "ms"),
    ("supervised step, 2d hippocampus, 12 loaders", "steps / 2d supervised, 12 loaders / ms", "ms"),
    ("supervised step, 3d hippocampus, 12 loaders", "steps / 3d_fullres supervised, 12 loaders / ms", "ms"),
    ("mean teacher's step, 2d hippocampus", "steps / 2d mean-teacher / ms", "ms"),
    ("UniMatch's step, 2d hippocampus", "steps / 2d unimatch / ms", "ms"),
    ("its share in which the device is idle", "steps / 2d unimatch / idle", ""),
    ("supervised step, 8 crops of 801 x 801", "steps / frames supervised / ms", "ms"),
    ("UniMatch's step, 8 crops of 801 x 801", "steps / frames unimatch / ms", "ms"),
    ("its peak memory", "steps / frames unimatch / peak GB", "GB"),
    ("augmentation on the device, 2d, batch 366", "augmentation / 2d, batch 366 / device patches/s", "patches/s"),
    ("k-th smallest of OHEM, by sorting", "parts / OHEM, sort / ms", "ms"),
    ("k-th smallest of OHEM, by kthvalue", "parts / OHEM, kthvalue / ms", "ms"),
    ("four small runs, one after the other", "sharing / 1 at once / s", "s"),
    ("four small runs at once", "sharing / 4 at once / s", "s"),
)


def table(found: dict[str, Any]) -> str:
    """Markdown of the figures in ``gpu.json``."""
    name = (found.get("device") or {}).get("name", "no GPU yet")
    lines = [
        f"| part | {name} |",
        "|---|---|",
        *(f"| {part} | {_said(found, path, unit)} |" for part, path, unit in ROWS),
    ]
    return "\n".join(lines) + "\n"


def _said(found: Any, path: str, unit: str) -> str:
    for key in path.split(" / "):
        found = found.get(key) if isinstance(found, dict) else None
    return f"{found:.3g} {unit}".strip() if isinstance(found, int | float) else UNMEASURED


def page(text: str, found: dict[str, Any]) -> str:
    """The page with the figures in their place."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + table(found) + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    figures = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")) if sys.argv[1:] else {}
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
