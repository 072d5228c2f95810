"""The things of a street scene. Each draws itself at ``x`` metres aside and ``z`` metres ahead."""

from __future__ import annotations

import numpy as np

from atso_bench.datasets._drawn.canvas import (
    CLOTHES,
    DARK,
    GLASS,
    LEAVES,
    PAINTS,
    SKIN,
    Box,
    Canvas,
    Colour,
    Face,
    pick,
    square,
    tint,
)

Rng = np.random.Generator
WHITE: Colour = (226, 224, 216)
RED: Colour = (178, 44, 40)


def car(canvas: Canvas, rng: Rng, x: float, z: float, oncoming: bool) -> None:
    paint, length, high = pick(rng, PAINTS), float(rng.uniform(3.8, 4.7)), float(rng.uniform(1.4, 1.75))
    _shade(canvas, x, z, 1.9, length)
    canvas.box(Box(x - 0.85, x + 0.85, 0, 0.35, z + 0.1, z + length - 0.2), "car", DARK)
    front, side = canvas.box(Box(x - 0.9, x + 0.9, 0.3, 0.9, z, z + length), "car", paint)
    for left in (0.04, 0.78):
        canvas.detail(square(front, left, left + 0.18, 0.45, 0.8), WHITE if oncoming else RED, z)
    _wheels(canvas, side, z, (0.2, 0.8), (-0.45, 0.4))
    cabin = Box(x - 0.78, x + 0.78, 0.9, high, z + (1.1 if oncoming else 0.4), z + length - 0.6)
    front, side = canvas.box(cabin, "car", paint)
    canvas.detail(square(front, 0.08, 0.92, 0.1, 0.85), GLASS, z)
    if side:
        canvas.detail(square(side, 0.06, 0.46, 0.1, 0.85), GLASS, z)
        canvas.detail(square(side, 0.54, 0.94, 0.1, 0.85), GLASS, z)


def truck(canvas: Canvas, rng: Rng, x: float, z: float, oncoming: bool) -> None:
    paint, load = pick(rng, PAINTS), pick(rng, PAINTS)
    length, high = float(rng.uniform(5.5, 9)), float(rng.uniform(2.7, 3.7))
    cab_near, cab_far = (z, z + 1.9) if oncoming else (z + length - 1.9, z + length)
    load_near, load_far = (z + 2.1, z + length) if oncoming else (z, z + length - 2.1)
    _shade(canvas, x, z, 2.5, length)
    cab = Box(x - 1.15, x + 1.15, 0.5, min(high, 2.7), cab_near, cab_far)
    if not oncoming:
        canvas.box(cab, "truck", paint)
    _, side = canvas.box(Box(x - 1.05, x + 1.05, 0, 1, z + 0.1, z + length), "truck", tint(DARK, 1.6))
    _wheels(canvas, side, z, (0.15, 0.35, 0.85), (0.02, 0.9))
    front, _ = canvas.box(Box(x - 1.25, x + 1.25, 0.95, high, load_near, load_far), "truck", load)
    canvas.detail(square(front, 0.48, 0.52, 0, 1), tint(load, 0.6), z)
    if oncoming:
        front, _ = canvas.box(cab, "truck", paint)
        canvas.detail(square(front, 0.08, 0.92, 0.5, 0.88), GLASS, z)
    for left in (0.04, 0.84):
        canvas.detail(square(front, left, left + 0.12, 0.02, 0.12), WHITE if oncoming else RED, z)


def bus(canvas: Canvas, rng: Rng, x: float, z: float, oncoming: bool) -> None:
    paint, length = pick(rng, PAINTS), float(rng.uniform(9, 13))
    _shade(canvas, x, z, 2.6, length)
    canvas.box(Box(x - 1.2, x + 1.2, 0, 0.4, z, z + length), "bus", DARK)
    front, side = canvas.box(Box(x - 1.28, x + 1.28, 0.35, 3.1, z, z + length), "bus", paint)
    canvas.detail(square(front, 0.06, 0.94, 0.4 if oncoming else 0.55, 0.82), GLASS, z)
    canvas.detail(square(front, 0.25, 0.75, 0.86, 0.96), (206, 150, 50), z)
    for left in (0.03, 0.85):
        canvas.detail(square(front, left, left + 0.12, 0.08, 0.18), WHITE if oncoming else RED, z)
    _wheels(canvas, side, z, (0.16, 0.75), (-0.1, 0.2))
    if side:
        for window in range(6):
            canvas.detail(square(side, 0.02 + window * 0.163, 0.16 + window * 0.163, 0.45, 0.85), GLASS, z)


