"""The natural track's embedded dataset: synthetic street scenes, made from a seed, so that nothing is downloaded."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from atso_bench.datasets._drawn.scene import draw_scene, make_city
from atso_bench.datasets._frames.cityscapes import CityscapesDataset
from atso_bench.datasets._shared.remade import make, release
from atso_bench.datasets._shared.storage import Storage, storage

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say

SEED = 20200318
RELEASE = "2"
"""Raise it when the frames change; scores of different releases do not compare."""

TRAIN = ("aldmoor", "brenwick", "corvane", "dunhollow", "eskerfurt", "felmaren", "graubach", "hollinford")
VAL = ("ivenstadt", "jorvale")
EXTRA = ("kesselau", "lindholt")
CITIES = (*TRAIN, *VAL, *EXTRA)


class Streets(CityscapesDataset):
    """Synthetic street scenes in Cityscapes' official layout, with its 19 classes and some labels that do not count.

    A city has its own camera, colours, and width and height of things; a frame has one of six kinds of weather. Ten
    labelled frames hold few of these pairs, 160 and the unlabelled frames hold most. Classes share colours and differ
    in place, shape and texture. The test cities are none of the training cities.

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
        size: tuple[int, int] = (96, 192),
    ) -> None:
        super().__init__(configuration)
        if min(train, val, unlabelled) < 1 or min(size) < 32:
            raise ValueError(
                "streets needs a frame for each of train, val and unlabelled, and 32 pixels by axis, "
                f"got train={train}, val={val}, unlabelled={unlabelled}, size={size}"
            )
        self.counts, self.size = {"train": train, "val": val, "train_extra": unlabelled}, (size[0], size[1])
        standard = (train, val, unlabelled, self.size) == (160, 40, 24, (96, 192))
        self.folder = self.name if standard else f"{self.name}-{train}-{val}-{unlabelled}-{size[0]}x{size[1]}"

    def is_ready(self) -> tuple[bool, str]:
        return (True, self.source) if self._made is None else super().is_ready()

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        if source is not None:
            raise ValueError(f"streets is made from its seed and takes no --from {source}")
        return super().prepare(say=say)

    def find(self) -> Path:
        """The folder of the frames, which are made if they are not there."""
        return self._made or make(self._places.home / self.folder, "streets.json", RELEASE, self._write)

    @cached_property
    def _places(self) -> Storage:
        return storage()

    @property
    def _made(self) -> Path | None:
        folders = (prepared.parent / self.folder for prepared in self._places.prepared)
        return next((folder for folder in folders if release(folder / "streets.json") == RELEASE), None)

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


def make_frame(number: int, city: str, size: tuple[int, int] = (96, 192)) -> tuple[np.ndarray, np.ndarray]:
    """Frame ``number`` of a city, always the same.

    Returns:
        The image, uint8 ``(H, W, 3)``, and its label ids as Cityscapes numbers them, uint8 ``(H, W)``.
    """
    place = CITIES.index(city)
    style = make_city(np.random.default_rng([SEED, 1, place]))
    return draw_scene(np.random.default_rng([SEED, 2, place, number]), size, style)


def _save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
