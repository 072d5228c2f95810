"""A synthetic organ with lesions among things that look like it, as one of several scanners shows it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter


class Scanner(NamedTuple):
    """How one kind of scanner shows a body."""

    contrast: float  # of the organ and what looks like it, in grey levels above what lies around them
    bias: float  # strength of the bias field
    noise: float  # standard deviation in grey levels
    blur: float  # in voxels
    spacing: float  # in the plane, in millimetres


class Organ(NamedTuple):
    """One kind of organ; lengths are millimetres ``(z, y, x)`` before it is turned."""

    radii: tuple[float, float, float]
    roughness: float  # of its surface
    grain: tuple[float, float, float]  # size of its texture
    strength: float  # of its texture, as a share of the contrast


SCANNERS = (
    Scanner(contrast=60, bias=0.05, noise=3, blur=0.3, spacing=1.0),
    Scanner(contrast=42, bias=0.20, noise=4, blur=0.5, spacing=1.05),
    Scanner(contrast=35, bias=0.10, noise=6, blur=0.2, spacing=0.95),
    Scanner(contrast=50, bias=0.25, noise=3, blur=0.9, spacing=1.0),
    Scanner(contrast=32, bias=0.05, noise=3, blur=0.6, spacing=1.05),
    Scanner(contrast=65, bias=0.15, noise=8, blur=0.7, spacing=0.95),
)
ORGANS = (
    Organ((11, 11, 11), 0.2, (1.2, 1.2, 1.2), 0.15),
    Organ((10, 15, 8), 0.3, (1.2, 1.2, 4), 0.2),
    Organ((12, 8, 14), 0.5, (1.2, 2.2, 2.2), 0.2),
    Organ((9, 9, 9), 0.5, (1.2, 4, 1.2), 0.2),
    Organ((13, 12, 15), 0.4, (1.2, 1.6, 1.6), 0.15),
)


class Body:
    """Draws structures into a volume ``(z, y, x)`` whose axes are in millimetres."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        self.rng, self.shape, self.spacing = rng, shape, np.array(spacing)
        self.extent = self.spacing * shape
        axes = [(np.arange(n) + 0.5) * step for n, step in zip(shape, spacing, strict=True)]
        self.grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        self.unit = min(self.extent[1:]) / 42

    def draw(self, scanner: Scanner, kind: Organ) -> tuple[np.ndarray, np.ndarray]:
        """Image int16 and label uint8: the organ, two or three smooth things of its brightness, lesions, and spots."""
        rng, label = self.rng, np.zeros(self.shape, np.uint8)
        image = 100 + 0.2 * scanner.contrast * self.noise(9)
        contrast, bright = scanner.contrast * rng.uniform(0.9, 1.1, 2) * (1, 1.4)
        radii = np.array(kind.radii) * rng.uniform(0.85, 1.15, 3)
        organ = self.blob(self.extent * rng.uniform(0.35, 0.65, 3), radii, kind.roughness)
        for _ in range(rng.integers(2, 4)):
            where, thin, long = self.extent * rng.uniform(0.1, 0.9, 3), rng.uniform(3, 6), rng.uniform(9, 18)
            image[self.blob(where, rng.permutation([long, thin, thin]), 0.3) & ~organ] += contrast
            if rng.random() < 0.4:
                image[self.blob(where, rng.uniform(2.5, 4.5, 3), 0.3) & ~organ] += bright
        image[organ] += contrast * (1 + kind.strength * self.noise(np.array(kind.grain)))[organ]
        label[organ] = 1
        for _ in range(rng.choice([0, 1, 2], p=[0.2, 0.4, 0.4])):
            lesion = self.blob(rng.choice(self.grid[organ]), rng.uniform(5, 8, 3), 0.2) & organ
            image[lesion] += bright * (label[lesion] == 1)
            label[lesion] = 2
        return self.scan(image, scanner), label

    def scan(self, image: np.ndarray, scanner: Scanner) -> np.ndarray:
        """Blur, bias field, noise and an arbitrary scale, as the scanner adds them."""
        image = gaussian_filter(image, (0, scanner.blur, scanner.blur)) * np.exp(scanner.bias * self.noise(25))
        image = image + scanner.noise * self.rng.standard_normal(self.shape)
        return np.clip(image * self.rng.uniform(2, 8), 1, 32767).astype(np.int16)

    def blob(self, centre: np.ndarray, radii: np.ndarray, roughness: float) -> np.ndarray:
        """An ellipsoid, turned in the plane, with an uneven surface; radii are those in a body 42 mm wide."""
        angle = self.rng.uniform(0, np.pi)
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        distance = np.linalg.norm((self.grid - centre) @ turn / (self.unit * radii), axis=-1)
        inside: np.ndarray = distance + 0.5 * roughness * self.noise(self.unit * min(radii) * 0.6) < 1
        return inside

    def noise(self, millimetres: float | np.ndarray) -> np.ndarray:
        """Smooth noise of mean 0 and standard deviation 1 with this correlation length."""
        field = gaussian_filter(self.rng.standard_normal(self.shape), millimetres / self.spacing, mode="wrap")
        standard: np.ndarray = (field - field.mean()) / field.std()
        return standard
