"""The figures: what stands where is read from matplotlib's own objects, before anything is rendered."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from records import CLASSES, case_scores, drawn, group, make, street, volumes, write
from seaborn.categorical import BoxPlotContainer

from atso_bench.benchmark.store.record import Phase, Record
from atso_bench.reports.certainty.evidence import evidence
from atso_bench.reports.data.frame import Group
from atso_bench.reports.figures import cases, rows
from atso_bench.reports.figures import cost as figures_cost
from atso_bench.reports.figures import label_efficiency as figures
from atso_bench.reports.figures import legend as figures_legend
from atso_bench.reports.figures import mimicking as figures_mimicking
from atso_bench.reports.figures.cases import by_case
from atso_bench.reports.figures.cost import cost, pareto, phases
from atso_bench.reports.figures.drawing import COLOURS, INK, WIDTH, Drawing, look, styled
from atso_bench.reports.figures.label_efficiency import label_efficiency
from atso_bench.reports.figures.mimicking import mimicking

Taken = list[Figure]
EVERY: tuple[Callable[[Group], Drawing | None], ...] = (
    lambda group: label_efficiency(group, evidence(group)),
    by_case,
    cost,
    phases,
    mimicking,
)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """The figures themselves, which nobody renders."""
    found: Taken = []

    def keep(name: str, alt: str, figure: Figure) -> Drawing:
        found.append(figure)
        return Drawing(name, alt, b"", b"")

    for module in (figures, cases, figures_cost, figures_mimicking):
        monkeypatch.setattr(module, "drawing", keep)
    return found


def relabelled(generation: int, subset: int, **rates: float | None) -> dict[str, Any]:
    phase = f"generation {generation}, subset {subset}" if generation else "M0"
    return {"phase": phase, "generation": generation, "subset": subset, "cases": 9, **rates}


def lines(figure: Figure, colour: str, panel: int = 0) -> list[list[tuple[float, float]]]:
    """The points of every line of a colour, in the order in which they were drawn."""
    found = [line for line in figure.axes[panel].lines if line.get_color() == colour]
    return [[(float(x), float(y)) for x, y in line.get_xydata()] for line in found]


def bars(figure: Figure, colour: str, panel: int = 0) -> list[tuple[float, float]]:
    """Low and high of every vertical bar of a colour."""
    found = [each for each in figure.axes[panel].collections if isinstance(each, LineCollection)]
    segments = [pair for each in found for pair in zip(each.get_segments(), cycle(each.get_color()), strict=False)]
    return [(float(low), float(high)) for ((_, low), (_, high)), own in segments if tuple(own[:3]) == rgb(colour)]


def dots(figure: Figure, colour: str) -> list[tuple[float, float]]:
    """The points of a colour in the first panel, rings left out."""
    found = [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    points = [pair for each in found for pair in zip(each.get_offsets(), cycle(each.get_facecolor()), strict=False)]
    return [(float(x), float(y)) for (x, y), own in points if tuple(own[:3]) == rgb(colour)]


def seen(axes: Axes) -> list[Line2D]:
    """Without those that only hold bars together."""
    return [line for line in axes.lines if line.get_linestyle() != "None"]


def boxes(figure: Figure) -> list[Any]:
    """The boxes of the first panel."""
    return [each for each in figure.axes[0].containers if isinstance(each, BoxPlotContainer)]


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


# Label efficiency


def test_bars_are_the_intervals_of_the_table_and_the_band_is_that_of_the_upper_bound(
    tmp_path: Path, taken: Taken
) -> None:
    write(tmp_path, *volumes(drawn(3, gain=0.1), "supervised", "100", labelled=40))
    write(tmp_path, *volumes(drawn(3), "supervised"), *volumes(drawn(3, gain=0.02, seed=1), "atso"))
    made = group(tmp_path)
    known = evidence(made)
    shown = label_efficiency(made, known)
    assert shown is not None
    assert "with its 95 % interval" in shown.alt
    (figure,) = taken
    for order, label in enumerate(made.labels):
        expected = [
            known.estimates[fraction, label] for fraction in made.fractions if (fraction, label) in known.estimates
        ]
        assert np.array(bars(figure, look(order)[0])) == pytest.approx(
            np.array([(each.low, each.high) for each in expected])
        )
    upper = known.estimates["100", "supervised"]
    (band,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((upper.low, upper.high))
    heights = [line[0][1] for line in lines(figure, INK)]
    assert heights == pytest.approx([upper.mean, 0.95 * upper.mean])


def test_where_each_method_reaches_95_percent_stands_below_the_scores(tmp_path: Path, taken: Taken) -> None:
    """Supervised passes the target between 4 and 16 cases; atso stays below it: an arrow at the end of the axis."""
    for fraction, labelled, gain in (("10", 4, -0.1), ("40", 16, 0.08), ("100", 40, 0.1)):
        write(tmp_path, *volumes(drawn(3, gain=gain), "supervised", fraction, labelled=labelled))
    for fraction, labelled in (("10", 4), ("40", 16)):
        write(tmp_path, *volumes(drawn(3, gain=-0.2, seed=1), "atso", fraction, labelled=labelled))
    made = group(tmp_path)
    known = evidence(made)
    label_efficiency(made, known)
    (figure,) = taken
    supervised, atso = lines(figure, COLOURS[0], 1), lines(figure, COLOURS[1], 1)
    assert supervised[1] == [(pytest.approx(known.needed["supervised"].cases), 0.0)]
    assert 4 < supervised[1][0][0] < 16
    right = figure.axes[1].get_xlim()[1]
    assert atso[-1] == [(pytest.approx(right), -1.0)]
    assert [line.get_marker() for line in figure.axes[1].lines if line.get_color() == COLOURS[1]][-1] == ">"


def test_an_interval_that_says_nothing_leaves_the_curve_visible_and_ends_in_arrows(
    tmp_path: Path, taken: Taken
) -> None:
    """Two seeds at 0.4 and 0.6: by Student's t the mean may be anything."""
    apart = np.stack([np.full(9, 0.4), np.full(9, 0.6)]) + np.linspace(-0.01, 0.01, 9)
    write(tmp_path, *volumes(apart, "atso"), *volumes(drawn(2, 9) - 0.2, "supervised"))
    made = group(tmp_path)
    known = evidence(made)
    assert known.estimates["10", "atso"].high > 1
    label_efficiency(made, known)
    low, high = taken[0].axes[0].get_ylim()
    assert 0.1 < low < 0.4 < 0.6 < high < 0.9
    arrows = [each for each in taken[0].axes[0].collections if len(each.get_offsets()) == 1 and not each.get_clip_on()]
    assert {float(each.get_offsets()[0][1]) for each in arrows} == {low, high}