def train(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    paint, belt, length = pick(rng, PAINTS), pick(rng, PAINTS), float(rng.uniform(20, 32))
    _shade(canvas, x, z, 2.5, length)
    canvas.box(Box(x - 1.1, x + 1.1, 0, 0.4, z, z + length), "train", DARK)
    front, side = canvas.box(Box(x - 1.22, x + 1.22, 0.3, 3.5, z, z + length), "train", paint)
    canvas.detail([front(0.12, 0.42), front(0.88, 0.42), front(0.8, 0.86), front(0.2, 0.86)], GLASS, z)
    canvas.detail(square(front, 0, 1, 0.1, 0.3), belt, z)
    canvas.detail(square(front, 0.42, 0.58, 0.3, 0.36), WHITE, z)
    if side:
        canvas.detail(square(side, 0, 1, 0.1, 0.3), belt, z)
        canvas.detail(square(side, 0.02, 0.98, 0.45, 0.82), GLASS, z)
        for joint in (0.33, 0.66):
            canvas.detail(square(side, joint, joint + 0.02), DARK, z)
    canvas.plate(x, z + 3, [(-0.04, 3.5), (0.04, 3.5), (0.5, 4.5), (0.4, 4.5)], "train", DARK)


def caravan(canvas: Canvas, rng: Rng, x: float, z: float, oncoming: bool) -> None:
    """A caravan or a trailer, which are labelled and never evaluated."""
    name, high = ("caravan", 2.5) if rng.random() < 0.5 else ("trailer", 1.5)
    _shade(canvas, x, z, 2.1, 4.5)
    front, side = canvas.box(Box(x - 1.05, x + 1.05, 0.4, high, z, z + 4.5), name, pick(rng, PAINTS))
    canvas.detail(square(front, 0.2, 0.8, 0.55, 0.85), GLASS if high > 2 or oncoming else RED, z)
    _wheels(canvas, side, z, (0.5,), (0, 0.25))


def motorcycle(canvas: Canvas, rng: Rng, x: float, z: float, turn: float) -> None:
    """``turn`` is 1 for a side view and nearly 0 for one from behind."""
    paint, long = pick(rng, PAINTS), 0.25 + 0.6 * turn
    _shade(canvas, x, z, 2 * long, 0.8)
    for aside in (-long, long):
        _wheel(canvas, x + aside, z, 0.33, turn, "motorcycle", hollow=False)
    body = [(-long - 0.2, 0.55), (-0.2, 0.3), (0.25, 0.3), (long, 0.45), (long * 0.8, 1.1), (0.1, 0.95), (-long, 0.85)]
    canvas.plate(x, z, body, "motorcycle", paint)
    canvas.plate(x, z, [(-0.2, 0.2), (0.25, 0.2), (0.2, 0.5), (-0.15, 0.5)], "motorcycle", DARK)
    canvas.plate(x, z, [(0.6 * long, 1), (0.6 * long + 0.2, 1), (0.6 * long + 0.2, 1.2)], "motorcycle", GLASS)


def bicycle(canvas: Canvas, rng: Rng, x: float, z: float, turn: float) -> None:
    """``turn`` is 1 for a side view and nearly 0 for one from behind."""
    paint, long = pick(rng, PAINTS), 0.12 + 0.42 * turn
    canvas.outline(_points(canvas, x, z, [(-long, 0.3), (long, 0.3), (long, 1), (-long * 0.5, 0.95)]), "bicycle")
    for aside in (-long, long):
        _wheel(canvas, x + aside, z, 0.35, turn, "bicycle", hollow=True)
    for one, other in (((-long, 0.35), (-0.1, 0.85)), ((-0.1, 0.85), (long * 0.8, 0.8)), ((long, 0.35), (long, 1))):
        low, high = min(one[1], other[1]), max(one[1], other[1])
        bar = [(one[0] - 0.04, low), (one[0] + 0.04, low), (other[0] + 0.04, high), (other[0] - 0.04, high)]
        canvas.plate(x, z, bar, "bicycle", paint)
    canvas.plate(x, z, [(-0.3, 0.95), (-0.02, 0.95), (-0.02, 1.02), (-0.3, 1.02)], "bicycle", DARK)


def cyclist(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    turn = float(rng.uniform(0.1, 1))
    bicycle(canvas, rng, x, z, turn)
    _rider(canvas, rng, x, z, turn, helmet=rng.random() < 0.4)


def motorcyclist(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    turn = float(rng.uniform(0.1, 1))
    motorcycle(canvas, rng, x, z, turn)
    _rider(canvas, rng, x, z, turn, helmet=True)


def _rider(canvas: Canvas, rng: Rng, x: float, z: float, turn: float, helmet: bool) -> None:
    coat, trousers, lean = pick(rng, CLOTHES), pick(rng, CLOTHES), 0.35 * turn
    canvas.plate(x, z, [(-0.22, 0.9), (0.15, 0.95), (0.2, 0.35), (0.02, 0.35), (-0.05, 0.7)], "rider", trousers)
    torso = [(-0.24, 0.88), (0.2, 0.88), (lean + 0.25, 1.45), (lean - 0.22, 1.5)]
    canvas.plate(x, z, torso, "rider", coat)
    arm = [(lean, 1.4), (lean + 0.15, 1.4), (lean + 0.45 * turn + 0.12, 1.05), (lean + 0.45 * turn, 1)]
    canvas.plate(x, z, arm, "rider", tint(coat, 0.85))
    _head(canvas, x + lean, 1.63, z, "rider", pick(rng, PAINTS) if helmet else SKIN)


def person(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    coat, trousers, tall = pick(rng, CLOTHES), pick(rng, CLOTHES), float(rng.uniform(0.75, 1.08))
    stride, broad = float(rng.uniform(0.02, 0.3)), float(rng.uniform(0.2, 0.28))
    _shade(canvas, x, z, 0.6, 0.4)
    for way in (-1, 1):
        leg = [(-0.13, 0.85), (0.13, 0.85), (way * stride + 0.09, 0), (way * stride - 0.09, 0)]
        canvas.plate(x, z, [(a * tall, y * tall) for a, y in leg], "person", tint(trousers, 1 + 0.08 * way))
    torso = [(-broad * 0.8, 0.75), (broad * 0.8, 0.75), (broad, 1.4), (0.1, 1.5), (-0.1, 1.5), (-broad, 1.4)]
    canvas.plate(x, z, [(a * tall, y * tall) for a, y in torso], "person", coat)
    _head(canvas, x, 1.6 * tall, z, "person", SKIN)


def tree(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    trunk, high = float(rng.uniform(1.6, 3)), float(rng.uniform(4, 7))
    green = pick(rng, (canvas.style.green,))
    canvas.plate(x, z, [(-0.16, 0), (0.16, 0), (0.1, trunk + 1), (-0.1, trunk + 1)], "vegetation", (84, 74, 62))
    for _ in range(7):
        aside, up = float(rng.uniform(-1.3, 1.3)), float(rng.uniform(trunk + 0.6, high))
        radius = canvas.pixels(float(rng.uniform(0.6, 1.3)), z)
        canvas.disc(
            canvas.at(x + aside, up, z),
            (radius, round(radius * 0.8)),
            *("vegetation", tint(green, float(rng.uniform(0.7, 1.2))), z, LEAVES),
        )


def pole(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    high, grey = float(rng.uniform(3.5, 8)), tint((112, 112, 110), float(rng.uniform(0.5, 1.3)))
    wide = float(rng.uniform(0.07, 0.13))
    canvas.plate(x, z, [(-wide, 0), (wide, 0), (wide, high), (-wide, high)], "pole", grey)
    if rng.random() < 0.5:
        reach = 1.6 if x < 0 else -1.6
        canvas.plate(x, z, [(0, high), (reach, high + 0.1), (reach, high + 0.28), (0, high + 0.2)], "pole", grey)


def light(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    low, shown = float(rng.uniform(2.1, 2.7)), int(rng.integers(3))
    canvas.plate(x, z, [(-0.09, 0), (0.09, 0), (0.09, low + 0.5), (-0.09, low + 0.5)], "pole", (96, 98, 96))
    case = [(-0.27, low), (0.27, low), (0.27, low + 1.15), (-0.27, low + 1.15)]
    canvas.plate(x, z, case, "traffic light", pick(rng, (DARK, (58, 66, 56))))
    lamp, radius = ((60, 200, 110), (236, 176, 60), (232, 60, 50))[shown], max(1, canvas.pixels(0.15, z))
    canvas.disc(canvas.at(x, low + 0.22 + 0.35 * shown, z), (radius, radius), "traffic light", lamp, z)


def sign(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    low, kind = float(rng.uniform(1.9, 2.5)), int(rng.integers(5))
    canvas.plate(x, z, [(-0.07, 0), (0.07, 0), (0.07, low + 0.6), (-0.07, low + 0.6)], "pole", (126, 126, 124))
    if kind == 4:  # directions: large, and in the colours of fronts and sky
        ground = pick(rng, ((52, 84, 140), (206, 186, 60), (200, 200, 198)))
        canvas.plate(x, z, [(-0.9, low), (0.9, low), (0.9, low + 1), (-0.9, low + 1)], "traffic sign", ground)
        canvas.detail(_points(canvas, x, z, [(-0.6, low + 0.4), (0.6, low + 0.4), (0.6, low + 0.6)]), WHITE, z)
        return
    if kind == 3:
        for scale, colour in ((1, RED), (0.6, WHITE)):
            corners = [(-0.5 * scale, low + 0.28), (0.5 * scale, low + 0.28), (0, low + 0.28 + 0.9 * scale)]
            canvas.plate(x, z, corners, "traffic sign", colour)
        return
    outer, inner = ((RED, WHITE), ((48, 80, 150), WHITE), ((150, 150, 150), (140, 142, 142)))[kind]
    for scale, colour in ((0.45, outer), (0.26, inner)):
        radius = canvas.pixels(scale, z)
        canvas.disc(canvas.at(x, low + 0.4, z), (radius, radius), "traffic sign", colour, z)


def dustbin(canvas: Canvas, rng: Rng, x: float, z: float) -> None:
    """A bin, or something that moves and has no class of its own."""
    name = "static" if rng.random() < 0.6 else "dynamic"
    canvas.box(Box(x - 0.3, x + 0.3, 0, float(rng.uniform(0.7, 1.3)), z, z + 0.5), name, pick(rng, PAINTS))


def _head(canvas: Canvas, x: float, y: float, z: float, name: str, colour: Colour) -> None:
    radius = canvas.pixels(0.12, z)
    canvas.disc(canvas.at(x, y, z), (radius, round(radius * 1.25)), name, colour, z)


def _wheel(canvas: Canvas, x: float, z: float, radius: float, turn: float, name: str, hollow: bool) -> None:
    wide, high = max(1, canvas.pixels(radius * max(turn, 0.2), z)), max(1, canvas.pixels(radius, z))
    canvas.disc(canvas.at(x, radius, z), (wide, high), name, DARK, z, hollow=hollow)


def _wheels(canvas: Canvas, side: Face | None, z: float, places: tuple[float, ...], span: tuple[float, float]) -> None:
    """Wheels on the long side of a vehicle: ``places`` along it, and the ``span`` of its height, both from 0 to 1."""
    if side:
        for place in places:
            canvas.detail(square(side, place - 0.06, place + 0.06, *span), DARK, z)


def _shade(canvas: Canvas, x: float, z: float, wide: float, length: float) -> None:
    """The shadow under a thing."""
    left, right = x - 0.6 * wide, x + 0.6 * wide
    canvas.shadow(
        [canvas.at(a, 0, b) for a, b in ((left, z - 0.3), (right, z - 0.3), (right, z + length), (left, z + length))]
    )


def _points(canvas: Canvas, x: float, z: float, outline: list[tuple[float, float]]) -> list[tuple[int, int]]:
    return [canvas.at(x + aside, y, z) for aside, y in outline]
