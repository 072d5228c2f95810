"""What stands or moves in a street, and the colours of a city: tables."""

from __future__ import annotations

Colour = tuple[int, ...]
Part = tuple[str, str, float, float, float, float, str]
"""Class (empty: it changes no label), kind of colour, left, right, low and high in metres, and ``o`` if it is round."""

_PAINTS = ((40, 42, 46), (200, 202, 204), (124, 32, 34), (36, 58, 104), (214, 186, 70), (52, 90, 66))
COLOURS: dict[str, tuple[Colour, ...]] = {
    "grey": ((104, 102, 104), (94, 96, 100), (124, 118, 114), (136, 132, 124)),
    "green": ((74, 96, 50), (92, 108, 56), (112, 112, 62), (124, 102, 56)),
    "facade": ((150, 118, 92), (172, 158, 136), (128, 88, 74), (118, 116, 112), (206, 204, 200)),
    "paint": _PAINTS,
    "coat": (*_PAINTS, (74, 96, 50), (128, 118, 104)),
    "skin": ((176, 136, 112), (120, 84, 66)),
    "glass": ((46, 54, 62), (70, 84, 98)),
    "dark": ((30, 30, 33),),
    "lamp": ((60, 200, 110), (236, 176, 60), (232, 60, 50)),
    "sign": ((178, 44, 40), (48, 80, 150), (206, 186, 60)),
    "white": ((220, 218, 210),),
}
ROUGH = {"road": (8, 0), "sidewalk": (4, 8), "terrain": (16, 0), "vegetation": (14, 45), "building": (4, 10)}
"""Texture of surfaces: fine and coarse, in grey levels."""
FRONTS = {"building": ("facade", 5, 14), "wall": ("facade", 1.5, 3), "fence": ("grey", 1.2, 2.3)} | {
    "vegetation": ("green", 1.2, 6)
}
"""What closes a street at its sides: colour, least and greatest height in metres."""
ROAD = {"car": 36, "truck": 12, "bus": 13, "train": 13, "cyclist": 12, "motorcyclist": 12, "caravan": 2}
SIDEWALK = {"person": 2, "pole": 1, "light": 1, "sign": 1, "tree": 1, "bicycle": 1, "motorcycle": 1, "dustbin": 1}
"""What stands there, and how often by comparison."""


def _vehicle(name: str, wide: float, high: float, low: float, top: float, window: str = "glass") -> list[Part]:
    body: list[Part] = [
        (name, "dark", -0.9 * wide, 0.9 * wide, 0, 0.4, ""),
        (name, "paint", -wide, wide, 0.3, high, ""),
        ("", window, -0.85 * wide, 0.85 * wide, low, top, ""),
    ]
    return body + [("", "white", x * wide - 0.12, x * wide + 0.12, 0.5, 0.7, "") for x in (-0.75, 0.75)]


def _cycle(name: str, colour: str, thick: float) -> list[Part]:
    wheels: list[Part] = [(name, "dark", x - 0.33, x + 0.33, 0, 0.66, "o") for x in (-0.5, 0.5)]
    return [
        *wheels,
        (name, colour, -0.6, 0.6, 0.6 - thick, 0.6 + thick, ""),
        (name, "dark", 0.4, 0.6, 0.6, 1.05, ""),
    ]


def _human(name: str, low: float) -> list[Part]:
    legs: list[Part] = [(name, "dark", x - 0.1, x + 0.1, low, low + 0.85, "") for x in (-0.13, 0.13)]
    head = (name, "skin", -0.13, 0.13, low + 1.42, low + 1.72, "o")
    return [*legs, (name, "coat", -0.26, 0.26, low + 0.75, low + 1.45, ""), head]


_POLE = ("pole", "grey", -0.09, 0.09, 0, 2.4, "")
_ANY = (1.0, 1.7)
THINGS: dict[str, tuple[tuple[float, ...], list[Part]]] = {
    "car": (_ANY, [*_vehicle("car", 0.9, 1.5, 0.95, 1.42), ("", "paint", -0.1, 0.1, 0.95, 1.42, "")]),
    "truck": (_ANY, [*_vehicle("truck", 1.25, 3.4, 0.9, 1, "dark"), ("", "white", -1.1, 1.1, 1.2, 3.2, "")]),
    "bus": (_ANY, [*_vehicle("bus", 1.3, 3.1, 1.3, 2.5), ("", "lamp", -0.6, 0.6, 2.7, 2.95, "")]),
    "train": (
        _ANY,
        [
            *_vehicle("train", 1.3, 3.6, 1.7, 2.9),
            ("", "coat", -1.3, 1.3, 0.8, 1.4, ""),
            ("train", "dark", -0.1, 0.1, 3.6, 4.6, ""),
        ],
    ),
    "caravan": (_ANY, _vehicle("caravan", 1.1, 2.5, 1.3, 2)),
    "bicycle": ((0.5, 1), _cycle("bicycle", "coat", 0.07)),
    "motorcycle": ((0.5, 1), _cycle("motorcycle", "paint", 0.3)),
    "cyclist": ((0.7, 1), [*_cycle("bicycle", "coat", 0.07), *_human("rider", 0.4)]),
    "motorcyclist": ((0.7, 1), [*_human("rider", 0.35), *_cycle("motorcycle", "paint", 0.3)]),
    "person": ((1,), _human("person", 0)),
    "pole": ((1,), [("pole", "grey", -0.09, 0.09, 0, 6, "")]),
    "light": (
        (1,),
        [_POLE, ("traffic light", "dark", -0.35, 0.35, 2.2, 3.5, ""), ("", "lamp", -0.2, 0.2, 2.6, 3, "o")],
    ),
    "sign": (
        (1,),
        [_POLE, ("traffic sign", "sign", -0.5, 0.5, 2.1, 3.1, "o"), ("", "white", -0.25, 0.25, 2.4, 2.8, "")],
    ),
    "tree": (
        (0.8, 1.1),
        [("vegetation", "dark", -0.15, 0.15, 0, 3, ""), ("vegetation", "green", -1.6, 1.6, 2.2, 6.5, "o")],
    ),
    "dustbin": ((1,), [("static", "paint", -0.3, 0.3, 0, 1, "")]),
}
