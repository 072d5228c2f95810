"""What the decoded cache is worth: a training crop from PNG files against one from memory maps.

Run: python tests/benchmarks/frame_cache.py. It makes its own frames in a temporary folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 1024, 2048
CROP = (512, 1024)
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


def milliseconds(crop: Crop, folder: Path, frames: int, repeats: int) -> list[float]:
    rng = np.random.default_rng(1)
    crop(folder, 0, rng)
    taken = []
    for number in range(repeats):
        start = time.perf_counter()
        crop(folder, number % frames, rng)
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=40)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder, chosen.frames)
        same = [crop(folder, 0, np.random.default_rng(2))[0].astype(int) for crop in (from_png, from_map)]
        medians = []
        for title, crop, ending in (("PNG", from_png, "png"), ("map", from_map, "npy")):
            taken = milliseconds(crop, folder, chosen.frames, chosen.repeats)
            low, median, high = statistics.quantiles(taken, n=4)
            size = sum(path.stat().st_size for path in folder.glob(f"*.{ending}")) / chosen.frames / 1e6
            print(f"{title}: median {median:.1f} ms a crop (quartiles {low:.1f} to {high:.1f}), {size:.2f} MB a frame")
            medians.append(median)
    print(f"ratio: {medians[0] / medians[1]:.1f}, {chosen.repeats} crops each, files in the page cache")
    print(f"mean difference of the same crop: {np.abs(same[0] - same[1]).mean():.2f} of 255")


if __name__ == "__main__":
    main()
