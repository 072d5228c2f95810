"""What the decoded cache is worth: a training crop from PNG files against one from memory maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from racing import faster, sized

pytestmark = pytest.mark.benchmark(group="frames")
HEIGHT, WIDTH = 1024, 2048
CROP = (512, 1024)
FRAMES = sized(8, 2)
SCALES = (0.5, 2.0)
BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
Crop = Callable[[Path, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def write_frames(folder: Path, count: int) -> None:
    """Smooth scenes with a little noise, whose PNG files are about as large as those of Cityscapes (2.3 MB)."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (64, 128, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        image = np.clip(smooth + rng.normal(0, 1, smooth.shape), 0, 255).astype(np.uint8)
        blocks = Image.fromarray(rng.integers(0, 19, (32, 64), dtype=np.uint8))
        label = np.asarray(blocks.resize((WIDTH, HEIGHT), NEAREST))
        for name, array in (("image", image), ("label", label)):
            Image.fromarray(array).save(folder / f"{number}-{name}.png")
            np.save(folder / f"{number}-{name}.npy", array)


def from_png(folder: Path, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Decode, scale the whole frame, crop."""
    scale = rng.uniform(*SCALES)
    size = (round(WIDTH * scale), round(HEIGHT * scale))
    top, left = (int(rng.integers(0, full - crop + 1)) for full, crop in zip(size[::-1], CROP, strict=True))
    parts = []
    for name, how in (("image", BILINEAR), ("label", NEAREST)):
        with Image.open(folder / f"{number}-{name}.png") as opened:
            scaled = opened.resize(size, how)
        parts.append(np.array(scaled.crop((left, top, left + CROP[1], top + CROP[0]))))
    return parts[0], parts[1]


def from_map(folder: Path, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Map, cut out the region that the crop shows, scale that."""
    scale = rng.uniform(*SCALES)
    size = (round(WIDTH * scale), round(HEIGHT * scale))
    top, left = (int(rng.integers(0, full - crop + 1)) for full, crop in zip(size[::-1], CROP, strict=True))
    box = (left / scale, top / scale, min(WIDTH, (left + CROP[1]) / scale), min(HEIGHT, (top + CROP[0]) / scale))
    x, y, right, bottom = int(box[0]), int(box[1]), int(np.ceil(box[2])), int(np.ceil(box[3]))
    inner = (box[0] - x, box[1] - y, box[2] - x, box[3] - y)
    parts = []
    for name, how in (("image", BILINEAR), ("label", NEAREST)):
        region = np.load(folder / f"{number}-{name}.npy", mmap_mode="r")[y:bottom, x:right]
        cut = Image.fromarray(np.ascontiguousarray(region))
        parts.append(np.array(cut.resize((CROP[1], CROP[0]), how, box=inner)))
    return parts[0], parts[1]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    write_frames(folder, FRAMES)
    return folder


def test_both_cut_out_the_same(frames: Path) -> None:
    crops = [crop(frames, 0, np.random.default_rng(2))[0].astype(int) for crop in (from_png, from_map)]
    assert np.abs(crops[0] - crops[1]).mean() < 2  # of 255: the borders of what is scaled differ


def test_a_crop(race: Callable[..., Any], frames: Path) -> None:
    def crops(crop: Crop) -> Callable[[], None]:
        """A crop of each frame, at places and scales that are the same for both."""

        def cut() -> None:
            rng = np.random.default_rng(1)
            for number in range(FRAMES):
                crop(frames, number, rng)

        return cut

    ours, theirs = crops(from_map), crops(from_png)
    race("a street-scene crop", ours, theirs, opponent="decode PNG, scale, crop", goal=faster(5), rounds=7, work=FRAMES)
