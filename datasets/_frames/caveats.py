"""What a reader must know about the street scenes behind a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atso_bench.benchmark.reading.listed import few
from atso_bench.benchmark.scoring.label_tables import CLASSES, TRAIN_IDS

SIZE = (1024, 2048)
"""Height and width of an official frame, pixels."""


def caveats(frames: Mapping[str, Mapping[str, Any]], release: Mapping[str, int] | None) -> tuple[str, ...]:
    """One sentence for each thing.

    Args:
        frames: frame -> facts, as ``write_frame`` gives them.
        release: frames by part of the official release; None if there is none to compare with.
    """
    return (*_not_official(frames, release or {}), *_shared(frames), *empty(frames))


def _not_official(frames: Mapping[str, Mapping[str, Any]], release: Mapping[str, int]) -> Iterator[str]:
    counts = {part: sum(fact["part"] == part for fact in frames.values()) for part in release}
    sizes = sorted({tuple(fact["size"]) for fact in frames.values()})
    if release and (counts != dict(release) or sizes != [SIZE]):
        shown = ", ".join(f"{width}x{height}" for height, width in sizes[:3]) + (" ..." if len(sizes) > 3 else "")
        have = f"{' + '.join(f'{count:,}' for count in counts.values())} frames of {shown}"
        official = f"{' + '.join(f'{count:,}' for count in release.values())} of {SIZE[1]}x{SIZE[0]}"
        yield f"the data is not the official Cityscapes release: {have} instead of {official}"


def _shared(frames: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What the test set has in common with the images that are learnt from."""
    learnt = [fact for fact in frames.values() if fact["part"] != "val"]
    test = {name: fact for name, fact in frames.items() if fact["part"] == "val"}
    if cities := sorted({fact["city"] for fact in learnt} & {fact["city"] for fact in test.values()}):
        yield f"training and test share {len(cities)} city folder(s), whose frames may look alike: {few(cities)}"


def empty(frames: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Frames that teach and test nothing, a sentence for each kind."""
    if void := [name for name, fact in frames.items() if fact["evaluated"] == 0]:
        yield f"{len(void)} label(s) have no pixel of an evaluated class: {few(void)}"
    if flat := [name for name, fact in frames.items() if fact["flat"]]:
        yield f"{len(flat)} image(s) have one colour throughout: {few(flat)}"


def looks_like_train_ids(highest: Sequence[int]) -> list[str]:
    """That files which are named as label ids may hold train ids.

    Args:
        highest: the highest value of each label image that is named so.
    """
    if not highest or max(highest) >= len(CLASSES):
        return []
    return [
        f"no label holds an id above {max(highest)}, though vegetation, sky, persons and cars have higher ones; files "
        f"that hold train ids are named *{TRAIN_IDS}"
    ]