def test_scores_on_v_and_a_single_case_have_no_bars(tmp_path: Path, taken: Taken) -> None:
    spec = {"validation": 10.0, "scored": "validation"}
    write(tmp_path / "v", *volumes(drawn(2), "atso", spec=spec), *volumes(drawn(2), "supervised", spec=spec))
    write(tmp_path / "one", *volumes(drawn(2, 1), "atso"), *volumes(drawn(2, 1), "supervised"))
    for name in ("v", "one"):
        made = group(tmp_path / name)
        shown = label_efficiency(made, evidence(made))
        assert shown is not None
        assert "interval" not in shown.alt
    assert [bars(figure, colour) for figure in taken for colour in COLOURS[:2]] == [[], [], [], []]


def test_more_methods_than_colours_have_a_panel_each_with_the_baseline_in_all(tmp_path: Path, taken: Taken) -> None:
    names = ["supervised", *(f"method-{place}" for place in range(7))]
    for place, name in enumerate(names):
        write(tmp_path, make(name, "10", score=0.5 + place / 100), make(name, "20", score=0.6 + place / 100))
    made = group(tmp_path)
    label_efficiency(made, evidence(made))
    panels = [axes for axes in taken[0].axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == names
    for axes in panels:
        assert [list(line.get_ydata()) for line in axes.lines if line.get_color() == INK] == [[0.5, 0.6]]


def test_nothing_is_drawn_without_a_score(tmp_path: Path) -> None:
    undefined = {name: {each: case_scores(None, None) for each in CLASSES} for name in ("t0", "t1")}
    write(tmp_path, *(make(name, score=None, cases=undefined, phases=[]) for name in ("atso", "supervised")))
    assert [draw(group(tmp_path)) for draw in EVERY] == [None] * 5


# Cases


def test_a_box_holds_the_cases_of_its_method_and_undefined_ones_are_left_out(tmp_path: Path, taken: Taken) -> None:
    scores = np.array([[0.2, 0.4, 0.6, 0.8], [0.4, 0.6, 0.8, 1.0]])
    missing = {**volumes(scores[:1], "supervised")[0].cases, "t03": {each: case_scores(None) for each in CLASSES}}
    write(tmp_path, *volumes(scores, "atso"), *volumes(scores[:1], "supervised", cases=missing))
    by_case(group(tmp_path))
    assert [x for x, _ in dots(taken[0], COLOURS[1])] == pytest.approx([0.3, 0.5, 0.7, 0.9])
    assert [x for x, _ in dots(taken[0], COLOURS[0])] == pytest.approx([0.2, 0.4, 0.6])


def test_with_very_many_cases_only_those_beyond_the_whiskers_are_dots(
    tmp_path: Path, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "MOST_DOTS", 9)
    scores = np.array([[0.1, 0.79, 0.8, 0.81, 0.82, 0.83, 0.8, 0.81, 0.82, 0.8]])
    write(tmp_path, *volumes(scores, "supervised"))
    by_case(group(tmp_path))
    (box,) = boxes(taken[0])
    assert [float(x) for each in box.fliers for x in each.get_xdata()] == pytest.approx([0.1])
    assert dots(taken[0], COLOURS[0]) == []


def test_without_a_case_beyond_the_whiskers_there_is_no_dot(
    tmp_path: Path, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "MOST_DOTS", 0)
    write(tmp_path, *volumes(np.array([[0.7, 0.72, 0.74, 0.76]]), "supervised"))
    by_case(group(tmp_path))
    assert not [x for box in boxes(taken[0]) for each in box.fliers for x in each.get_xdata()]
    assert dots(taken[0], COLOURS[0]) == []


def test_boxes_are_those_of_matplotlib(tmp_path: Path, taken: Taken) -> None:
    """Quartiles and whiskers against `matplotlib.cbook.boxplot_stats`, with outliers and an undefined case."""
    scores = np.array([[0.1, 0.62, 0.66, 0.7, 0.71, 0.73, 0.76, 0.8, 0.99]])
    missing = {**volumes(scores - 0.05, "atso")[0].cases, "t03": {each: case_scores(None) for each in CLASSES}}
    write(tmp_path, *volumes(scores, "supervised"), *volumes(scores, "atso", cases=missing))
    by_case(group(tmp_path))
    (made,) = boxes(taken[0])
    for colour, defined in zip(COLOURS, (scores[0], np.delete(scores[0], 3) - 0.05), strict=False):
        (known,) = boxplot_stats(defined)
        box, median, *whiskers = (
            sorted({float(x) for x in line.get_xdata()})
            for lines_of in (made.boxes, made.medians, made.whiskers)
            for line in lines_of
            if line.get_color() == colour
        )
        assert box == pytest.approx([known["q1"], known["q3"]])
        assert median == pytest.approx([known["med"]])
        assert whiskers == [
            pytest.approx([known["whislo"], known["q1"]]),
            pytest.approx([known["q3"], known["whishi"]]),
        ]


# Cost


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(1, 0.5), (2, 0.6), (3, 0.55)], [0, 1]),
        ([(2, 0.5), (1, 0.5)], [1]),
        ([(1, 0.5), (1, 0.6)], [1]),
        ([(1, 0.5), (1, 0.5), (2, 0.4)], [0, 1]),
        ([(math.nan, 0.9), (1, math.nan), (5, 0.1)], [2]),
        ([], []),
    ],
)
def test_the_front_is_what_no_other_beats(points: list[tuple[float, float]], front: list[int]) -> None:
    assert pareto(points) == front


