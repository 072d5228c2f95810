"""A street in perspective, far things first; image and labels are drawn by the same shapes.

Lengths are metres: x to the right of the camera, y above the ground, z ahead. Coordinates come from additions,
multiplications, divisions and roundings alone, so that a scene is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from cityscapesscripts.helpers.labels import name2label
from PIL import Image, ImageDraw, ImageFilter

from atso_bench.datasets._drawn.things import COLOURS, FRONTS, ROAD, ROUGH, SIDEWALK, THINGS, Colour

Point = tuple[float, float, float]
FAR = 80.0


class City(NamedTuple):
    """What the frames of one city share."""

    height: float  # of the camera, in metres
    focal: float  # focal length as a share of the image's width
    horizon: float  # its row as a share of the image's height
    built: float  # share of the fronts that are buildings
    wide: float  # factor of all things' width
    tall: float  # factor of their height
    colours: dict[str, list[Colour]]  # of each kind those that the city prefers


class Weather(NamedTuple):
    """One kind of weather and light."""

    sky: Colour  # also the colour of haze
    haze: float  # share of it in what is FAR away
    light: Colour  # percent of red, green and blue
    noise: int  # of the camera, in grey levels
    blur: float  # radius in pixels


WEATHERS = (
    Weather((134, 170, 210), 0.1, (100, 100, 100), 3, 0.2),
    Weather((200, 204, 208), 0.3, (86, 88, 92), 5, 0.4),
    Weather((222, 222, 220), 0.8, (95, 95, 95), 4, 0.6),
    Weather((206, 176, 140), 0.25, (112, 95, 74), 5, 0.3),
    Weather((70, 76, 96), 0.2, (55, 58, 68), 9, 0.4),
    Weather((168, 176, 184), 0.5, (74, 80, 86), 8, 0.8),
)


def make_city(rng: np.random.Generator) -> City:
    """A city with one of several cameras, builds and palettes."""
    colours = {kind: [every[int(rng.integers(len(every)))] for _ in range(2)] for kind, every in COLOURS.items()}
    height, horizon = float(rng.choice([1.2, 1.6, 2.1])), float(rng.choice([0.38, 0.44, 0.5]))
    wide, tall = float(rng.choice([0.85, 1, 1.2])), float(rng.choice([0.9, 1, 1.15]))
    return City(height, float(rng.uniform(0.8, 1.1)), horizon, float(rng.uniform(0.3, 0.7)), wide, tall, colours)


def draw_scene(rng: np.random.Generator, size: tuple[int, int], city: City) -> tuple[np.ndarray, np.ndarray]:
    """One frame of a city in some weather: uint8 ``(H, W, 3)``, and label ids as Cityscapes numbers them ``(H, W)``."""
    scene = _Scene(rng, size, city)
    scene.compose()
    image, labels, weather = np.array(scene.image, np.int32), np.array(scene.labels), scene.weather
    image[-size[0] // 16 :], labels[-size[0] // 16 :] = (40, 42, 46), name2label["ego vehicle"].id
    labels[[0, -1]] = labels[:, [0, -1]] = name2label["out of roi"].id
    blurred = Image.fromarray(_bytes(image + _grain(rng, labels))).filter(ImageFilter.BoxBlur(weather.blur))
    light = (85 + _field(rng, size, 3) * 30 // 255)[..., None] * np.array(weather.light)  # percent of percent
    noise = rng.integers(-100, 101, (2, *size, 3)).sum(axis=0) * weather.noise // 82
    return _bytes(np.asarray(blurred, np.int32) * light // 10_000 + noise), labels


class _Scene:
    """Image and labels of one frame."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], city: City) -> None:
        self.rng, self.city, self.weather = rng, city, WEATHERS[int(rng.integers(len(WEATHERS)))]
        (self.rows, self.columns), self.bend = size, float(rng.uniform(-0.06, 0.06))
        self.image = Image.new("RGB", (self.columns, self.rows), self.weather.sky)
        self.labels = Image.new("L", (self.columns, self.rows), name2label["sky"].id)

    def compose(self) -> None:
        """Ground, both sides of the street, then all things by distance."""
        rng = self.rng
        left, right = -float(rng.uniform(4.5, 7)), float(rng.uniform(2.5, 4.5))
        self.ground("terrain", "green", -60, 60)
        self.ground("road", "grey", left, right)
        things = [each for lane in (-3.0, 0.0, right - 0.9, left + 1.0) for each in self.row(ROAD, lane, 0.3, 8, 26)]
        for kerb, away in ((left, -1), (right, 1)):
            walk, lawn = away * float(rng.uniform(2, 4)), away * float(rng.choice([0, 2, 4]))
            self.ground("sidewalk", "grey", kerb, kerb + walk)
            self.side(kerb + walk + lawn, away)
            things += self.row(SIDEWALK, kerb + walk / 2, 0.4 * abs(walk), 1.5, 7)
        for z, name, x in sorted(things, reverse=True):
            self.thing(name, x, z)

    def row(self, odds: dict[str, int], x: float, aside: float, least: float, most: float) -> list[tuple]:
        """Distance, name and place of things one behind the other, the gaps between ``least`` and ``most``."""
        chances, found = np.array(list(odds.values())) / sum(odds.values()), []
        z = 3 + least * float(self.rng.uniform(0.6, 2))
        while z < 48:
            name = list(odds)[int(self.rng.choice(len(odds), p=chances))]
            found.append((z, name, x + float(self.rng.uniform(-aside, aside))))
            z += float(self.rng.uniform(least, most))
        return found

    def side(self, x: float, away: int) -> None:
        """What closes the street at one side, piece by piece, the far ones first."""
        far, built = FAR, self.city.built
        while far > 1.5:
            near = far * float(self.rng.uniform(0.6, 0.85)) if far > 8 else 1.5
            name = list(FRONTS)[int(self.rng.choice(4, p=[built, *[(1 - built) / 3] * 3]))]
            self.front(name, x, away, near, far)
            far = near if near > 1.5 else 0

    def front(self, name: str, x: float, away: int, near: float, far: float) -> None:
        """A slab along the street and its face towards the camera; houses have windows, one sees through fences."""
        kind, low, high = FRONTS[name]
        top, colour = float(self.rng.uniform(low, high)) * self.city.tall, self.colour(kind)
        self.shape(_along(x, 0, top, near, far), name, None if name == "fence" else colour)
        if name == "fence":
            for start in np.arange(near, min(far, 30), 0.6).tolist():
                self.shape(_along(x, 0, top, start, start + 0.25), "", colour)
            return
        self.shape([(x, 0, near), (x + 6 * away, 0, near), (x + 6 * away, top, near), (x, top, near)], name, colour)
        if name == "building":
            for start in np.arange(near + 1, min(far, 45) - 2, 3).tolist():
                for sill in np.arange(1, top - 2, 2.9).tolist():
                    self.shape(_along(x, sill, sill + 1.4, start, start + 1.5), "", self.colour("glass"))

    def thing(self, name: str, x: float, z: float) -> None:
        """A thing that faces the camera, or shows its side; what has one colour has it in all parts."""
        views, parts = THINGS[name]
        wide = self.city.wide * float(self.rng.choice(views)) * float(self.rng.uniform(0.9, 1.1))
        tall, colours = self.city.tall * float(self.rng.uniform(0.85, 1.15)), dict[str, Colour]()
        for label, kind, left, right, low, high, shape in parts:
            colour = colours.setdefault(kind, self.colour(kind))
            corners = [(x + a * wide, b * tall, z) for a, b in ((left, low), (right, low), (right, high), (left, high))]
            self.shape(corners, label, colour, round_=shape == "o")

    def ground(self, name: str, kind: str, left: float, right: float) -> None:
        """A strip along the street."""
        edge = [(left, 0, z) for z in (1.2, 10, FAR)] + [(right, 0, z) for z in (FAR, 10, 1.2)]
        self.shape(edge, name, self.colour(kind))

    def colour(self, kind: str) -> Colour:
        """One of the city's of this kind, a little changed."""
        several = self.city.colours[kind]
        return tuple((np.array(several[int(self.rng.integers(len(several)))]) + self.rng.integers(-12, 13, 3)).tolist())

    def shape(self, points: Sequence[Point], name: str, colour: Colour | None, *, round_: bool = False) -> None:
        """A polygon, or the ellipse within it; without a name it changes no label, without a colour no image."""
        pixels, share = [self.at(*point) for point in points], self.weather.haze * min(points[0][2], FAR) / FAR
        hazy = colour and tuple(round(a + share * (b - a)) for a, b in zip(colour, self.weather.sky, strict=True))
        for layer, fill in ((self.image, hazy), (self.labels, name and name2label[name].id)):
            draw = ImageDraw.Draw(layer)
            if fill and round_:
                draw.ellipse((*map(min, zip(*pixels, strict=True)), *map(max, zip(*pixels, strict=True))), fill=fill)
            elif fill:
                draw.polygon(pixels, fill=fill)

    def at(self, x: float, y: float, z: float) -> tuple[int, int]:
        """Column and row of a point."""
        scale = self.city.focal * self.columns / z
        column = 0.5 * self.columns + scale * (x + z * self.bend)
        row = self.city.horizon * self.rows + scale * (self.city.height - y)
        return round(min(max(column, -4e3), 4e3)), round(min(max(row, -4e3), 4e3))


def _along(x: float, low: float, high: float, near: float, far: float) -> list[Point]:
    """An upright rectangle along the street."""
    return [(x, low, near), (x, low, far), (x, high, far), (x, high, near)]


def _grain(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Grey levels that the roughness of surfaces adds, ``(H, W, 1)``."""
    fine, coarse = rng.integers(-100, 101, labels.shape), _field(rng, labels.shape, max(2, labels.shape[0] // 5)) - 128
    grain = np.zeros(labels.shape, int)
    for name, (small, large) in ROUGH.items():
        here = labels == name2label[name].id
        grain[here] = (fine * small // 100 + coarse * large // 100)[here]
    return grain[..., None]


def _field(rng: np.random.Generator, size: tuple[int, ...], rows: int) -> np.ndarray:
    """A smooth random field of 0 to 255, ``(H, W)``, with this many independent rows."""
    seeds = Image.fromarray(rng.integers(0, 256, (rows, 2 * rows), dtype=np.uint8))
    return np.asarray(seeds.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.int32)


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)
