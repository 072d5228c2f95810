"""Two folders of segmentations -> scores: the benchmark's own evaluator for masks from anywhere."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atso_bench.benchmark.machine import progress
from atso_bench.benchmark.reading.geometry import differences
from atso_bench.benchmark.reading.masks import ENDINGS, Mask, ending_of, read_mask
from atso_bench.benchmark.reading.user_files import check_name
from atso_bench.benchmark.scoring import evaluate_frames, metrics
from atso_bench.benchmark.scoring.headline import DICE, MIOU, Metric
from atso_bench.benchmark.scoring.scored_classes import Classes, found_classes, named_classes
from atso_bench.benchmark.store.files import atomic

_NO_TABLES = (*ENDINGS, ".json", ".raw", ".zraw")  # what is read here


@dataclass(frozen=True)
class Evaluation:
    """What two folders gave.

    Attributes:
        cases: case -> class -> scores, as `metrics.score_case` or `frame_scores.score_frame` gives them.
        summary: `metrics.summarise` or `frame_scores.summarise_frames` of ``cases``.
        output: the CSV that holds ``cases``.
        metric: what the scores are of.
        missing: cases that only one of the folders has; they are in no score.
        notes: what may be right but ought to be known before the scores are believed.
    """

    cases: dict[str, dict[str, metrics.Scores]]
    summary: dict[str, Any]
    output: Path
    metric: Metric
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def evaluate_folders(
    predictions: Path,
    references: Path,
    output: Path,
    *,
    allow_missing: bool = False,
    ignore_origin: bool = False,
    tolerance_mm: float = metrics.TOLERANCE_MM,
    shown: progress.Progress | None = None,
) -> Evaluation:
    """Score all segmentations of one folder against those of another, in their own geometry and spacing.

    Files pair by name without the ending (the case id). The classes are the ``labels`` of a ``dataset.json`` beside or
    above the references, or beside the predictions (nnU-Net's form, with regions or without, or the MSD's); without
    one, every value but 0 that occurs in any file is a class, ``class 1``, ``class 2`` ... A region is scored whole:
    its voxels are those of any of its labels, in both files.
    References that are named as Cityscapes names its label images are scored as frames (`evaluate_frames.score`).

    Args:
        predictions: folder of files with one of ``masks.ENDINGS``.
        references: folder of true segmentations.
        output: the CSV to write, a row for each case and class; undefined scores are left empty.
        allow_missing: leave out the cases that only one folder has; they are named in the result.
        ignore_origin: compare voxel by voxel, whatever origin and direction the headers of a pair say.
        tolerance_mm: of the normalised surface Dice.
        shown: where to show how far it is.

    Raises:
        ValueError: if ``output`` is a folder or what is read here, if a folder holds no segmentation or two of one
            case, if a case has no partner, if the geometry of a pair differs, or if a file is unreadable or holds
            what is no label.
    """
    _check_output(output)
    shown = shown or progress.silent()
    if frames := evaluate_frames.references_below(references):
        scores, left_out = evaluate_frames.score(predictions, frames, allow_missing=allow_missing, shown=shown)
        write_csv(output, scores.cases)
        doubts = evaluate_frames.doubts(scores, predictions, frames)
        return Evaluation(scores.cases, scores.summary(), output, MIOU, left_out, doubts)
    true, predicted = _files(references), _files(predictions)
    missing = _missing(predicted, true)
    both = sorted(predicted.keys() & true.keys())
    if not both or (missing and not allow_missing):
        hint = "; --allow-missing scores the others" if both else ""
        raise ValueError("cases without a counterpart: " + "; ".join(missing.values()) + hint)

    notes: list[str] = []
    classes = named_classes(predictions, references)
    if classes is None:
        classes, notes = found_classes([predicted[case] for case in both], [true[case] for case in both])
    cases, assumed = {}, set()
    with shown.phase("evaluation", len(both), "cases") as bar:
        for case in both:
            prediction, reference = read_mask(predicted[case]), read_mask(true[case])
            _check_geometry(case, prediction, reference, ignore_origin or classes.ignore_origin)
            cases[case] = _score(prediction, reference, classes, tolerance_mm)
            assumed |= {f"{mask.path}: {mask.note}" for mask in (prediction, reference) if mask.note}
            bar.advance()
    write_csv(output, cases)
    notes += [*_of_no_overlap(cases, bool(notes)), *_of_no_error(cases), *_few(sorted(assumed))]
    return Evaluation(cases, metrics.summarise(cases), output, DICE, tuple(missing), tuple(notes))


def _score(prediction: Mask, reference: Mask, classes: Classes, tolerance_mm: float) -> dict[str, metrics.Scores]:
    """The scores of one case by class; what overlaps is scored apart."""
    scores: dict[str, metrics.Scores] = {}
    for names in classes.layers:
        scores |= metrics.score_case(
            classes.labels(prediction, names, ignore=False),
            classes.labels(reference, names, ignore=True),
            ("background", *names),
            reference.spacing,
            ignore=classes.left_out,
            tolerance_mm=tolerance_mm,
        )
    return {name: scores[name] for name in classes.values}


def lines(evaluation: Evaluation) -> list[str]:
    """What to tell about an evaluation, line by line."""
    told = _frame_lines(evaluation) if evaluation.metric.pooled else _volume_lines(evaluation)
    if evaluation.missing:
        told.append(f"not scored, because one folder lacks them: {', '.join(evaluation.missing)}")
    told += [f"note: {note}" for note in evaluation.notes]
    return [*told, f"{len(evaluation.cases)} {evaluation.metric.cases} -> {evaluation.output}"]


def _volume_lines(evaluation: Evaluation) -> list[str]:
    told = []
    for metric, value in evaluation.summary["metrics"].items():
        defined = [one["n"] for one in value["classes"].values()]
        without = sum(len(evaluation.cases) - n for n in defined)
        note = f"  ({without} of {len(evaluation.cases) * len(defined)} undefined: empty masks)" if without else ""
        told.append(f"{metric:24} {_number(value['mean'])}{note}")
    return told


def _frame_lines(evaluation: Evaluation) -> list[str]:
    summary = evaluation.summary
    found = {name: summary["metrics"][name] for name in ("miou", "pixel_accuracy", "frame_miou")}
    absent = summary["absent"]
    told = [f"{'class':24} {'IoU':9} frames"]
    for name, one in found["miou"]["classes"].items():
        told.append(f"{name:24} {_number(one['mean']):9} {one['n']:6}{'  absent' if name in absent else ''}")
    told += [
        f"{'mIoU':24} {_number(found['miou']['mean']):9} {found['miou']['n']:6} classes that occur in the references",
        f"{'official mIoU':24} {_number(summary['official_miou']):9}        every class whose IoU is defined",
        f"{'pixel accuracy':24} {_number(found['pixel_accuracy']['mean'])}",
        f"{'mIoU by frame':24} {_number(found['frame_miou']['mean']):9} {found['frame_miou']['n']:6} frames",
    ]
    if absent:
        told.append(f"absent from the references, so left out of mIoU: {', '.join(absent)}")
    return told


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def write_csv(path: Path, cases: Mapping[str, Mapping[str, metrics.Scores]]) -> None:
    """A row for each case and class; NaN is left empty, and a name cannot be a formula."""
    rows = [
        {"case": harmless(case), "class": harmless(name), **{key: _cell(value) for key, value in scores.items()}}
        for case, by_class in cases.items()
        for name, scores in by_class.items()
    ]
    with atomic(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["case", "class"] if not rows else list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def harmless(name: str) -> str:
    """The name with ``'`` before it if a spreadsheet would take it for a formula; some read full-width signs so too."""
    return "'" + name if name.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")) else name


