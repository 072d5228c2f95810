"""Records that no run made, and what reports make of them."""

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Phase, Record, write_failure
from atso_bench.reports.build import Chapter, build, story, titles
from atso_bench.reports.certainty.evidence import evidence
from atso_bench.reports.certainty.headroom import compared, shorter
from atso_bench.reports.data.frame import Group, read
from atso_bench.reports.pages.comparison import Art, comparison
from atso_bench.reports.pages.folder import Files
from atso_bench.reports.pages.page import Section, Table, to_html

GIB = 2**30


CLASSES = ["organ", "lesion"]


def case_scores(dice: float | None = 0.8, hd95: float | None = 4.0, empty: str = "", **other: Any) -> dict[str, Any]:
    """One case and class; ``None`` is undefined."""
    overlaps = {"dice": dice, "iou": dice, "precision": dice, "recall": dice}
    surfaces = {"hd95_mm": hd95, "assd_mm": hd95, "nsd": dice}
    volumes = {"volume_prediction_ml": 1.5, "volume_reference_ml": 2.0}
    return {"tp": 8, "fp": 2, "fn": 2, **overlaps, **surfaces, **volumes, "empty": empty, **other}


def make(
    method: str = "atso",
    fraction: str = "10",
    seed: int = 0,
    score: float | None = 0.5,
    *,
    steps: int = 1200,
    labelled: int | None = None,
    pool: int = 40,
    spec: dict[str, Any] | None = None,
    **fields: Any,
) -> Record:
    """A record of a run that never was."""
    labelled = labelled if labelled is not None else round(pool * float(fraction) / 100)
    ids = [f"case{index:02}" for index in range(pool)]
    split = {"labelled": ids[:labelled], "unlabelled": ids[labelled:], "validation": [], "test": ["t0", "t1"]}
    values: dict[str, Any] = {
        "track": "medical",
        "metric": "dice",
        "score": score,
        "classes": CLASSES,
        "cases": {name: {each: case_scores() for each in CLASSES} for name in split["test"]},
        "summary": {},
        "metrics_version": 1,
        "split": {**split, "hash": f"split-{fraction}-{seed}"},
        "pool_size": pool,
        "data": "data0",
        "phases": [
            Phase("M0", "train", 10.0, steps=600, samples=1200, process_bytes=GIB, device_bytes=3 * GIB, reused=True),
            Phase("generation 1, subset 1", "train", 30.0, steps=600, samples=1200, process_bytes=2 * GIB),
            Phase("pseudo", "predict", 5.0, samples=36, process_bytes=GIB),
            Phase("last labels", "diagnose", 7.0, samples=9, process_bytes=GIB),
            Phase("evaluation", "evaluate", 2.0, samples=2, process_bytes=GIB),
        ],
        "spent_steps": steps,
        "teacher_patches": 36,
        "recipe": {"patch": [64, 64], "batch": 4, "lr": 0.01},
        "options": {"subsets": 2} if method == "atso" else {},
        "environment": {"python": "3.11.7", "versions": {"torch": "2.10.0"}, "platform": "Linux", "commit": "c0ffee",
                        "command": ["atso-bench", "run", "--method", method]},
    }  # fmt: skip
    named = {"dataset": "phantom", "budget": Budget(str(steps), steps), **(spec or {})}
    return Record(spec=RunSpec(method=method, fraction=fraction, seed=seed, **named), **{**values, **fields})


def single(
    method: str = "atso", fraction: str = "10", seed: int = 0, score: float = 0.8, split: Any = None, **fields: Any
) -> Record:
    """A record of one test case with one class; ``split`` changes parts of the split."""
    scores = {"tp": 8, "fp": 2, "fn": 2, "dice": score, "iou": 0.5, "hd95_mm": None}
    own: dict[str, Any] = {
        "classes": ["organ"],
        "cases": {"t0": {"organ": scores}},
        "phases": [Phase("M0", "train", 10.0, steps=600), Phase("evaluation", "evaluate", 2.0)],
        "teacher_patches": 0,
        "recipe": {"patch": [64, 64], "lr": 0.01},
    }
    made = make(method, fraction, seed, score, steps=600, **{**own, **fields})
    return replace(made, split={**made.split, "test": ["t0"], **(split or {})})


