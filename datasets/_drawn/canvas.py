"""Drawing a street in perspective: a city's style, and the shapes that image and labels share.

Lengths are metres: x to the right of the camera, y above the ground, z ahead. Far things are drawn first. Coordinates
come from additions, multiplications, divisions and roundings alone, so that a scene is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from cityscapesscripts.helpers.labels import name2label
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Pixel = tuple[int, int]
Face = Callable[[float, float], Pixel]
"""Pixel of a point on a box's face, both coordinates from 0 to 1: along the face, and upward."""

FLAT, ASPHALT, PAVING, GRASS, LEAVES, PLASTER = range(6)
"""What a surface looks like close by."""

GREYS: tuple[Colour, ...] = ((104, 102, 104), (116, 114, 110), (94, 96, 100), (124, 118, 114))
GREENS: tuple[Colour, ...] = ((74, 96, 50), (92, 108, 56), (62, 86, 58), (112, 112, 62), (124, 102, 56))
FACADES: tuple[Colour, ...] = (
    *((150, 118, 92), (172, 158, 136), (128, 88, 74), (192, 184, 168), (118, 116, 112)),
    *((160, 138, 98), (140, 146, 152), (206, 204, 200), (98, 92, 90)),
)
PAINTS: tuple[Colour, ...] = (
    *((40, 42, 46), (200, 202, 204), (146, 150, 154), (124, 32, 34), (36, 58, 104)),
    *((86, 90, 94), (214, 186, 70), (52, 90, 66), (166, 158, 140)),
)
CLOTHES: tuple[Colour, ...] = (
    *((44, 46, 58), (58, 70, 104), (128, 52, 50), (150, 146, 138), (84, 82, 72), (74, 96, 50), (190, 184, 176)),
)
SKIES: tuple[Colour, ...] = ((134, 170, 210), (196, 202, 208), (222, 224, 224), (168, 186, 204), (206, 196, 180))
SKIN: Colour = (176, 136, 112)
GLASS: Colour = (46, 54, 62)
DARK: Colour = (30, 30, 33)


@dataclass(frozen=True)
class Style:
    """What the frames of one city share.

    Attributes:
        height: of the camera, in metres.
        focal: focal length as a part of the image's width.
        horizon: its row as a part of the image's height.
        sky: also the colour of haze.
        haze: how much of it a thing 80 m away shows.
        sun: brightness of faces that look left, at the camera, and right.
        built: how much of the roadside is built up, from 0 to 1.
        bonnet: rows of the own car that are seen, as a part of the image's height.
        facades, road, paving, green: colours that the city prefers.
        grain: standard deviation of the noise, roughly, in grey levels.
        blur: radius in pixels.
        light: factors of red, green and blue.
    """

    height: float
    focal: float
    horizon: float
    sky: Colour
    haze: float
    sun: tuple[float, float, float]
    built: float
    bonnet: float
    facades: tuple[Colour, ...]
    road: Colour
    paving: Colour
    green: Colour
    grain: float
    blur: float
    light: tuple[float, float, float]


def make_style(rng: np.random.Generator) -> Style:
    """A city."""
    left = float(rng.uniform(0.5, 1.05))
    warm, bright = float(rng.uniform(-0.12, 0.12)), float(rng.uniform(0.8, 1.12))
    return Style(
        height=float(rng.uniform(1.2, 2.1)),
        focal=float(rng.uniform(0.8, 1.1)),
        horizon=float(rng.uniform(0.38, 0.5)),
        sky=pick(rng, SKIES),
        haze=float(rng.uniform(0.1, 0.6)),
        sun=(left, float(rng.uniform(0.7, 0.95)), 1.55 - left),
        built=float(rng.uniform(0.3, 0.8)),
        bonnet=float(rng.choice([0.0, 0.05, 0.09])),
        facades=tuple(pick(rng, FACADES) for _ in range(4)),
        road=pick(rng, GREYS),
        paving=pick(rng, GREYS),
        green=pick(rng, GREENS),
        grain=float(rng.uniform(3, 9)),
        blur=float(rng.uniform(0.2, 0.6)),
        light=(bright * (1 + warm), bright, bright * (1 - warm)),
    )


def pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """One of these colours, a little changed."""
    red, green, blue = colours[int(rng.integers(len(colours)))]
    change = [int(value) for value in rng.integers(-9, 10, 3)]
    return red + change[0], green + change[1], blue + change[2]


def tint(colour: Colour, factor: float) -> Colour:
    """Brighter or darker."""
    red, green, blue = (min(255, max(0, round(value * factor))) for value in colour)
    return red, green, blue


class Box(NamedTuple):
    """A cuboid along the street."""

    x1: float
    x2: float
    y1: float
    y2: float
    z1: float
    z2: float


