"""Two folders of segmentations -> scores: the benchmark's own evaluator for masks from anywhere."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark import evaluate_frames, metrics, progress
from atso_bench.benchmark.record import atomic
from atso_bench.benchmark.voxels import blocks

if TYPE_CHECKING:
    import SimpleITK

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png")


@dataclass(frozen=True)
class Evaluation:
    """What two folders gave.

    Attributes:
        cases: case -> class -> scores, as `metrics.score_case` or `frame_scores.score_frame` gives them.
        summary: `metrics.summarise` or `frame_scores.summarise_frames` of ``cases``.
        output: the CSV that holds ``cases``.
        missing: cases that only one of the folders has; they are in no score.
        notes: what ought to be known before the scores are believed.
    """

    cases: dict[str, dict[str, metrics.Scores]]
    summary: dict[str, Any]
    output: Path
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Classes:
    """Values of the foreground classes by name, and the value to ignore; ``source`` says where they are from."""

    values: Mapping[str, int]
    ignore: int | None
    source: str

    @property
    def kind(self) -> type[np.integer]:
        """What labels are kept in: a byte if they fit."""
        return np.uint8 if len(self.values) < np.iinfo(np.uint8).max else np.int32

    @property
    def left_out(self) -> int:
        """The label of voxels that are ignored, which no class has."""
        return int(np.iinfo(self.kind).max)


def evaluate_folders(
    predictions: Path,
    references: Path,
    output: Path,
    *,
    allow_missing: bool = False,
    tolerance_mm: float = metrics.TOLERANCE_MM,
    shown: progress.Progress | None = None,
) -> Evaluation:
    """Score all segmentations of one folder against those of another, in their own geometry and spacing.

    Files pair by name without the ending (the case id). The classes are the ``labels`` of a ``dataset.json`` beside or
    above the references, or beside the predictions (nnU-Net's form or the MSD's); without one, every value but 0 that
    occurs in any file is a class, ``class 1``, ``class 2`` ...
    References that are named as Cityscapes names its label images are scored as frames (`evaluate_frames.score`).

    Args:
        predictions: folder of files that SimpleITK reads, with one of ``ENDINGS``.
        references: folder of true segmentations.
        output: the CSV to write, a row for each case and class; undefined scores are left empty.
        allow_missing: leave out the cases that only one folder has; they are named in the result.
        tolerance_mm: of the normalised surface Dice.
        shown: where to show how far it is.

    Raises:
        ValueError: if ``output`` is a folder, if a folder holds no segmentation or two of one case, if a case has no
            partner, if the geometry of a pair differs, or if a file is unreadable or holds what is not a label.
    """
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name the CSV file to write")
    shown = shown or progress.silent()
    if frames := evaluate_frames.references_below(references):
        scores, left_out = evaluate_frames.score(predictions, frames, allow_missing=allow_missing, shown=shown)
        write_csv(output, scores.cases)
        notes = evaluate_frames.doubts(scores, predictions, frames)
        return Evaluation(scores.cases, scores.summary(), output, left_out, notes)
    true, predicted = _files(references), _files(predictions)
    missing = _missing(predicted, true)
    both = sorted(predicted.keys() & true.keys())
    if not both or (missing and not allow_missing):
        hint = "; --allow-missing scores the others" if both else ""
        raise ValueError("cases without a partner: " + "; ".join(missing.values()) + hint)

    classes = _classes(predictions, references) or _found([files[case] for case in both for files in (predicted, true)])
    cases = {}
    with shown.phase("evaluation", len(both), "cases") as bar:
        for case in both:
            prediction, reference = _read(predicted[case]), _read(true[case])
            _check_geometry(case, prediction, reference)
            cases[case] = metrics.score_case(
                _labels(predicted[case], prediction, classes, ignore=False),
                _labels(true[case], reference, classes, ignore=True),
                ("background", *classes.values),
                reference.GetSpacing()[::-1],  # SimpleITK's axes are the array's backwards
                ignore=classes.left_out,
                tolerance_mm=tolerance_mm,
            )
            bar.advance()
    write_csv(output, cases)
    return Evaluation(cases, metrics.summarise(cases), output, tuple(missing))


def lines(evaluation: Evaluation) -> list[str]:
    """What to tell about an evaluation, line by line."""
    told = _frame_lines(evaluation) if "miou" in evaluation.summary["metrics"] else _volume_lines(evaluation)
    if evaluation.missing:
        told.append(f"not scored, as one of the folders lacks them: {', '.join(evaluation.missing)}")
    kind = "frames" if "miou" in evaluation.summary["metrics"] else "cases"
    told += [f"note: {note}" for note in evaluation.notes]
    return [*told, f"{len(evaluation.cases)} {kind} -> {evaluation.output}"]


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


def _files(folder: Path) -> dict[str, Path]:
    """The segmentations of a folder by case id."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending is None or path.name.startswith("."):
            continue
        case = path.name.removesuffix(ending)
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


