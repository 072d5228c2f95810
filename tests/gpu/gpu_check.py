"""What a GPU tells of this project, in one file of figures: ``python gpu_check.py SECONDS FOLDER [SECTION ...]``.

Each section writes ``gpu.json`` when it ends and may fail alone. It ends with 1 if one did.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from sections import SECTIONS, Frame

LEAST = 15.0
"""Seconds with which no section begins any more."""


def check(frame: Frame, asked: list[str]) -> bool:
    """Do the sections in turn; whether all that were begun have ended well."""
    good = True
    for section in SECTIONS:
        name = section.__name__
        if (asked and name not in asked) or frame.left() < LEAST:
            continue
        began = time.monotonic()
        try:
            frame.found[name] = section(frame)
        except Exception as error:
            good = False
            frame.found[name] = {"error": "".join(traceback.format_exception(error)[-4:])[-1500:]}
        good &= not _failed(frame.found[name])
        frame.found[f"{name} took s"] = round(time.monotonic() - began, 1)
        torch.cuda.empty_cache()
        (frame.out / "gpu.json").write_text(json.dumps(frame.found, indent=1, default=str), encoding="utf-8")
        said = json.dumps(frame.found[name], default=str)[:1600]
        print(f"== {name}: {frame.found[f'{name} took s']} s, {frame.left():.0f} s left\n{said}", flush=True)
    return good


def _failed(found: Any) -> bool:
    """Whether there is an error, or an exit code that is not 0, anywhere in it."""
    if not isinstance(found, dict):
        return False
    return "error" in found or found.get("exit code", 0) != 0 or any(map(_failed, found.values()))


def main(seconds: str, folder: str, *asked: str) -> int:
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    return 0 if check(Frame(out, time.monotonic() + float(seconds), {}), list(asked)) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