def spending(method: str, train: float, score: float, **fields: Any) -> Record:
    spent = [Phase("M0", "train", train, reused=True), Phase("labels", "predict", 5.0), Phase("e", "evaluate", 999.0)]
    return make(method, score=score, phases=spent, **fields)


def test_cost_is_training_and_pseudo_labelling_and_shared_phases_count_in_full(tmp_path: Path, taken: Taken) -> None:
    write(tmp_path, spending("supervised", 20, 0.5), spending("slow", 60, 0.55))
    write(tmp_path, spending("atso", 30, 0.62), spending("atso", 50, 0.58, seed=1))
    shown = cost(group(tmp_path))
    assert shown is not None
    assert shown.alt.endswith("at 10 % (4 cases): supervised, atso.")
    (axes,) = taken[0].axes
    means = {float(x): float(y) for colour in COLOURS for x, y in dots(taken[0], colour)}
    assert means == pytest.approx({25: 0.5, 45: 0.6, 65: 0.55})
    assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize("longest", [300, 2_000, 90_000, 4_000_000])
def test_no_figure_shows_a_formula_at_its_ticks(longest: float, tmp_path: Path) -> None:
    """Seconds over one decade and over five: every axis that matplotlib would label as 10 to the power of something."""
    entries = [relabelled(1, 1, update_rate=0.1)]
    for fraction in ("1", "10", "100"):
        write(tmp_path, spending("supervised", 20, 0.5, fraction=fraction, pool=5000))
        write(tmp_path, spending("atso", longest, 0.6, fraction=fraction, pool=5000, diagnostics=entries))
    made = group(tmp_path)
    shown = {found.name: found.svg for draw in EVERY if (found := draw(made)) is not None}
    assert {"cost", "label-efficiency", "phases"} <= set(shown)
    assert [name for name, svg in shown.items() if b"mathdefault" in svg] == []