def write(results: Path, *records: Record) -> Path:
    for record in records:
        record.write(results)
    return results


def report(results: Path) -> tuple[str, str]:
    """The page and the Markdown."""
    page = build(results)
    assert page == results / "report" / "index.html"
    return page.read_text(encoding="utf-8"), (page.parent / "report.md").read_text(encoding="utf-8")


def without_script(page: str) -> str:
    """The page without the one script that is its own; a second one would stay."""
    start, end = page.index('<script>"use strict"'), page.index("</script>")
    return page[:start] + page[end + len("</script>") :]


def without_folds(text: str) -> str:
    """Markdown without what folds a long table, which is all the HTML that it may hold."""
    return re.sub(r"</?(details|summary)>", "", text)


def drawn_blank(results: Path) -> str:
    """The page without its figures, which take most of the time."""
    frames = read(results)
    groups = frames.groups()
    return to_html("title", story(frames, groups, blank(groups)))


def blank(groups: list[Group]) -> list[Chapter]:
    """Every comparison without its figures."""
    found, groups = groups, compared(groups)
    known = [evidence(group, shorter(group, found)) for group in groups]
    anchors = [f"comparison-{place}" for place in range(1, len(groups) + 1)]
    sections = map(comparison, groups, known, titles(groups), anchors, [Art()] * len(groups))
    return [Chapter(each, section, Files()) for each, section in zip(known, sections, strict=True)]


