"""Street scenes: the things of a street, and what stands where. ``_canvas`` says how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from atso_bench.datasets._drawn.canvas import (
    ASPHALT,
    DARK,
    FLAT,
    GLASS,
    GRASS,
    LEAVES,
    PAVING,
    PLASTER,
    Box,
    Canvas,
    Style,
    pick,
    square,
    tint,
)
from atso_bench.datasets._drawn.things import (
    bicycle,
    bus,
    car,
    caravan,
    cyclist,
    dustbin,
    light,
    motorcycle,
    motorcyclist,
    person,
    pole,
    sign,
    train,
    tree,
    truck,
)

Rng = np.random.Generator
FAR = 90.0
"""Where the street ends, in metres."""


def draw_scene(rng: Rng, size: tuple[int, int], style: Style) -> Canvas:
    """One frame of a city before the camera adds its faults."""
    bend = float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.001, 0.001))
    canvas = Canvas(size, style, bend)
    _backdrop(canvas, rng)
    scene = _Scene(canvas, rng)
    left, right = -float(rng.uniform(4.8, 8)), float(rng.uniform(2.2, 4.8))
    canvas.ground(left, right, 1.5, FAR, "road", style.road, ASPHALT)
    rails = rng.random() < 0.45
    _marks(canvas, rng, left, right, rails)
    scene.roadside(left)
    scene.roadside(right)
    scene.traffic(left, right, rails)
    scene.draw()
    _own_car(canvas, rng)
    return canvas


class _Scene:
    """Collects things by distance and draws the far ones first."""

    def __init__(self, canvas: Canvas, rng: Rng) -> None:
        self.canvas, self.rng, self.style = canvas, rng, canvas.style
        self.things: list[tuple[float, Callable[[], None]]] = []

    def add(self, z: float, draw: Callable[..., None], *arguments: object) -> None:
        self.things.append((z, partial(draw, self.canvas, self.rng, *arguments)))

    def draw(self) -> None:
        for _, draw in sorted(self.things, key=lambda thing: -thing[0]):
            draw()

    def roadside(self, kerb: float) -> None:
        """Ground, fronts and everything that stands between kerb and fronts."""
        rng, canvas, style = self.rng, self.canvas, self.style
        away = 1 if kerb > 0 else -1
        walk, lawn = float(rng.uniform(2.5, 5)), float(rng.uniform(1.5, 4)) * (rng.random() > style.built)
        lawn_first = rng.random() < 0.4  # the lawn may lie between road and sidewalk
        edges = [kerb, kerb + away * (lawn if lawn_first else walk), kerb + away * (walk + lawn)]
        paving, grass = ("sidewalk", style.paving, PAVING), ("terrain", style.green, GRASS)
        for start, end, strip in zip(
            edges, edges[1:], (grass, paving) if lawn_first else (paving, grass), strict=False
        ):
            if start != end:
                canvas.ground(min(start, end), max(start, end), 1.5, FAR, *strip)
        canvas.ground(
            min(kerb, kerb + away * 0.15), max(kerb, kerb + away * 0.15), 1.5, FAR, "sidewalk", style.paving, FLAT
        )
        self.fronts(edges[2], away)
        self.furniture(kerb, away)
        inside = sorted((edges[1], edges[2] if lawn_first else kerb))
        for _ in range(rng.integers(0, 7)):
            z = 4 + 22 * float(rng.random()) ** 2
            self.add(z, person, float(rng.uniform(inside[0] + 0.3, max(inside[1] - 0.3, inside[0] + 0.4))), z)
        for draw, chance in ((bicycle, 0.35), (motorcycle, 0.25)):
            if rng.random() < chance:
                z = 5 + 12 * float(rng.random())
                self.add(z, draw, kerb + away * float(rng.uniform(0.7, 1.4)), z, float(rng.uniform(0.5, 1)))

    def fronts(self, edge: float, away: int) -> None:
        """What closes the street at one side, segment by segment."""
        rng, built = self.rng, self.style.built
        z = 2.0
        odds = np.array([built, 0.2, 0.22, 0.17 * (1.2 - built), 0.2 * (1.2 - built)])
        while z < FAR - 5:
            length = float(rng.uniform(7, 18)) * (1 + z / 60)
            draw = (building, wall, fence, hedge, guard_rail)[int(rng.choice(5, p=odds / odds.sum()))]
            self.add(z + length, draw, edge, away, z, min(z + length, FAR))
            if draw is not building:
                for _ in range(rng.integers(0, 4)):  # trees behind it
                    behind = z + length * float(rng.random())
                    self.add(max(behind, z + length + 0.1), tree, edge + away * float(rng.uniform(2, 7)), behind)
            z += length

    def furniture(self, kerb: float, away: int) -> None:
        """Poles with and without signs and lights, and trees, along the kerb."""
        rng, z = self.rng, float(self.rng.uniform(4, 11))
        odds = (0.26, 0.22, 0.26, 0.18, 0.08)
        while z < 60:
            draw = (pole, light, sign, tree, dustbin)[int(rng.choice(5, p=odds))]
            self.add(z, draw, kerb + away * float(rng.uniform(0.4, 0.9)), z)
            z += float(rng.uniform(4, 15))

    def traffic(self, left: float, right: float, rails: bool) -> None:
        """Vehicles on the road and beside the kerbs."""
        rng = self.rng
        if rails and rng.random() < 0.8:
            z = float(rng.uniform(7, 30))
            self.add(z, train, -3.2, z)
        else:
            self.lane(-3.2, float(rng.uniform(5, 25)), oncoming=True)
        self.lane(0, float(rng.uniform(9, 30)), oncoming=False)
        if left < -6.5:
            self.lane(left + 1.1, float(rng.uniform(5, 15)), oncoming=True, parked=True)
        if right > 3.4:
            self.lane(right - 1, float(rng.uniform(6, 20)), oncoming=False, parked=True)
        elif rng.random() < 0.6:
            z = float(rng.uniform(5, 14))
            self.add(z, cyclist, right - 0.8, z)
        for _ in range(int(rng.integers(0, 3)) * (rng.random() < 0.3)):  # who crosses the street
            z = float(rng.uniform(7, 25))
            self.add(z - 0.5, person, float(rng.uniform(left, right)), z)

    def lane(self, x: float, z: float, oncoming: bool, parked: bool = False) -> None:
        rng = self.rng
        odds = (0.8, 0.05, 0.03, 0.0, 0.06, 0.06) if parked else (0.46, 0.13, 0.11, 0.14, 0.16, 0.0)
        while z < 65:
            kind = int(rng.choice(6, p=odds))
            draw, length = ((car, 4.3), (truck, 8), (bus, 11), (cyclist, 2), (motorcyclist, 2), (caravan, 5))[kind]
            if parked and draw is motorcyclist:
                self.add(z, motorcycle, x, z, float(rng.uniform(0.4, 1)))
            elif kind in (3, 4):
                self.add(z, draw, x, z)
            else:
                self.add(z, draw, x, z, oncoming)
            z += length + (float(rng.uniform(0.6, 6)) if parked else float(rng.uniform(6, 28)))


def _backdrop(canvas: Canvas, rng: Rng) -> None:
    """Clouds, the skyline where the street ends, and the ground that nothing else covers."""
    style, rows, columns = canvas.style, canvas.rows, canvas.columns
    for _ in range(rng.integers(0, 7)):
        u, v = int(rng.integers(columns)), int(rng.integers(max(1, round(canvas.horizon))))
        a, b = int(rng.integers(columns // 12, columns // 4)), int(rng.integers(1, max(2, rows // 14)))
        canvas.disc((u, v), (a, b), "sky", tint(style.sky, float(rng.uniform(0.93, 1.07))), 0)
    horizon, u = round(canvas.horizon), 0
    canvas.fill([(0, horizon), (columns, horizon), (columns, rows), (0, rows)], "terrain", style.green, 20, GRASS)
    while u < columns:
        width, height = int(rng.integers(columns // 25, columns // 8)), canvas.pixels(float(rng.uniform(3, 12)), FAR)
        if rng.random() < style.built:
            canvas.fill(
                [(u, horizon + 1), (u, horizon - height), (u + width, horizon - height), (u + width, horizon + 1)],
                *("building", pick(rng, style.facades), FAR, PLASTER),
            )
        else:
            canvas.disc((u + width // 2, horizon), (width, height // 2 + 1), "vegetation", style.green, FAR, LEAVES)
        u += width
    below = horizon + max(1, rows // 60)
    canvas.fill([(0, below), (columns, below), (columns, rows), (0, rows)], "terrain", style.green, 20, GRASS)


def _marks(canvas: Canvas, rng: Rng, left: float, right: float, rails: bool) -> None:
    """Rails, lane marks, patches, a crossing and shadows of what is not seen."""
    style, white = canvas.style, tint((214, 212, 206), float(rng.uniform(0.7, 1)))
    if rails:
        canvas.ground(-4.4, -2, 1.5, FAR, "rail track", tint(style.road, 0.92), ASPHALT)
        for x in (-3.9, -2.5):
            canvas.detail(_strip(canvas, x - 0.07, x + 0.07, 1.5, FAR), DARK, 2)
    for _ in range(rng.integers(0, 4)):
        x, z = float(rng.uniform(left, right - 1)), float(rng.uniform(4, 20))
        canvas.detail(
            _strip(canvas, x, min(x + float(rng.uniform(0.8, 3)), right), z, z + float(rng.uniform(1, 8))),
            tint(style.road, float(rng.uniform(0.82, 1.15))),
            z,
        )
    for step in range(int(rng.integers(0, 2)), 12):
        canvas.detail(_strip(canvas, -1.75, -1.6, 3 + 6 * step, 6 + 6 * step), white, 3 + 6 * step)
    if rng.random() < 0.25:
        z = float(rng.uniform(6, 16))
        for stripe in range(round(right - left)):
            canvas.detail(_strip(canvas, left + stripe, left + stripe + 0.5, z, z + 3), white, z)
    for _ in range(rng.integers(0, 4)):
        z, reach = float(rng.uniform(4, 40)), float(rng.uniform(0.3, 1))
        canvas.shadow(_strip(canvas, left - 4, left + reach * (right - left), z, z + float(rng.uniform(2, 12))), 0.4)


def _own_car(canvas: Canvas, rng: Rng) -> None:
    """The bonnet, and the columns that rectification leaves empty."""
    rows, columns, bonnet = canvas.rows, canvas.columns, round(canvas.style.bonnet * canvas.rows)
    if bonnet:
        dark = tint((60, 62, 66), float(rng.uniform(0.6, 1.3)))
        canvas.disc((columns // 2, rows + bonnet), (round(columns * 0.6), 2 * bonnet), "ego vehicle", dark, 0)
    edge = max(1, columns // 128)
    for start, name in ((0, "out of roi"), (columns - edge, "rectification border")):
        canvas.fill([(start, 0), (start + edge - 1, 0), (start + edge - 1, rows), (start, rows)], name, (0, 0, 0), 0)


def _strip(canvas: Canvas, left: float, right: float, near: float, far: float) -> list[tuple[int, int]]:
    return [canvas.at(left, 0, near), canvas.at(right, 0, near), canvas.at(right, 0, far), canvas.at(left, 0, far)]


def _slab(edge: float, thick: float, low: float, high: float, z: float, far: float) -> Box:
    """A box that begins at ``edge`` and reaches ``thick`` metres to the right, or to the left if that is negative."""
    return Box(min(edge, edge + thick), max(edge, edge + thick), low, high, z, far)


def building(canvas: Canvas, rng: Rng, edge: float, away: int, z: float, far: float) -> None:
    colour, high = pick(rng, canvas.style.facades), float(rng.uniform(5, 16))
    box = _slab(edge, 14 * away, 0, high, z, far)
    front, side = canvas.box(box, "building", colour, PLASTER)
    glass, floors = tint(GLASS, float(rng.uniform(0.8, 1.9))), max(2, round(high / 3))
    for face, columns in ((front, 5), (side, round((far - z) / 2.4))):
        if face is None:
            continue
        for floor, column in np.ndindex(floors, columns):
            left, low = (column + 0.25) / columns, (floor + 0.3) / floors
            canvas.detail(square(face, left, left + 0.5 / columns, low, low + 0.45 / floors), glass, z)
    if side and rng.random() < 0.4:  # a shop, or a poster in the colours of signs
        left = float(rng.uniform(0, 0.6))
        poster = pick(rng, ((178, 44, 40), (52, 84, 140), (206, 186, 60), (220, 218, 210)))
        canvas.detail(square(side, left, left + 0.3, 2.3 / high, 3.3 / high), poster, z)


def wall(canvas: Canvas, rng: Rng, edge: float, away: int, z: float, far: float) -> None:
    colour, high = pick(rng, canvas.style.facades), float(rng.uniform(1.3, 3))
    _, side = canvas.box(_slab(edge, 0.4 * away, 0, high, z, far), "wall", colour, PLASTER)
    if side:
        canvas.detail(square(side, 0, 1, 0.92, 1), tint(colour, 0.7), z)


def fence(canvas: Canvas, rng: Rng, edge: float, away: int, z: float, far: float) -> None:
    """Bars through which one sees what lies behind."""
    high, colour = float(rng.uniform(1.1, 2.3)), pick(rng, ((70, 72, 70), (150, 150, 146), (112, 84, 60)))

    def face(along: float, up: float) -> tuple[int, int]:
        return canvas.at(edge, up * high, z + along * (far - z))

    canvas.outline(square(face), "fence")
    for low in (0.1, 0.88):
        canvas.detail(square(face, 0, 1, low, low + 0.09), colour, z)
    bars, share = round((far - z) / 0.45), float(rng.uniform(0.3, 0.6))
    for bar in range(bars):
        canvas.detail(square(face, bar / bars, (bar + share) / bars), colour, z)


def hedge(canvas: Canvas, rng: Rng, edge: float, away: int, z: float, far: float) -> None:
    green, high = pick(rng, (canvas.style.green,)), float(rng.uniform(1, 2.5))
    canvas.box(_slab(edge, 1.2 * away, 0, high, z, far), "vegetation", green, LEAVES)
    for step in range(8):
        place = far - (far - z) * (step + 0.5) / 8
        radius = canvas.pixels(float(rng.uniform(0.4, 1)), place)
        centre = canvas.at(edge + 0.5 * away, high, place)
        shade = tint(green, float(rng.uniform(0.75, 1.15)))
        canvas.disc(centre, (radius, round(radius * 0.7)), "vegetation", shade, place, LEAVES)


def guard_rail(canvas: Canvas, rng: Rng, edge: float, away: int, z: float, far: float) -> None:
    """A kind of fence that is not evaluated."""
    canvas.box(_slab(edge, 0.1 * away, 0.4, 0.8, z, far), "guard rail", (150, 152, 154))
    for step in range(5):
        place = far - (far - z) * step / 5
        canvas.plate(edge, place, [(-0.06, 0), (0.06, 0), (0.06, 0.8), (-0.06, 0.8)], "guard rail", (120, 122, 124))
