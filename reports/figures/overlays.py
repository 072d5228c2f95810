"""The best, the median and the worst case as a person sees them: image, reference, every method, disagreement."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from atso_bench.benchmark.scoring.label_tables import CLASSES
from atso_bench.benchmark.scoring.label_tables import COLOURS as STREET_COLOURS
from atso_bench.benchmark.scoring.metrics import IGNORE
from atso_bench.benchmark.scoring.pictures import LONGEST, Kept, Pixels, ground_file, predictions_file
from atso_bench.reports.data.frame import Group, headline
from atso_bench.reports.data.means import SAME
from atso_bench.reports.figures.drawing import COLOURS, WIDTH, Drawing, drawable, drawing, styled
from atso_bench.reports.words import decimals

COVER = 0.5
"""How much of a class's colour covers the image."""
SMALL = 128
"""Pixels of the longer side: a picture up to that is kept without loss, a larger one as JPEG."""

Colours = NDArray[np.uint8]
"""``(K, 3)``: a colour for each class index."""


@dataclass(frozen=True)
class Tile:
    """One small picture: words below it, its file's content and ending, and width and height in pixels."""

    words: str
    content: bytes
    kind: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Sheet:
    """One case, seen by every method.

    Attributes:
        rank: ``best``, ``median`` or ``worst``.
        case: its name.
        mean: its score, mean over the methods.
        tiles: image, reference, a tile for each method, disagreement.
    """

    rank: str
    case: str
    mean: float
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Overlays:
    """What there is to be seen of a comparison.

    Attributes:
        fraction: label fraction of the runs that are shown.
        seed: their seed, one for all.
        sheets: best, median and worst case, the same for all methods.
        legend: which colour is which class.
        absent: methods without a picture at that fraction and seed.
        damaged: what is wrong with files of pictures that could not be read.
    """

    fraction: str
    seed: int
    sheets: Sequence[Sheet]
    legend: Drawing | None
    absent: Sequence[str]
    damaged: Sequence[str]


def overlays(group: Group, results: Path) -> Overlays | None:
    """The runs of one seed at the fewest labels at which the most methods left pictures; None if none did."""
    damaged: list[str] = []
    runs = _choose(group, results)
    if runs.empty:
        return None
    scores = group.run_scores.reindex(runs["key"]).dropna(axis="columns", how="all")
    kept = {
        str(run.label): opened
        for run in runs.itertuples()
        if (opened := _open(_file(results, run), damaged)) is not None
    }
    every = group.scores.loc[group.scores["key"] == runs["key"].iloc[0], "case"].unique()
    ground = _open(ground_file(results, runs["data"].iloc[0], [str(case) for case in every]), damaged)
    scores.index = pd.Index(runs["label"])
    scores = scores.loc[list(kept)]
    sheets = [
        Sheet(rank, case, float(scores[case].mean()), tiles)
        for rank, case in _ranks(group.metric.gain(scores.mean())).items()
        if (tiles := _seen(group, case, ground, kept, scores[case], damaged))
    ]
    damaged = [text.replace(f"{results}/", "") for text in damaged]
    absent = [label for label in group.labels if label not in kept]
    return Overlays(str(runs["fraction"].iloc[0]), int(runs["seed"].iloc[0]), sheets, _legend(group), absent, damaged)


def _choose(group: Group, results: Path) -> pd.DataFrame:
    """One run for each method: of one fraction and one seed."""
    there = [_file(results, run).is_file() for run in group.runs.itertuples()]
    runs = group.runs[pd.Series(there, index=group.runs.index, dtype=bool)]
    if runs.empty:
        return runs
    order = {fraction: place for place, fraction in enumerate(group.fractions)}
    methods = runs.groupby(["fraction", "seed"])["label"].nunique()
    fraction, seed = max(methods.index, key=lambda place: (methods[place], -order[place[0]], -place[1]))
    chosen = runs[(runs["fraction"] == fraction) & (runs["seed"] == seed)].drop_duplicates("label")
    return chosen.set_index("label", drop=False).loc[[label for label in group.labels if label in set(chosen["label"])]]


def _file(results: Path, run: Any) -> Path:
    """The key of a record of data that has changed since has the data's behind it, which the file's name has too."""
    return predictions_file(results, run.key.partition("-")[0], run.data)


def _open(path: Path, damaged: list[str]) -> Kept | None:
    try:
        return Kept(path)
    except (ValueError, OSError) as error:
        damaged.append(str(error))
        return None


def _ranks(means: pd.Series) -> dict[str, str]:
    """``best``, ``median`` and ``worst`` to a case each, the higher the better; fewer where there are fewer cases."""
    order = means.dropna().round(SAME).sort_values(ascending=False, kind="stable").index.tolist()
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    found: dict[str, str] = {}
    for rank, place in places.items():
        if order and order[place] not in found.values():
            found[rank] = str(order[place])
    return found


# One case


