"""Pictures for the report: one slice of every scored case, as image, reference and prediction.

They lie beside the records, in ``pictures/``: image and reference once for all runs that are scored on the same cases,
the predictions in a file for each run. All is small: a frame or a slice is thinned to at most ``LONGEST`` pixels.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.scoring.metrics import IGNORE
from atso_bench.benchmark.spec import digest
from atso_bench.benchmark.store.files import atomic

if TYPE_CHECKING:
    from atso_bench.benchmark.task import Reference

_DAMAGED = (
    *(ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
ALIKE = 0.99
"""Spacings that differ less are the same: headers are rounded, and the axis must not vary from case to case."""
MOST_BYTES = 1 << 24
"""Of one array that is read: a file that somebody sent may claim to unpack to anything."""
LONGEST = 512
"""Pixels along the longer side of what is kept."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """Which part of a case is looked at.

    Attributes:
        axis: across which the slice lies; None of a frame.
        index: of the slice.
        step: every so many-th pixel is kept.
        spacing: distance of the kept pixels by row and column, in mm on volumes.
    """

    axis: int | None
    index: int
    step: int
    spacing: tuple[float, float]

    def label(self, array: NDArray) -> Pixels:
        """``(*spatial)`` to ``(h, w)``: every so many-th pixel."""
        return self._plane(array)[:: self.step, :: self.step].astype(np.uint8)

    def image(self, array: NDArray) -> Pixels:
        """``(*spatial)`` or RGB ``(H, W, 3)`` to ``(h, w)`` or ``(h, w, 3)``: means of the pixels between."""
        from PIL import Image

        return np.asarray(Image.fromarray(_grey(self._plane(array))).reduce(self.step))

    def _plane(self, array: NDArray) -> NDArray:
        return array if self.axis is None else np.take(array, self.index, axis=self.axis)


def view(reference: Reference) -> View:
    """The slice with most of the structures, across the coarsest axis; it depends on the reference alone.

    Every class counts by the share of it that a slice holds, so that a small one weighs as much as a large one.
    """
    label, spacing = reference.label, reference.spacing
    if label.ndim == 2:
        return View(None, 0, _step(label.shape), (spacing[0], spacing[1]))
    axis = next(each for each, size in enumerate(spacing) if size >= ALIKE * max(spacing))
    others = tuple(each for each in range(label.ndim) if each != axis)
    planes = np.moveaxis(label, axis, 0)
    areas = np.array([np.bincount(plane.ravel(), minlength=IGNORE + 1) for plane in planes])  # by slice and class
    areas[:, [0, IGNORE]] = 0
    shares = np.zeros(label.shape[axis])
    for value in np.flatnonzero(areas.any(axis=0)):
        shares += areas[:, value] / areas[:, value].sum()
    index = int(np.argmax(shares)) if shares.any() else label.shape[axis] // 2
    step = _step([label.shape[each] for each in others])
    return View(axis, index, step, (spacing[others[0]], spacing[others[1]]))


def _step(sides: Sequence[int]) -> int:
    return -(-max(sides) // LONGEST)


class Album:
    """Keeps the pictures of one run while its cases are scored, a case at a time; to be used in a ``with``.

    A picture that cannot be kept costs no score: ``notes`` says why, and the run goes on without.

    Args:
        results: the results folder.
        key: the run's.
        data: identity of the dataset.
        cases: what is scored.
        picture: a case's image in the original geometry; asked only if no run before has kept it.

    Attributes:
        notes: what could not be kept, for the record's warnings.
    """

    def __init__(
        self, results: Path, key: str, data: str, cases: Sequence[str], picture: Callable[[str], NDArray]
    ) -> None:
        self.notes: list[str] = []
        self._predictions, self._ground = predictions_file(results, key, data), ground_file(results, data, cases)
        self._picture = picture
        self._cases: list[str] = []
        self._files: dict[Path, zipfile.ZipFile] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Album:
        wanted = [self._predictions] if _whole(self._ground) else [self._predictions, self._ground]
        with self._noting():
            for path in wanted:
                partial = self._open.enter_context(atomic(path))
                self._files[path] = self._open.enter_context(zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED))
        return self

    def __exit__(self, *raised: Any) -> None:
        with self._noting():
            for file in [] if raised[0] else self._files.values():
                _put(file, "cases", np.array(self._cases))
            self._open.__exit__(*raised)

    def add(self, case_id: str, prediction: NDArray, reference: Reference) -> None:
        """Keep the slice of a case."""
        place, seen = len(self._cases), view(reference)
        self._cases.append(case_id)
        with self._noting():
            if predictions := self._files.get(self._predictions):
                _put(predictions, f"prediction {place}", seen.label(prediction))
            if ground := self._files.get(self._ground):
                _put(ground, f"reference {place}", seen.label(reference.label))
                _put(ground, f"spacing {place}", np.array(seen.spacing))
                _put(ground, f"image {place}", seen.image(self._picture(case_id)))

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """What goes wrong here ends the album, and is no reason to lose a score."""
        try:
            yield
        except Exception as error:
            self.notes.append(f"no pictures were kept: {type(error).__name__}: {error}")
            self._files = {}
            with contextlib.suppress(Exception):
                self._open.__exit__(type(error), error, error.__traceback__)


def _whole(path: Path) -> bool:
    try:
        Kept(path)
    except (OSError, ValueError):
        return False
    return True


def _put(file: zipfile.ZipFile, name: str, array: NDArray) -> None:
    """As ``np.savez_compressed`` does it, which wants all at once."""
    with file.open(f"{name}.npy", "w") as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


class Kept:
    """A file that an `Album` wrote, opened: what is asked for is read, and nothing else.

    Raises:
        ValueError: if the file is damaged.
        FileNotFoundError: if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError(f"{path} is no file")
        try:
            self._file = zipfile.ZipFile(path)
            self._places = {str(case): place for place, case in enumerate(self._read_array("cases"))}
        except _DAMAGED as error:
            raise ValueError(f"{path} is damaged") from error

    def array(self, what: str, case_id: str) -> NDArray:
        """``image``, ``reference``, ``spacing`` or ``prediction`` of a case."""
        try:
            return self._read_array(f"{what} {self._places[case_id]}")
        except (*_DAMAGED, OSError) as error:
            raise ValueError(f"{self._path} is damaged: it has no {what} of {case_id}") from error

    def _read_array(self, name: str) -> NDArray:
        member = self._file.getinfo(f"{name}.npy")
        if member.file_size > MOST_BYTES:
            raise ValueError(f"{name} would take {member.file_size} bytes")
        with self._file.open(member) as file:  # it gives no more than it said
            array: NDArray = np.load(io.BytesIO(file.read()), allow_pickle=False)
        return array


def predictions_file(results: Path, key: str, data: str) -> Path:
    """Predictions of a run on one state of the data."""
    return results / "pictures" / f"{key}-{digest(data)}.npz"


def ground_file(results: Path, data: str, cases: Sequence[str]) -> Path:
    """Image, reference and spacing of the cases of all runs that are scored on them."""
    return results / "pictures" / f"cases-{digest([data, sorted(cases)])}.npz"


def _grey(plane: NDArray) -> Pixels:
    """8 bits; RGB stays, other values are spread between their 1st and 99th percentile."""
    if plane.dtype == np.uint8 and plane.ndim == 3:
        return plane
    low, high = np.nanpercentile(plane, [1, 99])
    spread = (np.nan_to_num(plane, nan=low) - low) / max(high - low, 1e-6)
    return (255 * spread.clip(0, 1)).round().astype(np.uint8)
