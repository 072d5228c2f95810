"""The embedded dataset: synthetic volumes of an organ with lesions, made from a seed, so that nothing is downloaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atso_bench.datasets._shared.storage import locked, new_folder
from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.raw import RawDataset

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say

SEED = 20200317
RELEASE = "3"
"""Raise it when the volumes change; scores of different releases do not compare."""


class Phantom(NnunetDataset):
    """Synthetic MR-like volumes in nnU-Net's raw layout, planned and preprocessed by nnU-Net like any other dataset.

    An organ and its lesions (some cases have none) vary in size, place, orientation and contrast; bias field, noise,
    blur and anisotropic spacing vary too. Other structures share the organ's brightness and differ in texture and shape
    alone, and some of them hold spots that look like lesions, so that four labelled cases teach clearly less than
    forty-eight.

    Args:
        configuration: nnU-Net configuration, ``2d`` or ``3d_fullres``.
        cases: labelled cases, test cases among them.
        unlabelled: cases without labels.
        size: voxels by axis (slices, rows, columns); each case differs a little.
    """

    name = "phantom"
    summary = "synthetic volumes of an organ with lesions, made on this machine from a seed"
    source = "made when first used"
    licence = "the project's own"

    def __init__(
        self,
        configuration: str = "2d",
        cases: int = 60,
        unlabelled: int = 12,
        size: tuple[int, int, int] = (20, 46, 46),
    ) -> None:
        super().__init__(configuration)
        if cases < 2 or unlabelled < 0 or min(size) < 8:
            raise ValueError(
                f"phantom needs 2 cases and 8 voxels by axis, got cases={cases}, unlabelled={unlabelled}, size={size}"
            )
        self.cases, self.without_label, self.size = cases, unlabelled, tuple(size)
        standard = (cases, unlabelled, self.size) == (60, 12, (20, 46, 46))
        shape = "x".join(map(str, size))
        self.folder = "Dataset900_Phantom" if standard else f"Dataset901_Phantom-{cases}-{unlabelled}-{shape}"

    def is_ready(self) -> tuple[bool, str]:
        found = self._storage.find_raw(self.folder)
        return (True, self.source) if found is None else super().is_ready()

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        if source is not None:
            raise ValueError("phantom is made from its seed and takes no --from")
        return super().prepare(say=say)

    @cached_property
    def raw(self) -> RawDataset:
        found = self._storage.find_raw(self.folder)
        if found is None or _release(found) != RELEASE:
            found = self._storage.new_raw / self.folder
            with locked(found.parent / f".{self.folder}.lock"):
                if _release(found) != RELEASE:
                    shutil.rmtree(found, ignore_errors=True)
                    with new_folder(found) as partial:
                        self._write(partial)
        return RawDataset(found, self.group)

    def _write(self, folder: Path) -> None:
        for name in ("imagesTr", "labelsTr", "imagesUn"):
            (folder / name).mkdir()
        for number in range(1, self.cases + self.without_label + 1):
            volume, name = make_volume(number, self.size), f"phantom_{number:03d}"
            if number > self.cases:
                volume.write(volume.image, folder / "imagesUn" / f"{name}_0000.nii.gz")
            else:
                volume.write(volume.image, folder / "imagesTr" / f"{name}_0000.nii.gz")
                volume.write(volume.label, folder / "labelsTr" / f"{name}.nii.gz")
        description = {
            "name": self.folder[11:],
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "organ": 1, "lesion": 2},
            "numTraining": self.cases,
            "file_ending": ".nii.gz",
            "release": RELEASE,
            "licence": self.licence,
        }
        (folder / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class _Volume:
    """One synthetic case; arrays are ``(z, y, x)``, geometry is in millimetres and SimpleITK's order ``(x, y, z)``."""

    image: np.ndarray
    label: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    def write(self, array: np.ndarray, path: Path) -> None:
        import SimpleITK as sitk

        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing(self.spacing)
        volume.SetOrigin(self.origin)
        volume.SetDirection(self.direction)
        sitk.WriteImage(volume, str(path), useCompression=True)


def make_volume(number: int, size: tuple[int, ...] = (20, 46, 46)) -> _Volume:
    """Case ``number`` of the phantom, always the same."""
    rng = np.random.default_rng([SEED, number])
    shape = tuple(round(n * rng.uniform(0.9, 1.1)) for n in size)
    in_plane = rng.uniform(0.9, 1.2)
    spacing = (float(round(rng.uniform(2.5, 3.5), 2)), float(round(in_plane, 2)), float(round(in_plane, 2)))
    scene = _Scene(rng, shape, spacing)
    image, label = scene.draw()
    origin = tuple(float(round(value, 1)) for value in rng.uniform(-80, 80, 3))
    direction = (float(rng.choice([-1, 1])), 0.0, 0.0, 0.0, float(rng.choice([-1, 1])), 0.0, 0.0, 0.0, 1.0)
    return _Volume(image, label, (spacing[2], spacing[1], spacing[0]), (origin[0], origin[1], origin[2]), direction)