def _seen(
    group: Group, case: str, ground: Kept | None, kept: Mapping[str, Kept], scores: pd.Series, damaged: list[str]
) -> list[Tile]:
    try:
        return _tiles(group, case, ground, kept, scores) if ground is not None else []
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:  # arrays of any kind and shape
        damaged.append(str(error))
        return []


def _tiles(group: Group, case: str, ground: Kept, kept: Mapping[str, Kept], scores: pd.Series) -> list[Tile]:
    image = ground.array("image", case)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    reference = ground.array("reference", case)
    spacing = tuple(float(value) for value in ground.array("spacing", case))
    predictions = {label: each.array("prediction", case) for label, each in kept.items()}
    if {each.shape for each in predictions.values()} != {reference.shape} or image.shape[:2] != reference.shape:
        raise ValueError(f"the pictures of {case} differ in size")
    colours, unseen = class_colours(group), {0, IGNORE} if group.metric.background else {IGNORE}
    shown = {"image": image, "reference": _painted(image, reference, colours, unseen)}
    for label, prediction in predictions.items():
        name = f"{label}: {headline(group)} {decimals(float(scores[label]))}"
        shown[name] = _painted(image, prediction, colours, unseen)
    if len(predictions) > 1:
        shown["disagreement"] = _disagreement(image, np.stack(list(predictions.values())))
    return [_tile(words, pixels, spacing) for words, pixels in shown.items()]


def _painted(image: Pixels, label: Pixels, colours: Colours, unseen: set[int]) -> Pixels:
    """The classes' colours over the image; classes that are ``unseen`` leave it as it is."""
    covered = ~np.isin(label, list(unseen)) & (label < len(colours))
    paint = colours[np.minimum(label, len(colours) - 1)]
    mixed = (1 - COVER) * image + COVER * paint
    return np.where(covered[..., None], mixed, image).round().astype(np.uint8)


def _disagreement(image: Pixels, labels: NDArray) -> Pixels:
    """How many methods differ from what most of them say, bright where many do, over a darkened image."""
    most = np.zeros(labels.shape[1:], int)
    for value in np.unique(labels):
        most = np.maximum(most, (labels == value).sum(axis=0))
    share = (len(labels) - most) / max(1, len(labels) - 1)
    heat = matplotlib.colormaps["viridis"](0.25 + 0.75 * share)[..., :3] * 255
    grey = image.mean(axis=-1, keepdims=True) * 0.5
    return np.where((share > 0)[..., None], heat, grey).round().astype(np.uint8)


def _tile(words: str, pixels: Pixels, spacing: Sequence[float]) -> Tile:
    """Pixels become square: the finer axis keeps its number of pixels."""
    rows, columns = pixels.shape[:2]
    finest = min(spacing)
    size = (_square(columns, spacing[1] / finest), _square(rows, spacing[0] / finest))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    if max(size) <= SMALL:
        picture.save(buffer, "png", optimize=True)
        return Tile(words, buffer.getvalue(), "png", size)
    picture.save(buffer, "jpeg", quality=88, subsampling=0)
    return Tile(words, buffer.getvalue(), "jpeg", size)


def _square(pixels: int, ratio: float) -> int:
    """A header that lies about its spacing must not blow a picture up."""
    return max(1, min(round(pixels * ratio), 2 * LONGEST))


# Colours


def class_colours(group: Group) -> Colours:
    """The data's own, which records of before did not hold of Cityscapes; else those of the figures, and for more than
    six classes viridis.

    A background is not painted.
    """
    names = list(group.facts["classes"])
    streets = dict(zip(CLASSES, STREET_COLOURS, strict=True)) if names == list(CLASSES) else {}
    known = group.palette or streets
    if known and not group.metric.background and set(names) <= known.keys():
        return np.array([known[name] for name in names], np.uint8)
    if len(names) <= len(COLOURS):
        found = [matplotlib.colors.to_rgb(colour) for colour in COLOURS[: len(names)]]
    else:
        spread = np.argsort(np.argsort([place * 0.618 % 1 for place in range(len(names))])) / (len(names) - 1)
        found = [tuple(each[:3]) for each in matplotlib.colormaps["viridis"](spread)]
    table = (255 * np.array(found)).round().astype(np.uint8)
    return np.concatenate([np.zeros((1, 3), np.uint8), table]) if group.metric.background else table


def _legend(group: Group) -> Drawing | None:
    """Which colour is which class."""
    names = list(group.facts["classes"])
    colours = class_colours(group)[-len(names) :] / 255
    if not names:
        return None
    columns = 4 if max(map(len, names)) <= 14 else 2
    with styled():
        figure = Figure(figsize=(WIDTH, 0.12 + 0.2 * -(-len(names) // columns)))
        patches = [Patch(color=colour, label=drawable(name)) for colour, name in zip(colours, names, strict=True)]
        figure.legend(handles=patches, loc="center", ncols=columns, handlelength=1.2)
        return drawing("classes", "Which colour is which class.", figure)