def _read(path: Path) -> SimpleITK.Image:
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise ValueError(f"{path} is not readable: {str(error).strip().splitlines()[-1]}") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{path} has {image.GetNumberOfComponentsPerPixel()} values a voxel; a segmentation has one")
    return image


def _blocks(path: Path, image: SimpleITK.Image) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """The integer labels ``(*spatial)`` of a segmentation, some planes at a time, and where they are."""
    import SimpleITK

    array = SimpleITK.GetArrayViewFromImage(image)
    for block in blocks(array.shape):
        labels = array[block].astype(np.int64)
        if array.dtype.kind == "f" and not np.array_equal(labels, array[block]):
            raise ValueError(f"{path} holds values that are no integers; a segmentation holds class indices")
        yield block, labels


def _labels(path: Path, image: SimpleITK.Image, classes: Classes, *, ignore: bool) -> NDArray:
    """Labels 0, 1 .. K in the order of ``classes``, and ``classes.left_out`` where the value says so."""
    new = {0: 0, **{value: index for index, value in enumerate(classes.values.values(), 1)}}
    if ignore and classes.ignore is not None:
        new[classes.ignore] = classes.left_out
    result = np.zeros(image.GetSize()[::-1], classes.kind)
    unknown: set[int] = set()
    for block, labels in _blocks(path, image):
        found, places = _distinct(labels)
        unknown |= set(found) - set(new)
        result[block] = np.array([new.get(value, 0) for value in found], classes.kind)[places]
    if unknown:
        named = f"{sorted(unknown)[:5]}, which are no labels of {classes.source}: {dict(classes.values)}"
        raise ValueError(f"{path} holds {named}")
    return result


def _distinct(labels: NDArray[np.int64]) -> tuple[list[int], NDArray]:
    """The values that occur, and for each element the place of its value among them."""
    low, high = int(labels.min()), int(labels.max())
    if high - low >= 1 << 16:
        found, inverse = np.unique(labels, return_inverse=True)
        return found.tolist(), inverse.reshape(labels.shape)
    shifted = labels - low  # counted, not sorted
    occurs = np.bincount(shifted.ravel()) > 0
    return (np.flatnonzero(occurs) + low).tolist(), (np.cumsum(occurs) - 1)[shifted]


def _check_geometry(case: str, prediction: SimpleITK.Image, reference: SimpleITK.Image) -> None:
    for what in ("Size", "Spacing", "Origin", "Direction"):
        mine, its = (getattr(image, f"Get{what}")() for image in (prediction, reference))
        slack = 0 if what == "Size" else 1e-3  # mm, or parts of a direction: NIfTI stores 32-bit floats
        if len(mine) != len(its) or not np.allclose(mine, its, rtol=slack / 10, atol=slack):
            mine, its = (" ".join(f"{value:.6g}" for value in values) for values in (mine, its))
            raise ValueError(f"{case!r}: the prediction's {what.lower()} is {mine}, the reference's {its}")


def _classes(predictions: Path, references: Path) -> Classes | None:
    """The classes that a ``dataset.json`` names; None without one."""
    for folder in (references, references.resolve().parent, predictions):
        path = folder / "dataset.json"
        if not path.is_file():
            continue
        try:
            labels = json.loads(path.read_text(encoding="utf-8")).get("labels", {})
            if all(key.isdecimal() for key in labels):  # the MSD's form: value -> name
                labels = {name: value for value, name in labels.items()}
            values = {name: int(value) for name, value in labels.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            wanted = "one integer for each class name (nnU-Net's regions are not supported)"
            raise ValueError(f"the labels of {path} must be {wanted}: {error}") from error
        ignore = values.pop("ignore", None)
        foreground = {name: value for name, value in values.items() if value != 0}
        if len({0, ignore, *foreground.values()}) < len(foreground) + 2:
            raise ValueError(f"{path} must give every class its own value, but its labels are {labels}")
        if foreground:
            return Classes(foreground, ignore, str(path))
    return None


def _found(paths: list[Path]) -> Classes:
    """Every value but 0 that occurs in a file is a class."""
    found: set[int] = set()
    for path in paths:
        for _, labels in _blocks(path, _read(path)):
            found |= set(_distinct(labels)[0])
    values = sorted(found - {0})
    if not values:
        raise ValueError("no file holds a label other than 0, and no dataset.json names the classes")
    return Classes({f"class {value}": value for value in values}, None, "the files")
