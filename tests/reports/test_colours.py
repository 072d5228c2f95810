"""The methods' colours: told apart by readers of any colour vision, on any paper, the same in every figure."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from records import make, write

from atso_bench.reports.data.frame import read
from atso_bench.reports.figures.drawing import COLOURS, look, palette, styles

# Machado, Oliveira and Fernandes 2009, severity 1: the linear RGB that a reader without the second or first cone sees
VISION = {
    "usual": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    value = XYZ @ rgb / [0.9505, 1, 1.089]
    x, y, z = np.where(value > 0.008856, np.cbrt(value), 7.787 * value + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_sixteen_methods_have_colours_that_no_reader_takes_for_another(vision: str) -> None:
    """2 is the least difference that anybody sees side by side; husl's 13 colours are 3 apart for some."""
    assert len(set(COLOURS)) == 16
    seen = [lab(np.clip(VISION[vision] @ linear(colour), 0, 1)) for colour in COLOURS]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 10


@pytest.mark.parametrize(("paper", "least"), [("#ffffff", 2), ("#14171b", 3)])
def test_every_colour_stands_out_from_the_paper(paper: str, least: float) -> None:
    luminances = [float(linear(colour) @ XYZ[1]) + 0.05 for colour in (paper, *COLOURS)]
    assert min(max(each, luminances[0]) / min(each, luminances[0]) for each in luminances[1:]) > least


def test_no_two_of_42_methods_look_the_same() -> None:
    assert len({look(place) for place in range(42)}) == 42


def test_a_method_looks_the_same_in_every_comparison_of_a_report(tmp_path: Path) -> None:
    """The second dataset lacks methods of the first, and would else give their colours to others."""
    write(tmp_path, *(make(method) for method in ("supervised", "atso", "cps", "urpc")))
    write(tmp_path, *(make(method, spec={"dataset": "streets"}) for method in ("supervised", "urpc")))
    first, second = read(tmp_path).groups()
    assert palette(first.places).items() > palette(second.places).items()
    assert styles(first.places)["markers"].items() > styles(second.places)["markers"].items()
