"""Frames on disk, in whatever layout: which files there are, and what one decoding of each shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atso_bench.benchmark.spec import digest
from atso_bench.benchmark.task import IGNORE
from atso_bench.datasets._frames.classes import FrameClasses
from atso_bench.datasets._shared.near import thumbnail
from atso_bench.datasets._shared.noted import sha256

ROLES = {"train": "pool", "val": "test", "test": "test"}
"""What the frames of a part are for; those of any other part have no label."""


def role(part: str) -> str:
    """``pool``, ``test`` or ``unlabelled``."""
    return ROLES.get(part, "unlabelled")


class Reader(Protocol):
    """How the files of a dataset are read; it goes to other processes with each frame."""

    @property
    def hint(self) -> str:
        """What may be wrong where no pixel of a part has a class."""
        ...

    def pixels(self, path: Path) -> int:
        """Height times width of an image, by its header; 0 if that cannot be read."""
        ...

    def image(self, path: Path) -> NDArray[np.uint8] | str:
        """RGB ``(H, W, 3)``, or what is wrong with the file and what to do."""
        ...

    def mask(self, path: Path) -> NDArray | str:
        """The values of a mask ``(H, W)``, or what is wrong with the file and what to do."""
        ...

    def classes(self, path: Path, mask: NDArray) -> NDArray[np.uint8] | str:
        """The class of each pixel, ``IGNORE`` where nothing counts, or what is wrong with the values."""
        ...

    def remark(self, frame: Frame, mask: NDArray | None) -> Any:
        """What ``notes`` needs to know of a sound frame."""
        ...

    def notes(self, source: Path, remarks: Sequence[Any]) -> list[str]:
        """What may be right but ought to be known, given the remark on each frame."""
        ...


@dataclass(frozen=True)
class Frame:
    """Files of one frame; ``label`` is None where there is none to expect.

    Attributes:
        id: the name of the case.
        part: the part of the dataset, see ``ROLES``.
        root: the folder that holds the files, perhaps in folders of it.
        more: what else to keep of it: ``city``; or ``group``, which a split never divides.
    """

    id: str
    part: str
    root: Path
    image: Path
    label: Path | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.image,) if self.label is None else (self.image, self.label)


@dataclass(frozen=True)
class Listing:
    """What the names, sizes and times of the files show, before any is read.

    Attributes:
        frames: sorted by part and id.
        problems: what is wrong with the names, and what to do.
        reader: how the files are read.
        classes: those that the data itself names; None where the dataset's own file has them.
        told: what a description beside the frames says; prepared data is made again when it changes.
    """

    frames: tuple[Frame, ...]
    problems: tuple[str, ...]
    reader: Reader
    classes: FrameClasses | None = None
    told: Any = None

    @property
    def fingerprint(self) -> str:
        """Hash of path, size and time of every file, wherever the folder lies; and of what is wrong with the names."""
        files = [(frame.root, path) for frame in self.frames for path in frame.files]
        more = [] if self.told is None else [self.told]
        return digest([[[short(path, root), *_stamp(path)] for root, path in files], self.problems, *more])

    @property
    def raw_bytes(self) -> int:
        return sum(max(0, _stamp(path)[0]) for frame in self.frames for path in frame.files)

    @property
    def decoded_bytes(self) -> int:
        """What the frames take decoded: three bytes by pixel of an image, one by pixel of a label."""
        return sum(self.reader.pixels(frame.image) * (3 if frame.label is None else 4) for frame in self.frames)


def twice(frames: Iterable[Frame]) -> Iterator[str]:
    """Frames that are in two parts, a line each."""
    seen: dict[str, Frame] = {}
    for frame in frames:
        first = seen.setdefault(frame.id, frame)
        if first is not frame:
            file = short(frame.image, frame.root)
            yield f"{file}: frame {frame.id} is also in {first.part}; remove one of the two"


def write_frame(frame: Frame, folder: Path, reader: Reader) -> dict[str, Any]:
    """Decode a frame once, check it, and write ``images/ID.npy`` ``(H, W, 3)`` and ``labels/ID.npy`` ``(H, W)``, uint8.

    Returns:
        ``{"problems": [...]}`` with what is wrong and what to do, or the facts of a sound frame: ``part``, what
        ``Frame.more`` has, ``size`` [H, W], content hashes ``image`` and ``label``, ``evaluated`` (pixels that count,
        None without a label), ``flat`` (the image has one colour throughout), and for the preparation alone ``raw``
        (hash of the files), ``remark`` (the reader's) and ``small`` (`thumbnail`).
    """
    image = reader.image(frame.image)
    mask = None if frame.label is None else reader.mask(frame.label)
    problems = [
        f"{short(path, frame.root)}: {array}"
        for path, array in zip(frame.files, (image, mask), strict=False)
        if isinstance(array, str)
    ]
    label = None
    if isinstance(mask, np.ndarray) and frame.label is not None:
        label = reader.classes(frame.label, mask)
        size = image.shape[:2] if isinstance(image, np.ndarray) else mask.shape
        problems += [f"{short(frame.label, frame.root)}: {text}" for text in _label_problems(mask, label, size)]
    if problems or isinstance(image, str) or isinstance(mask, str) or isinstance(label, str):
        return {"problems": problems}
    facts: dict[str, Any] = {"part": frame.part, **frame.more, "size": list(image.shape[:2])}
    facts |= {"image": content_of(image), "label": None, "evaluated": None, "flat": bool((image == image[0, 0]).all())}
    facts |= {
        "raw": raw_hash(frame),
        "remark": reader.remark(frame, mask),
        "small": thumbnail(image.transpose(2, 0, 1)),
    }
    np.save(folder / "images" / f"{frame.id}.npy", image)
    if label is not None:
        np.save(folder / "labels" / f"{frame.id}.npy", label)
        facts |= {"label": content_of(label), "evaluated": int((label != IGNORE).sum())}
    return facts


def _label_problems(mask: NDArray, label: NDArray | str, size: tuple[int, ...]) -> Iterator[str]:
    if mask.shape != size:
        have, want = (f"{width}x{height}" for height, width in (mask.shape, size))
        yield f"the label has {have} pixels, its image {want}; export the label again in the image's size"
    if isinstance(label, str):
        yield label


def raw_hash(frame: Frame) -> str:
    """Hash of the bytes of a frame's files."""
    return "".join(sha256(path)[:16] for path in frame.files)


def is_whole(name: str, fact: Mapping[str, Any], folder: Path) -> bool:
    """Whether a frame's decoded arrays hold what they held when they were made."""
    try:
        return all(
            fact[kind] is None or content_of(np.load(folder / f"{kind}s" / f"{name}.npy", mmap_mode="r")) == fact[kind]
            for kind in ("image", "label")
        )
    except (OSError, ValueError, EOFError):
        return False


def content_of(array: np.ndarray) -> str:
    """Hash of shape and pixels."""
    whole = hashlib.sha256(repr(array.shape).encode())
    whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()[:32]


def short(path: Path, root: Path) -> str:
    """The path as messages have it, from the dataset's folder on."""
    return path.relative_to(root).as_posix()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere; decoding says so
        return -1, -1
    return status.st_size, status.st_mtime_ns
