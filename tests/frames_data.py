"""Folders of images and masks as a user may have them, made for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LABELS = {"background": 0, "polyp": 1, "tool": [2, 3], "ignore": 255}
SIZES = ((40, 56), (33, 70), (64, 48))


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image, RGB ``(H, W, 3)``, and its mask ``(H, W)`` with all of ``LABELS``; sizes differ from seed to seed."""
    rng = np.random.default_rng(seed)
    height, width = SIZES[seed % len(SIZES)]
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.integers(2, 12, 2)
    mask[top : top + 14, left : left + 18] = 1
    mask[-8:, :20] = 2
    mask[-8:, 20:30] = 3
    mask[0] = 255
    colours = np.array([[60, 90, 60], [200, 80, 80], [90, 90, 200], [80, 100, 210]])
    shown = colours[np.minimum(mask, 3)] + rng.integers(-30, 31, (height, width, 3))
    return shown.clip(0, 255).astype(np.uint8), mask


def describe(folder: Path, **content: Any) -> None:
    """Write ``dataset.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"labels": LABELS, **content}), encoding="utf-8")


def make_frames(folder: Path, count: int = 10, unlabelled: int = 0, first: int = 0, **content: Any) -> Path:
    """``images``, ``masks`` and ``dataset.json``; frames of three sizes, some grey, in four formats; numbered on."""
    describe(folder, **content)
    endings = (".png", ".tif", ".bmp", ".PNG")
    for seed in range(first, first + count):
        image, mask = picture(seed)
        shown = image if seed % 4 else image.mean(axis=-1).astype(np.uint8)
        save(folder / "images" / f"frame_{seed:02d}{endings[seed % 4]}", shown)
        save(folder / "masks" / f"frame_{seed:02d}.png", mask)
    for seed in range(first + count, first + count + unlabelled):
        save(folder / "unlabelled_images" / f"frame_{seed:02d}.jpg", picture(seed)[0])
    return folder
