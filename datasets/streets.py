"""The natural track's embedded dataset: synthetic street scenes, made from a seed, so that nothing is downloaded."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from atso_bench.datasets._drawn.canvas import ASPHALT, GRASS, LEAVES, PAVING, PLASTER, make_style
from atso_bench.datasets._drawn.scenes import draw_scene
from atso_bench.datasets._frames.cityscapes import CityscapesDataset
from atso_bench.datasets._shared.storage import Storage, locked, new_folder, storage

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say

SEED = 20200318
RELEASE = "1"
"""Raise it when the frames change; scores of different releases do not compare."""

TRAIN = ("aldmoor", "brenwick", "corvane", "dunhollow", "eskerfurt", "felmaren", "graubach", "hollinford")
VAL = ("ivenstadt", "jorvale")
EXTRA = ("kesselau", "lindholt")
CITIES = (*TRAIN, *VAL, *EXTRA)


class Streets(CityscapesDataset):
    """Synthetic street scenes in Cityscapes' official layout, with its 19 classes and some labels that do not count.

    A city has its own light, weather, camera and colours; its frames are alike. Classes share colours (road and
    sidewalk, wall and building, lawn and tree, bus, truck and train, person and rider) and differ in place, shape and
    texture; noise, blur, shadows and exposure vary, so that ten labelled frames teach clearly less than 160. The test
    cities are none of the training cities.

    Args:
        configuration: see ``CityscapesDataset``.
        train: labelled frames, dealt to eight cities.
        val: test frames, dealt to two cities.
        unlabelled: frames without labels, dealt to two cities.
        size: rows and columns of a frame.
    """

    name = "streets"
    summary = "synthetic street scenes with Cityscapes' 19 classes, made on this machine from a seed"
    source = "made when first used"
    licence = "the project's own"
    extra = True

    def __init__(
        self,
        configuration: str = "512x1024",
        train: int = 160,
        val: int = 40,
        unlabelled: int = 24,
        size: tuple[int, int] = (128, 256),
    ) -> None:
        super().__init__(configuration)
        if min(train, val, unlabelled) < 1 or min(size) < 32:
            raise ValueError(
                "streets needs a frame for each of train, val and unlabelled, and 32 pixels by axis, "
                f"got train={train}, val={val}, unlabelled={unlabelled}, size={size}"
            )
        self.counts, self.size = {"train": train, "val": val, "train_extra": unlabelled}, (size[0], size[1])
        standard = (train, val, unlabelled, self.size) == (160, 40, 24, (128, 256))
        self.folder = self.name if standard else f"{self.name}-{train}-{val}-{unlabelled}-{size[0]}x{size[1]}"

    def is_ready(self) -> tuple[bool, str]:
        return (True, self.source) if self._made is None else super().is_ready()

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        if source is not None:
            raise ValueError(f"streets is made from its seed and takes no --from {source}")
        return super().prepare(say=say)

    def find(self) -> Path:
        """The folder of the frames, which are made if they are not there."""
        found = self._made
        if found is None:
            found = self._places.home / self.folder
            with locked(found.with_name(f".{self.folder}.lock")):
                if _release(found) != RELEASE:
                    shutil.rmtree(found, ignore_errors=True)
                    with new_folder(found) as partial:
                        self._write(partial)
        return found

    @cached_property
    def _places(self) -> Storage:
        return storage()

    @property
    def _made(self) -> Path | None:
        folders = (prepared.parent / self.folder for prepared in self._places.prepared)
        return next((folder for folder in folders if _release(folder) == RELEASE), None)

    def _write(self, folder: Path) -> None:
        for part, cities in (("train", TRAIN), ("val", VAL), ("train_extra", EXTRA)):
            for index in range(self.counts[part]):
                city, number = cities[index % len(cities)], index // len(cities)
                image, label = make_frame(number, city, self.size)
                name = f"{city}/{city}_{number:06d}_000019"
                _save(image, folder / "leftImg8bit" / part / f"{name}_leftImg8bit.png")
                if part != "train_extra":
                    _save(label, folder / "gtFine" / part / f"{name}_gtFine_labelIds.png")
        facts = {"release": RELEASE, "seed": SEED, "licence": self.licence}
        (folder / "streets.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def make_frame(number: int, city: str, size: tuple[int, int] = (128, 256)) -> tuple[np.ndarray, np.ndarray]:
    """Frame ``number`` of a city, always the same.

    Returns:
        The image, uint8 ``(H, W, 3)``, and its label ids as Cityscapes numbers them, uint8 ``(H, W)``.
    """
    place = CITIES.index(city)
    style = make_style(np.random.default_rng([SEED, 1, place]))
    rng = np.random.default_rng([SEED, 2, place, number])
    canvas = draw_scene(rng, size, style)
    surfaces, shadows = np.asarray(canvas.surfaces), np.asarray(canvas.shadows, np.int32)
    image = np.asarray(canvas.image, np.int32)
    image = image + _grain(rng, surfaces)[..., None]
    image = image * shadows[..., None] // 255
    blurred = Image.fromarray(_bytes(image)).filter(ImageFilter.BoxBlur(style.blur * float(rng.uniform(0.8, 1.3))))
    uneven = 80 + _field(rng, size, 4) * 40 // 255  # percent
    exposure = float(rng.uniform(0.82, 1.15))
    gain = [round(100 * exposure * factor) for factor in style.light]
    image = np.asarray(blurred, np.int32) * uneven[..., None] * gain // 10_000
    noise = rng.integers(-100, 101, (2, *size, 3)).sum(axis=0) * round(style.grain * 10) // 820
    return _bytes(image + noise), np.array(canvas.labels)


def _grain(rng: np.random.Generator, surfaces: np.ndarray) -> np.ndarray:
    """Grey levels that a surface's roughness adds, ``(H, W)``; coarse for leaves, fine for asphalt."""
    size = surfaces.shape
    fine, coarse = rng.integers(-100, 101, size), _field(rng, size, max(2, size[0] // 5)) - 128
    rows = np.arange(size[0])[:, None]
    stripes = np.where(rows % 3 == 0, -60, 25) + np.zeros(size, int)
    grain = np.zeros(size, int)
    for surface, noise in (
        (ASPHALT, fine * 8 // 100),
        (PAVING, fine * 3 // 100 + stripes * 10 // 100),
        (GRASS, fine * 16 // 100),
        (LEAVES, fine * 14 // 100 + coarse * 45 // 100),
        (PLASTER, coarse * 8 // 100 + fine * 3 // 100),
    ):
        grain[surfaces == surface] = noise[surfaces == surface]
    return grain


def _field(rng: np.random.Generator, size: tuple[int, ...], rows: int) -> np.ndarray:
    """A smooth random field of 0 to 255, ``(H, W)``, with this many independent rows."""
    seeds = Image.fromarray(rng.integers(0, 256, (rows, 2 * rows), dtype=np.uint8))
    return np.asarray(seeds.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.int32)


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


def _save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _release(folder: Path) -> str | None:
    path = folder / "streets.json"
    return json.loads(path.read_text(encoding="utf-8")).get("release") if path.is_file() else None
