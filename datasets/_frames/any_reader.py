"""Images and masks in everyday formats, with any table of values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.reading.image_files import file_problem
from atso_bench.benchmark.reading.listed import few
from atso_bench.benchmark.reading.masks import PICTURES, TIFFS, read_mask
from atso_bench.benchmark.reading.user_files import legible
from atso_bench.benchmark.task import IGNORE
from atso_bench.datasets._frames.on_disk import Frame
from atso_bench.datasets._frames.png import header
from atso_bench.datasets._shared.hidden import hidden

MASKS = (*PICTURES, *TIFFS)
IMAGES = (*MASKS, ".jpg", ".jpeg")
"""Endings of the files that are read, in small letters or capitals."""
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_ORIENTATION = 274  # EXIF's number of the tag that says how a camera was held
_UNKNOWN = -1
_SHOWN = 6


@dataclass(frozen=True)
class AnyReader:
    """See ``Reader``.

    Attributes:
        values: value in a mask -> class, or ``IGNORE``.
        names: of the classes.
        table: where the values are from, in words.
        folders: those below the dataset's own that hold its files.
        said: notes on the dataset as a whole.
    """

    values: Mapping[int, int]
    names: tuple[str, ...]
    table: str
    folders: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        return f"its masks hold nothing but what {self.table} ignores"

    def pixels(self, path: Path) -> int:
        from PIL import Image

        try:
            with Image.open(path, formats=_FORMATS) as opened:
                return opened.width * opened.height
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return 0  # decoding says why

    def image(self, path: Path) -> NDArray[np.uint8] | str:
        """8-bit RGB as it is; grey three times, indexed colours as the colours that they stand for."""
        from PIL import Image

        if problem := file_problem(path):
            return problem
        try:
            with Image.open(path, formats=_FORMATS) as opened:
                return _refused(opened, path) or np.array(opened.convert("RGB"))
        except Exception as error:  # Pillow's plug-ins have their own
            return f"it cannot be read ({str(error).strip() or type(error).__name__}); save it again"

    def mask(self, path: Path) -> NDArray | str:
        try:
            found = read_mask(path)
        except ValueError as error:
            return str(error).removeprefix(f"{legible(path)} ").removeprefix(f"{path} ")
        if found.array.ndim != 2:
            size = " x ".join(map(str, found.array.shape[::-1]))
            return f"it has {found.array.ndim} axes ({size}); a mask of a frame has two"
        try:
            blocks = [labels for _, labels in found.labels()]
        except ValueError as error:
            return str(error).removeprefix(f"{path} ")
        return np.concatenate(blocks)

    def classes(self, path: Path, mask: NDArray) -> NDArray[np.uint8] | str:
        table = np.full(max(self.values) + 2, _UNKNOWN, np.int16)
        table[list(self.values)] = list(self.values.values())
        labels = table[np.where((mask >= 0) & (mask < len(table)), mask, len(table) - 1)]
        if unknown := np.unique(mask[labels == _UNKNOWN]).tolist():
            shown = few([*map(str, unknown)], _SHOWN)
            return f"values {shown} are not in {self.table} ({self._known}); correct one of the two"
        found: NDArray[np.uint8] = labels.astype(np.uint8)
        return found

    @property
    def _known(self) -> str:
        named = [f"{value}: {'ignored' if own == IGNORE else self.names[own]}" for value, own in self.values.items()]
        return few(named, _SHOWN)

    def remark(self, frame: Frame, mask: NDArray | None) -> Any:
        """The values in the mask, and the frame's name if its camera was not held upright."""
        found = [] if mask is None else np.flatnonzero(np.bincount(mask.ravel())).tolist()
        return found, frame.id if _is_turned(frame.image) else ""

    def notes(self, source: Path, remarks: Sequence[Any]) -> list[str]:
        folders = [source / name for name in self.folders]
        found = {self.values[value] for values, _ in remarks for value in values}
        absent = [name for index, name in enumerate(self.names) if index not in found]
        turned = [name for _, name in remarks if name]
        notes = [*self.said, *(note for ending in IMAGES for note in hidden(folders, ending)), *_left_out(folders)]
        if absent:
            notes.append(f"no mask holds {', '.join(absent)}")
        if turned:
            notes.append(
                f"{len(turned)} image(s) say that the camera was turned (EXIF); they are read as they are stored, as "
                f"the masks have to be drawn: {few(turned, _SHOWN)}"
            )
        return notes


def _is_turned(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as opened:
            return bool(opened.getexif().get(_ORIENTATION, 1) != 1)
    except Exception:  # what is said beside the pixels may be broken; they were read
        return False


def _refused(opened: Any, path: Path) -> str:
    """Why the picture is not used, and what to do; empty if it is."""
    if getattr(opened, "n_frames", 1) > 1:
        return f"it holds {opened.n_frames} pictures; save each in a file of its own"
    png = header(path)
    if opened.mode.startswith(("I", "F")) or (png and png[2] > 8):
        return "it has more than 8 bits by channel; save it with 8, at the brightness that it is to be seen at"
    if opened.mode in ("RGBA", "LA", "PA") and opened.getchannel("A").getextrema()[0] < 255:
        return "it is transparent in places; save it without transparency"
    if opened.mode not in ("RGB", "L", "1", "P", "RGBA", "LA", "PA"):
        return f"its colours are {opened.mode}; save it as RGB or grey"
    return ""


def _left_out(folders: Sequence[Path]) -> Iterator[str]:
    """A note on the files of another kind."""
    inside = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    other = [
        f"{path.parent.name}/{path.name}"
        for path in inside
        if path.suffix.lower() not in IMAGES and not path.name.startswith(".")
    ]
    if other:
        left_out = f"{len(other)} file(s) or folder(s) are left out"
        yield f"{left_out}, as they are no PNG, JPEG, TIFF or BMP: {few(other, _SHOWN)}"