@pytest.mark.parametrize("longest", [161, 1_000, 40_000, 900_000])
def test_an_axis_of_powers_has_plain_numbers_that_do_not_touch(longest: float, tmp_path: Path, taken: Taken) -> None:
    write(tmp_path, spending("supervised", 15, 0.5), spending("atso", longest, 0.6))
    cost(group(tmp_path))
    (figure,) = taken
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    figure.canvas.draw()
    low, high = axes.get_xlim()
    ticks = [
        tick for tick in axes.get_xticklabels(which="both") if tick.get_text() and low <= tick.get_position()[0] <= high
    ]
    assert 2 <= len(ticks) <= 8
    assert [float(tick.get_text().replace(",", "")) for tick in ticks] == [tick.get_position()[0] for tick in ticks]
    boxes = [tick.get_window_extent() for tick in ticks]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_every_logarithmic_axis_of_a_report_is_made_in_one_place() -> None:
    code = {path.name: path.read_text(encoding="utf-8") for path in Path(figures.__file__).parent.glob("*.py")}
    made = [name for name, text in code.items() for _ in re.findall(r"set_[xy]scale\(|loglog\(|semilog[xy]\(", text)]
    assert made == ["drawing.py"]


def test_methods_meet_only_on_the_same_machine_and_at_the_same_label_fraction(tmp_path: Path, taken: Taken) -> None:
    here, there = {"environment": {"platform": "here"}}, {"environment": {"platform": "there"}}
    write(tmp_path / "apart", spending("supervised", 20, 0.5, **here), spending("atso", 30, 0.6, **there))
    write(tmp_path / "labels", spending("supervised", 20, 0.5), spending("atso", 30, 0.6, fraction="20"))
    assert cost(group(tmp_path / "apart")) is None
    assert cost(group(tmp_path / "labels")) is None
    both = [spending(method, 20, 0.5, seed=seed, **where) for method in ("supervised", "atso")
            for seed, where in enumerate((here, there))]  # fmt: skip
    shown = cost(group(write(tmp_path / "both", *both)))
    assert shown is not None
    assert "at 10 % (4 cases) on here: " in shown.alt
    assert [axes.get_title() for axes in taken[0].axes] == ["10 % (4 cases)\nhere", "10 % (4 cases)\nthere"]