def _cell(value: float | int | str) -> float | int | str:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _check_output(output: Path) -> None:
    """Raise ValueError where the table cannot be written, or would take the place of what is read."""
    if check_name(output).is_dir():
        raise ValueError(f"{output} is a folder; name the CSV file to write")
    if output.exists() and output.name.lower().endswith(_NO_TABLES):
        raise ValueError(f"--output {output} exists and is not a table; name the CSV file to write")


def _files(folder: Path) -> dict[str, Path]:
    """The segmentations of a folder by case id."""
    if not check_name(folder).is_dir():
        raise ValueError(f"{folder} is not a folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not (ending := ending_of(path)):
            continue
        case = check_name(path).name[: -len(ending)]
        if case in files:
            raise ValueError(f"{folder} has two segmentations of {case!r}: {files[case].name} and {path.name}")
        files[case] = path
    if not files:
        raise ValueError(f"{folder} holds no segmentation ({', '.join(ENDINGS)}), nor frames as *_gtFine_labelIds.png")
    return files


def _missing(predicted: Mapping[str, Path], true: Mapping[str, Path]) -> dict[str, str]:
    without_prediction = {case: f"{case!r} has no prediction" for case in sorted(true.keys() - predicted.keys())}
    without_reference = {case: f"{case!r} has no reference" for case in sorted(predicted.keys() - true.keys())}
    return without_prediction | without_reference


def _check_geometry(case: str, prediction: Mask, reference: Mask, ignore_origin: bool) -> None:
    ignored = ("origin", "direction") if ignore_origin else ()
    names = "the prediction's", "the reference's"
    wrong = list(differences(_geometry(prediction), _geometry(reference), names, ignored))
    if wrong:
        placed = all(" origin " in one or " direction " in one for one in wrong)
        hint = "; --ignore-origin compares the voxels as they are stored" if placed else ""
        raise ValueError(f"{case!r}: {'; '.join(wrong)}{hint}")


def _geometry(mask: Mask) -> dict[str, Any]:
    """In ITK's order of axes."""
    size, spacing = mask.array.shape[::-1], mask.spacing[::-1]
    return {"size": size, "spacing": spacing, "origin": mask.origin, "direction": mask.direction}


def _of_no_overlap(cases: Mapping[str, Mapping[str, metrics.Scores]], known: bool) -> list[str]:
    """A note where not a single voxel of any class agrees, unless that is said already."""
    scores = [one for by_class in cases.values() for one in by_class.values()]
    both = any(one["empty"] == "" for one in scores)
    if known or not both or any(one["tp"] for one in scores):
        return []
    return ["no voxel of any class agrees in any case; are labels and axes the same on both sides?"]


def _of_no_error(cases: Mapping[str, Mapping[str, metrics.Scores]]) -> list[str]:
    """A note where every voxel agrees: of predictions that is rare."""
    scores = [one for by_class in cases.values() for one in by_class.values()]
    if any(one["fp"] or one["fn"] for one in scores):
        return []
    return ["predictions and references agree in every voxel; are the predictions copies of the references?"]


def _few(notes: list[str]) -> list[str]:
    more = [f"and {len(notes) - 3} more such files"] if len(notes) > 3 else []
    return [*notes[:3], *more]