class Canvas:
    """Image, labels, surfaces and shadows of one frame, drawn by the same shapes.

    Args:
        size: rows and columns.
        style: the city's.
        bend: how the street leaves the straight line: metres to the right per metre, and per metre squared.
    """

    def __init__(self, size: tuple[int, int], style: Style, bend: tuple[float, float]) -> None:
        self.rows, self.columns = size
        self.style, self.bend = style, bend
        self.focal, self.horizon = style.focal * self.columns, style.horizon * self.rows
        whole = (self.columns, self.rows)
        self.image = Image.new("RGB", whole, style.sky)
        self.labels = Image.new("L", whole, name2label["sky"].id)
        self.surfaces, self.shadows = Image.new("L", whole, FLAT), Image.new("L", whole, 255)
        self._colour = ImageDraw.Draw(self.image)
        self._rest = [ImageDraw.Draw(layer) for layer in (self.labels, self.surfaces, self.shadows)]

    def at(self, x: float, y: float, z: float) -> Pixel:
        """Column and row of a point."""
        x += z * (self.bend[0] + z * self.bend[1])
        column = 0.5 * self.columns + self.focal * x / z
        row = self.horizon + self.focal * (self.style.height - y) / z
        return round(min(max(column, -4e3), 4e3)), round(min(max(row, -4e3), 4e3))

    def fill(self, points: Sequence[Pixel], name: str, colour: Colour, z: float, surface: int = FLAT) -> None:
        """A polygon of the class ``name`` on all layers."""
        self.detail(points, colour, z)
        for layer, value in zip(self._rest, (name2label[name].id, surface, 255), strict=True):
            layer.polygon(points, fill=value)

    def outline(self, points: Sequence[Pixel], name: str) -> None:
        """A polygon of the class ``name`` through which one sees what is behind."""
        self._rest[0].polygon(points, fill=name2label[name].id)

    def disc(
        self,
        centre: Pixel,
        radii: Pixel,
        name: str,
        colour: Colour,
        z: float,
        surface: int = FLAT,
        hollow: bool = False,
    ) -> None:
        """An ellipse of the class ``name`` on all layers, or a ring through which one sees."""
        (u, v), (a, b) = centre, radii
        bounds = (u - a, v - b, u + a, v + b)
        paint = self._hazy(colour, z)
        self._colour.ellipse(bounds, fill=None if hollow else paint, outline=paint)
        for layer, value in zip(self._rest, (name2label[name].id, surface, 255), strict=True):
            layer.ellipse(bounds, fill=value)

    def detail(self, points: Sequence[Pixel], colour: Colour, z: float) -> None:
        """A polygon that changes colours alone."""
        self._colour.polygon(points, fill=self._hazy(colour, z))

    def shadow(self, points: Sequence[Pixel], depth: float = 0.5) -> None:
        """A shadow on what is drawn so far."""
        self._rest[2].polygon(points, fill=round(255 * (1 - depth)))

    def pixels(self, metres: float, z: float) -> int:
        """Pixels of a length at distance z."""
        return round(self.focal * metres / z)

    def ground(
        self, left: float, right: float, near: float, far: float, name: str, colour: Colour, surface: int
    ) -> None:
        """A strip of ground along the street."""
        steps = [near + (far - near) * step * step / 100 for step in range(11)]
        points = [self.at(left, 0, z) for z in steps] + [self.at(right, 0, z) for z in reversed(steps)]
        self.fill(points, name, colour, near, surface)

    def plate(
        self,
        x: float,
        z: float,
        outline: Sequence[tuple[float, float]],
        name: str,
        colour: Colour,
        surface: int = FLAT,
    ) -> None:
        """An upright shape that faces the camera; the outline is metres beside x and above the ground."""
        self.fill([self.at(x + aside, y, z) for aside, y in outline], name, colour, z, surface)

    def box(self, box: Box, name: str, colour: Colour, surface: int = FLAT) -> tuple[Face, Face | None]:
        """A cuboid; returns its face towards the camera, and the one towards the street's middle if it is seen."""
        x1, x2, y1, y2, z1, z2 = box
        side: Face | None = None
        drift = self.bend[0] * z1
        if x1 + drift > 0 or x2 + drift < 0:
            x, sun = (x1, self.style.sun[0]) if x1 + drift > 0 else (x2, self.style.sun[2])

            def side(along: float, up: float) -> Pixel:
                return self.at(x, y1 + up * (y2 - y1), z1 + along * (z2 - z1))

            self.fill(square(side), name, tint(colour, sun), z1, surface)
        if y2 < self.style.height:
            top = [self.at(x, y2, z) for x, z in ((x1, z1), (x2, z1), (x2, z2), (x1, z2))]
            self.fill(top, name, tint(colour, 1.1), z1, surface)

        def front(along: float, up: float) -> Pixel:
            return self.at(x1 + along * (x2 - x1), y1 + up * (y2 - y1), z1)

        self.fill(square(front), name, tint(colour, self.style.sun[1]), z1, surface)
        return front, side

    def _hazy(self, colour: Colour, z: float) -> Colour:
        share = self.style.haze * min(z, 80) / 80
        red, green, blue = (
            min(255, max(0, round(a + share * (b - a)))) for a, b in zip(colour, self.style.sky, strict=True)
        )
        return red, green, blue


def square(face: Face, left: float = 0, right: float = 1, low: float = 0, high: float = 1) -> list[Pixel]:
    """A part of a face as a polygon."""
    return [face(left, low), face(right, low), face(right, high), face(left, high)]