def rows(results: Path) -> list[dict[str, str]]:
    build(results)
    with (results / "report" / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def group(results: Path) -> Group:
    (only,) = read(results).groups()
    return only


def texts(table: Table) -> list[list[str]]:
    return [[" ".join(filter(None, [cell.text, cell.note])) for cell in row] for row in table.rows]


ALERT = "<script>alert(1)</script>"


def hostile_folder(results: Path) -> Path:
    """A record whose free words are markup and formulas, and a file that somebody sent with such a method's name."""
    cases = {name: {each: case_scores() for each in (ALERT, "=cmd()")} for name in (ALERT, "=cmd()")}
    odd = "a|b*c*<img src=x onerror=alert(1)>$x$\x07"
    record = make(
        spec={"options": {"name": odd}},
        cases=cases,
        classes=[ALERT, "=cmd()"],
        warnings=[f"{ALERT}\n# heading\n| a | [x](javascript:alert(1)) |"],
        environment={"command": [ALERT], "versions": {ALERT: ALERT}, "platform": ALERT, "commit": ALERT},
        diagnostics=[{"phase": ALERT, "teacher": ALERT, "agreement": {ALERT: 0.5, "=cmd()": 0.5}}],
        options={"name": odd},
        recipe={ALERT: ALERT},
        data=ALERT,
    )
    path = record.write(results)
    sent = path.read_text(encoding="utf-8").replace('"method": "atso"', f'"method": "{ALERT}"')
    path.with_name(f"{path.stem}<b>.json").write_text(sent, encoding="utf-8")
    write_failure(results, record.spec, ALERT, RuntimeError(f"{ALERT} | {odd}"))
    return results


STREET = ["road", "car", "train"]


def counted(tp: int, fp: int, fn: int) -> dict[str, Any]:
    """One frame and class, as a record of the natural track holds it."""
    ratios = {"dice": (2 * tp, fp + fn + 2 * tp), "iou": (tp, tp + fp + fn), "precision": (tp, tp + fp)}
    ratios["recall"] = (tp, tp + fn)
    found = {name: part / whole if whole else None for name, (part, whole) in ratios.items()}
    empty = {(True, True): "both", (True, False): "prediction", (False, True): "reference"}
    return {"tp": tp, "fp": fp, "fn": fn, **found, "empty": empty.get((tp + fp == 0, tp + fn == 0), "")}


def frames(*each: tuple[tuple[int, int, int], ...]) -> dict[str, Any]:
    """Frames of ``STREET``, by class the counts tp, fp and fn."""
    ids = (f"jena_{index:06}_000019" for index in range(len(each)))
    scored = (dict(zip(STREET, (counted(*counts) for counts in frame), strict=True)) for frame in each)
    return dict(zip(ids, scored, strict=True))


# Road: 1, 0, 1 and 8, 2, 0, so 9 / 12; car: in the second frame alone, 6 / 10; train: predicted once, never there
FRAMES = frames(((1, 0, 1), (0, 0, 0), (0, 1, 0)), ((8, 2, 0), (6, 2, 2), (0, 0, 0)))


def street(method: str = "atso", fraction: str = "10", seed: int = 0, score: float = 0.675, **fields: Any) -> Record:
    """A record of a run on street scenes that never was."""
    means = {"miou": score, "pixel_accuracy": 0.9, "frame_miou": 0.6} | fields.pop("means", {})
    metrics = {name: {"mean": mean, "n": 2, "classes": {}} for name, mean in means.items()}
    summary = {"metrics": metrics, "absent": ["train"], "official_miou": fields.pop("official", score)}
    spec = {"dataset": "cityscapes", "configuration": "unimatch-801", **fields.pop("spec", {})}
    values = {"track": "natural", "metric": "miou", "classes": STREET, "cases": FRAMES, "summary": summary}
    values["recipe"] = {"patch": [801, 801], "clip": None, "evaluation": "whole image", **fields.pop("recipe", {})}
    return make(method, fraction, seed, score, spec=spec, **{**values, **fields})


def told(results: Path) -> list[Section]:
    found = read(results)
    groups = found.groups()
    return story(found, groups, blank(groups))


def section(results: Path, title: str) -> Section:
    sections = told(results)
    (only,) = [each for part in sections for each in (part, *part.sections) if each.title == title]
    return only


def volumes(scores: np.ndarray, method: str, fraction: str = "10", seeds: Any = (), **fields: Any) -> list[Record]:
    """A record per row of ``(seeds, cases)``; a case's classes lie 0.02 to either side of its score."""
    records = []
    for seed, row in zip(seeds or range(len(scores)), scores.tolist(), strict=True):
        names = [f"t{place:02}" for place in range(len(row))]
        cases = {name: {CLASSES[0]: case_scores(each - 0.02), CLASSES[1]: case_scores(each + 0.02)}
                 for name, each in zip(names, row, strict=True)}  # fmt: skip
        split = {**make(fraction=fraction, seed=seed).split, "test": names}
        values = {"score": float(np.mean(row)), "cases": cases, "split": split, **fields}
        records.append(make(method, fraction, seed, **values))
    return records


def drawn(seeds: int = 5, cases: int = 30, gain: float = 0.0, seed: int = 0, hard: int = 0) -> np.ndarray:
    """``(seeds, cases)`` around 0.7 with hard cases in common, and little noise of their own."""
    rng, shared = np.random.default_rng([7, seed]), np.random.default_rng(hard)
    return 0.7 + gain + shared.normal(0, 0.05, cases) + rng.normal(0, 0.005, (seeds, cases))


# Road: 1, 0, 1 and 8, 2, 0, so 9 / 12; car: in the second frame alone, 6 / 10; train: predicted once, never there
FRAMES = frames(((1, 0, 1), (0, 0, 0), (0, 1, 0)), ((8, 2, 0), (6, 2, 2), (0, 0, 0)))


def short(results: Path) -> Section:
    found = read(results)
    groups = found.groups()
    first = story(found, groups, blank(groups))[0]
    assert first.title == "In short"
    return first
