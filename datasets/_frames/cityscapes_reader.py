"""Cityscapes' label and image files: PNG, read strictly, with the table of cityscapesscripts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.reading.image_files import PACKED
from atso_bench.benchmark.reading.listed import few
from atso_bench.benchmark.scoring.label_tables import TRAIN_IDS, UNKNOWN, expected, train_ids
from atso_bench.datasets._frames.caveats import looks_like_train_ids
from atso_bench.datasets._frames.on_disk import Frame
from atso_bench.datasets._frames.png import header
from atso_bench.datasets._shared.hidden import hidden

_GREY, _RGB = (8, 0), (8, 2)  # PNG's bit depth and colour type
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}


@dataclass(frozen=True)
class CityscapesReader:
    """See ``Reader``; whether a label file holds label ids or train ids is in its name."""

    hint: str = "are they label ids?"

    def pixels(self, path: Path) -> int:
        found = None if _too_large(path) else header(path)
        return found[0] * found[1] if found else 0

    def image(self, path: Path) -> NDArray[np.uint8] | str:
        return _decode(path, _RGB)

    def mask(self, path: Path) -> NDArray[np.uint8] | str:
        return _decode(path, _GREY)

    def classes(self, path: Path, mask: NDArray) -> NDArray[np.uint8] | str:
        found = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
        table = train_ids(path.name)
        unknown = found[table[found] == UNKNOWN].tolist()
        if unknown:
            shown = few([*map(str, unknown)], 6)
            return f"values {shown} are not in cityscapesscripts' table ({expected(path.name)}); export the label again"
        labels: NDArray[np.uint8] = table[mask].astype(np.uint8)
        return labels

    def remark(self, frame: Frame, mask: NDArray | None) -> int | None:
        """The highest label id; None without label ids."""
        if mask is None or frame.label is None or frame.label.name.endswith(TRAIN_IDS):
            return None
        return int(mask.max())

    def notes(self, source: Path, remarks: Sequence[int | None]) -> list[str]:
        highest = [each for each in remarks if each is not None]
        return [*hidden(sorted(source.glob("*/*/*/")), ".png"), *looks_like_train_ids(highest)]


def _decode(path: Path, wanted: tuple[int, int]) -> np.ndarray | str:
    """The pixels, or what is wrong with the file. Bit depth is read from the file: Pillow scales what it opens."""
    from PIL import Image

    found = header(path)
    if found is None:
        return "it is missing or no PNG file; download or export it again"
    if found[2:] != wanted:
        have, want = (f"{depth}-bit {_COLOURS.get(colour, 'unknown')}" for depth, colour in (found[2:], wanted))
        return f"it is {have}, expected {want}; export it again as {want} PNG"
    if _too_large(path):
        return f"its header promises {found[0]:,} x {found[1]:,} pixels, which the file cannot hold; export it again"
    try:
        data = io.BytesIO(path.read_bytes())
        with Image.open(data, formats=["PNG"]) as checked:
            checked.verify()  # the checksums; without them some flipped bits decode to wrong pixels
        data.seek(0)
        with Image.open(data, formats=["PNG"]) as opened:
            return np.array(opened)
    except Exception as error:
        return f"it cannot be read ({str(error).strip() or type(error).__name__}); download or export it again"


def _too_large(path: Path) -> bool:
    found = header(path)
    return found is not None and found[0] * found[1] > PACKED * path.stat().st_size