class _Scene:
    """Draws structures into a volume whose axes are in millimetres."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        self.rng, self.shape, self.spacing = rng, shape, np.array(spacing)
        self.extent = self.spacing * shape
        axes = [(np.arange(n) + 0.5) * step for n, step in zip(shape, spacing, strict=True)]
        self.grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        rng = self.rng
        image = 100 + 10 * self.noise(9) + 4 * self.noise(3)
        label = np.zeros(self.shape, np.uint8)
        # the organ and what looks like it share one brightness; the organ is grainy and roundish, the others are not
        brightness = rng.uniform(25, 50)
        grain, smooth = self.noise(1.3), self.noise(4.5)
        unit = min(self.extent[1:]) / 46
        radius = unit * rng.uniform(9, 15)
        centre = self.extent * rng.uniform(0.33, 0.67, 3)
        organ = self.blob(centre, radius * rng.uniform(0.75, 1.3, 3), roughness=0.35)
        spots: list[tuple[np.ndarray, float]] = []
        for _ in range(rng.integers(1, 4)):
            where = self.extent * rng.uniform(0.1, 0.9, 3)
            thin, long = unit * rng.uniform(4, 8), unit * rng.uniform(9, 18)
            like = self.blob(where, np.array([long, thin, long])[rng.permutation(3)], roughness=0.35) & ~organ
            image[like] += (brightness * rng.uniform(0.7, 1.1) + 9 * smooth)[like]
            spots.append((where, unit))
        image[organ] += (brightness + rng.uniform(8, 13) * grain)[organ]
        label[organ] = 1
        self.add_lesions(image, label, organ, spots, brightness)
        return self.scan(image), label

    def add_lesions(
        self,
        image: np.ndarray,
        label: np.ndarray,
        organ: np.ndarray,
        spots: list[tuple[np.ndarray, float]],
        brightness: float,
    ) -> None:
        """Lesions in the organ, in three of four cases; and the same spots elsewhere, which are none."""
        rng = self.rng
        contrast = -rng.uniform(35, 60)
        inside = self.grid[organ]
        for _ in range(rng.choice([0, 1, 2, 3], p=[0.25, 0.35, 0.25, 0.15])):
            lesion = self.blob(
                rng.choice(inside), spots[0][1] * rng.uniform(3.2, 6.5) * rng.uniform(0.8, 1.25, 3), roughness=0.3
            )
            lesion &= organ | (self.noise(2) > 1)  # it may grow a little beyond the organ
            image[lesion] += contrast * rng.uniform(0.8, 1.2)
            label[lesion] = 2
        for where, unit in spots:
            if rng.random() < 0.6:
                spot = self.blob(where, unit * rng.uniform(3, 6) * np.ones(3), roughness=0.3) & (label == 0)
                image[spot] += contrast * rng.uniform(0.8, 1.2)

    def scan(self, image: np.ndarray) -> np.ndarray:
        """Blur, bias field, noise and an arbitrary scale, as a scanner would add them."""
        from scipy.ndimage import gaussian_filter

        rng = self.rng
        image = gaussian_filter(image, (0, *[rng.uniform(0.2, 0.8)] * 2)) * np.exp(
            rng.uniform(0.05, 0.25) * self.noise(25)
        )
        image = image + rng.uniform(3, 9) * rng.standard_normal(self.shape)
        return np.clip(image * rng.uniform(2, 8), 1, 32767).astype(np.int16)

    def blob(self, centre: np.ndarray, radii: np.ndarray, roughness: float) -> np.ndarray:
        """A turned ellipsoid with an uneven surface."""
        turn = np.linalg.qr(self.rng.standard_normal((3, 3)))[0]
        distance = np.linalg.norm((self.grid - centre) @ turn / radii, axis=-1)
        inside: np.ndarray = distance + roughness * 0.5 * self.noise(float(np.min(radii)) * 0.6) < 1
        return inside

    def noise(self, millimetres: float) -> np.ndarray:
        """Smooth noise of mean 0 and standard deviation 1 with this correlation length."""
        from scipy.ndimage import gaussian_filter

        field = gaussian_filter(self.rng.standard_normal(self.shape), millimetres / self.spacing, mode="wrap")
        standard: np.ndarray = (field - field.mean()) / field.std()
        return standard


def _release(folder: Path) -> str | None:
    path = folder / "dataset.json"
    return json.loads(path.read_text(encoding="utf-8")).get("release") if path.is_file() else None
