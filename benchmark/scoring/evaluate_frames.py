"""Folders of Cityscapes label images -> scores, paired and converted as cityscapesscripts does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.machine import progress
from atso_bench.benchmark.reading.below import files_below
from atso_bench.benchmark.reading.user_files import file_trouble, legible
from atso_bench.benchmark.scoring.frame_scores import FrameScores
from atso_bench.benchmark.scoring.label_tables import CLASSES, FRAME, KINDS, TRAIN_IDS, UNKNOWN, expected, train_ids
from atso_bench.benchmark.scoring.metrics import IGNORE

_MODES = ("1", "L", "P", "I", "I;16")  # of PIL: one channel of integers; a palette is only how they are shown
_NAMED = 10  # frames without a counterpart in a message
_ODD = 0.1
"""Pixel accuracy below which predictions are more likely to be read wrongly than to be so bad."""


def references_below(folder: Path) -> dict[str, Path]:
    """Cityscapes' true label images anywhere below the folder, by frame; empty if there is none."""
    files: dict[str, Path] = {}
    for path in files_below(folder):
        ending = next((ending for ending in KINDS if path.name.endswith(ending)), None)
        if ending is None or path.name.startswith("."):
            continue
        frame = path.name.removesuffix(ending)
        if not FRAME.fullmatch(frame):
            raise ValueError(f"{path} must be named <city>_<sequence>_<frame>{ending}")
        other = files.setdefault(frame, path)
        if path.name == other.name and path != other:
            raise ValueError(f"frame {frame!r} has two references, {other} and {path}; keep one of them")
        if ending == KINDS[0]:
            files[frame] = path
    return files


def score(
    predictions: Path, true: Mapping[str, Path], *, allow_missing: bool, shown: progress.Progress
) -> tuple[FrameScores, tuple[str, ...]]:
    """Score the predictions below a folder against the true label images.

    Args:
        predictions: folder that holds one ``<frame>*.png`` for each frame, anywhere below it: label ids, as one submits
            them to Cityscapes, or train ids if the name ends in ``labelTrainIds.png``.
        true: what `references_below` found.
        allow_missing: leave out the frames that only one side has.
        shown: where to show how far it is.

    Returns:
        The scores, and the frames that were left out.

    Raises:
        ValueError: if a frame has no or two predictions, or a prediction no reference; if the sizes of a pair differ;
            if a file is unreadable, or holds colours or what is no label.
    """
    predicted = _predictions(predictions)
    without = {frame: f"{frame!r} has no prediction" for frame in sorted(true.keys() - predicted.keys())}
    without |= {frame: f"{frame!r} has no reference" for frame in sorted(predicted.keys() - true.keys())}
    both = sorted(predicted.keys() & true.keys())
    if not both or (without and not allow_missing):
        named = "; ".join(list(without.values())[:_NAMED])
        more = f"; and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        hint = "; --allow-missing scores the others" if both else ""
        wanted = f"; a prediction is named <frame>*.png and lies below {predictions}"
        raise ValueError(f"frames without a counterpart: {named}{more}{wanted}{hint}")
    if twice := [frame for frame in both if len(predicted[frame]) > 1]:
        files = ", ".join(map(str, predicted[twice[0]]))
        raise ValueError(f"frame {twice[0]!r} has {len(predicted[twice[0]])} predictions, {files}; keep one of them")

    scores = FrameScores(CLASSES)
    with shown.phase("evaluation", len(both), "frames") as bar:
        for frame in both:
            prediction, reference = read_labels(predicted[frame][0]), read_labels(true[frame])
            if prediction.shape != reference.shape:
                mine, its = ("{1} x {0}".format(*labels.shape) for labels in (prediction, reference))
                hint = "bring it back to the size of the frame, without interpolating between ids"
                raise ValueError(f"{predicted[frame][0]} is {mine} pixels, the reference {its}; {hint}")
            scores.count(frame, prediction, reference)
            bar.advance()
    return scores, tuple(without)


def doubts(scores: FrameScores, predictions: Path, true: Mapping[str, Path]) -> tuple[str, ...]:
    """What may be wrong with predictions that hardly any pixel agrees with; a look at the first few of them.

    Args:
        scores: what `score` gave.
        predictions: the folder that it was given.
        true: the label images that it was given.
    """
    accuracy = scores.summary()["metrics"]["pixel_accuracy"]["mean"]
    if not accuracy < _ODD:
        return ()
    told = f"only {100 * accuracy:.3g} % of the pixels agree"
    predicted = _predictions(predictions)
    pairs = [(predicted[frame][0], true[frame]) for frame in [*scores.cases][:_NAMED]]
    if all(_are_train_ids(*pair) for pair in pairs if not pair[0].name.endswith(TRAIN_IDS)) and pairs:
        return (f"{told}: the predictions look like train ids; name them *{TRAIN_IDS}, or write label ids",)
    return (f"{told}: are these the predictions of these frames, in Cityscapes' label ids?",)


def _are_train_ids(prediction: Path, reference: Path) -> bool:
    """Whether the values, taken for train ids, agree with most pixels of a class."""
    from PIL import Image

    with Image.open(prediction) as image:
        values = np.asarray(image)
    labels = read_labels(reference)
    judged = labels != IGNORE
    return bool(judged.any() and (values == labels)[judged].mean() > 0.5)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Train ids ``(H, W)`` of a label image, ``metrics.IGNORE`` for every label that is not evaluated."""
    from PIL import Image

    if trouble := file_trouble(path):
        raise ValueError(f"{legible(path)} is not readable: {trouble}")
    try:
        with Image.open(path) as image:
            mode, array = image.mode, _stored(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not readable: {error}; write or copy it again") from error
    if mode not in _MODES:
        raise ValueError(f"{path} has pixels of kind {mode}; a label image has one channel, which holds the ids")
    ids = np.where((array >= 0) & (array < 256), array, 0).astype(np.uint8)
    labels = train_ids(path.name)[ids]
    wrong = (labels == UNKNOWN) | (array != ids)
    if wrong.any():
        found = np.unique(array[wrong])[:5].tolist()
        raise ValueError(f"{path} holds {found}, not in cityscapesscripts' table: {expected(path.name)}")
    return labels.astype(np.uint8)


def _stored(image: Any) -> NDArray:
    """The pixels as they are stored: Pillow stretches those of 2 and 4 bits, which tools that shrink files write."""
    stretched = {"L;2": 85, "L;4": 17}.get(str(image.tile[0].args) if image.tile else "", 1)
    return np.asarray(image).astype(np.int32) // stretched


def _predictions(folder: Path) -> dict[str, list[Path]]:
    """PNG files anywhere below the folder, by the frame that their name begins with."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files: dict[str, list[Path]] = {}
    for path in files_below(folder):
        if path.suffix == ".png" and (found := FRAME.match(path.name)):
            files.setdefault(found[0], []).append(path)
    return files