def test_the_first_training_stands_apart_and_shared_parts_are_hatched(tmp_path: Path, taken: Taken) -> None:
    """10 s shared, 30 s, 5 s of pseudo labels, 2 s of evaluation; diagnostics cost nobody anything."""
    slower = [Phase("M0", "train", 20.0, reused=True), Phase("labels", "predict", 15.0)]
    write(tmp_path, make("atso"), make("atso", seed=1, phases=slower), make("supervised", phases=[]))
    phases(group(tmp_path))
    drawn_bars = [
        (path.get_extents().x0, path.get_extents().width, bool(each.get_hatch()))
        for each in taken[0].axes[0].collections
        for path in each.get_paths()
    ]
    assert drawn_bars == [(0, 15, True), (15, 15, False), (30, 10, False), (40, 1, False)]
    assert [tick.get_text() for tick in taken[0].axes[0].get_yticklabels()] == ["atso"]


# Lazy mimicking


def test_rates_are_means_over_subsets_and_then_over_seeds_with_a_bar_over_the_seeds(
    tmp_path: Path, taken: Taken
) -> None:
    for seed, rate in enumerate((0.1, 0.5)):
        first = relabelled(1, 1, update_rate=rate, agreement_inside=0.9, agreement_outside=0.7)
        second = relabelled(1, 2, update_rate=rate + 0.2, agreement_inside=0.9, agreement_outside=0.7)
        write(tmp_path, make("atso", seed=seed, diagnostics=[relabelled(0, 0, pseudo_dice=0.6), first, second]))
    write(tmp_path, make("supervised"))
    mimicking(group(tmp_path))
    (figure,) = taken
    quality, updates, agreement = figure.axes  # nothing was corrected or corrupted
    assert [list(line.get_ydata()) for line in seen(quality)] == [pytest.approx([0.6])]
    assert [list(line.get_ydata()) for line in seen(updates)] == [pytest.approx([0.4])]
    assert bars(figure, COLOURS[1], 1) == [pytest.approx((0.2, 0.6))]
    assert [(line.get_linestyle(), *line.get_ydata()) for line in seen(agreement)] == [
        ("-", pytest.approx(0.7)),
        ("--", pytest.approx(0.9)),
    ]


def test_only_the_lowest_fractions_are_shown_and_the_words_say_so(tmp_path: Path, taken: Taken) -> None:
    entries = [relabelled(generation, 1, update_rate=0.1) for generation in (1, 2)]
    write(tmp_path, *(make("atso", fraction, diagnostics=entries) for fraction in ("5", "10", "20", "40")))
    shown = mimicking(group(tmp_path))
    assert shown is not None
    assert "at the 3 lowest of 4 label fractions" in shown.alt
    assert [axes.get_title() for axes in taken[0].axes] == ["5 % (2 cases)", "10 % (4 cases)", "20 % (8 cases)"]


def test_there_is_no_picture_of_mimicking_without_generations(tmp_path: Path) -> None:
    entries = [{"phase": "co-training", "teacher": "a", "cases": 9, "update_rate": 0.1}]
    write(tmp_path, make("supervised"), make("atso", diagnostics=entries))
    assert mimicking(group(tmp_path)) is None


# All of them


