"""Finds everything that is wrong with a raw dataset, reading each case once."""

from __future__ import annotations

import contextlib
import io
from functools import partial
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark.reading.image_files import file_problem
from atso_bench.datasets._shared.near import near_copies
from atso_bench.datasets._shared.storage import quiet
from atso_bench.datasets._shared.twins import divisible, twins
from atso_bench.datasets._volumes.examine import Look, case_notes, examine, label_notes
from atso_bench.datasets._volumes.raw import RawDataset

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say


def check_cases(raw: RawDataset, say: Say | None = None) -> tuple[dict[str, Look], list[str]]:
    """Read every case once.

    Returns:
        What each case showed, and what ought to be known of them all.

    Raises:
        ValueError: naming every bad case, what is wrong with it and what to do.
    """
    from atso_bench.datasets._shared.each import each
    from atso_bench.datasets._volumes.prepare import size_of

    problems = raw.listing_problems()
    cases = list(raw.cases.values())
    looks: dict[str, Look] = {}
    if cases:
        values = [*range(len(raw.classes)), *([] if raw.ignore is None else [raw.ignore])]
        look = partial(
            examine,
            channels=len(raw.json["channel_names"]),
            labels=values,
            reader=_reader(raw),
            ignore_origin=raw.json.get("ignore_origin", False),
        )
        looks = dict(zip(raw.cases, each(look, cases, size_of(cases), "check", say), strict=True))
    problems += [f"{name}: {problem}" for name, result in looks.items() for problem in result.problems]
    wrong, notes = _together(raw, {name: look for name, look in looks.items() if not look.problems})
    problems += wrong
    if problems:
        listed = "\n  ".join(map(_shown, problems))
        raise ValueError(f"{raw.folder} has {len(problems)} problem(s):\n  {listed}")
    return looks, notes


def _together(raw: RawDataset, looks: dict[str, Look]) -> tuple[list[str], list[str]]:
    """What the sound cases show beside each other: problems, and notes."""
    labelled = {name: look for name, look in looks.items() if raw.cases[name].label is not None}
    try:
        pool, test = raw.pool, raw.test
    except ValueError as error:  # too few cases for a test set
        return [str(error)], []
    inner = range(1, len(raw.classes))
    if labelled and not any(value in inner for name in pool if name in looks for value in looks[name].values):
        return [f"none of the {len(pool)} training masks has foreground; are they the right files?"], []
    places = {**dict.fromkeys(pool, "pool"), **dict.fromkeys(test, "test")}
    content = {name: look.content for name, look in looks.items()}

    def part(name: str) -> str:
        return places.get(name, "unlabelled")

    remedy = "remove all but one, or give them the same patient in patients.json"
    problems, notes = twins(content, part, raw.group, remedy)
    first = {image: name for name, image in reversed(content.items())}  # of identical ones `twins` tells
    notes += near_copies({name: looks[name].small for name in first.values()}, divisible(part, raw.group))
    return problems, [*notes, *label_notes(labelled, raw.classes), *case_notes(looks)]


def _reader(raw: RawDataset) -> Any:
    """nnU-Net's reader for these files."""
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    images = next(iter(raw.cases.values())).images[:1]
    example = next((str(path) for path in images if path.is_file() and not file_problem(path)), None)
    try:
        # nnU-Net prints a traceback for a file that it cannot read
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            return determine_reader_writer_from_dataset_json(raw.json, example, verbose=False)()
    except RuntimeError:
        return _by_ending(raw)


def _by_ending(raw: RawDataset) -> Any:
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    try:
        with quiet():
            return determine_reader_writer_from_dataset_json(raw.json, None, verbose=False)()
    except RuntimeError as error:
        ending = raw.json["file_ending"]
        raise ValueError(f"{raw.folder / 'dataset.json'}: nnU-Net has no reader for file_ending {ending!r}") from error


def _shown(line: str) -> str:
    """A line that stays one: names may hold anything until they are refused."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