@pytest.mark.parametrize("draw", EVERY, ids=["label-efficiency", "by-case", "cost", "phases", "mimicking"])
def test_a_figure_is_laid_out_once_and_keeps_its_bytes(
    draw: Callable[[Group], Drawing | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts: list[Figure] = []
    execute = ConstrainedLayoutEngine.execute
    monkeypatch.setattr(
        ConstrainedLayoutEngine, "execute", lambda engine, figure: (layouts.append(figure), execute(engine, figure))
    )
    entries = [relabelled(generation, 1, update_rate=0.1) for generation in (1, 2)]
    write(tmp_path, make("supervised"), make("atso", diagnostics=entries))
    made = group(tmp_path)
    assert draw(made) == draw(made)
    assert len(layouts) == 2


HOSTILE = ["<script>alert(1)</script>", "$x$ & -->", "m" * 200, "a\nb\x07", "$\\frac{", "\u202e"]


@pytest.mark.parametrize("draw", EVERY, ids=["label-efficiency", "by-case", "cost", "phases", "mimicking"])
def test_hostile_names_are_drawn_as_text(draw: Callable[[Group], Drawing | None], tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "cases": {name: {each: case_scores() for each in CLASSES} for name in HOSTILE},
        "diagnostics": [relabelled(generation, 1, update_rate=0.1, agreement_inside=0.9) for generation in (1, 2)],
    }
    for name in HOSTILE:
        options = {"options": {"name": name}, "spec": {"options": {"name": name}}}
        for seed, machine in enumerate(HOSTILE[:2]):
            write(tmp_path, make("atso", seed=seed, environment={"platform": machine}, **options, **fields))
    made = group(tmp_path)
    assert len(made.labels) == len(HOSTILE)
    shown = draw(made)
    assert shown is not None
    assert not [each for each in ElementTree.fromstring(shown.svg).iter() if each.tag.endswith("script")]


@pytest.mark.parametrize("length", [4, 14, 28, 40])
def test_a_legend_of_17_methods_fits_into_the_figure(length: int) -> None:
    labels = [f"{place:02}{'n' * (length - 2)}" for place in range(17)]
    with styled():
        handles = figures_legend.methods({label: place for place, label in enumerate(labels)}, labels)
        figure = Figure(figsize=(WIDTH, 3 + figures_legend.height(handles)), layout="constrained")
        axes = figure.add_subplot()
        figures_legend.above(figure, handles)
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
    assert legend.x1 <= figure.bbox.x1
    assert axes.get_window_extent().height / figure.dpi > 2.5


def test_many_rows_stand_in_columns_that_share_the_methods() -> None:
    labels = [f"method-{place}" for place in range(17)]
    with styled():
        _, panels = rows.rows([(["10 %"], labels), (["100 %"], labels[:8])], labels)
        _, stacked = rows.rows([(["10 %"], labels[:9]), (["100 %"], labels[:1])], labels)
    every = {label: -row for row, label in enumerate(labels)}
    assert [heights for _, heights in panels] == [every, every]
    assert panels[0][0].get_position().y0 == panels[1][0].get_position().y0
    assert [heights for _, heights in stacked] == [dict(list(every.items())[:9]), {"method-0": 0}]


def test_street_scenes_have_all_figures(tmp_path: Path, taken: Taken) -> None:
    """Road: mIoU of the frames 0.5 and, with car, (0.8 + 0.6) / 2."""
    entries = [relabelled(1, 1, pseudo_miou=0.4, update_rate=0.1)]
    write(tmp_path, street(diagnostics=entries), street("supervised"), street("supervised", seed=1))
    assert [shown.name for draw in EVERY if (shown := draw(group(tmp_path)))] == [
        "label-efficiency", "by-case", "cost", "phases", "mimicking"
    ]  # fmt: skip
    assert sorted(x for x, _ in dots(taken[1], COLOURS[0])) == pytest.approx([0.5, 0.7])
    assert taken[0].axes[0].get_ylabel() == "mIoU"
    assert taken[4].axes[0].get_ylabel() == "pseudo-label\nmIoU"
