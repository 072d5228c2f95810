"""Street-scene frames in the official layout of Cityscapes: which there are, and what one decoding of each shows."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.reading.image_files import PACKED
from atso_bench.benchmark.scoring.label_tables import FRAME, IMAGE, KINDS, TRAIN_IDS, UNKNOWN, VOID, expected, train_ids
from atso_bench.benchmark.spec import digest
from atso_bench.datasets._shared.near import thumbnail
from atso_bench.datasets._shared.noted import sha256

_GREY, _RGB = (8, 0), (8, 2)  # PNG's bit depth and colour type
_OTHERS = ("polygons.json", "instanceIds.png", "instanceTrainIds.png", "color.png")
"""What Cityscapes has beside the label images, and what they can be made of or mistaken for."""
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}


@dataclass(frozen=True)
class Frame:
    """Files of one frame; ``label`` is None where there is none to expect.

    Attributes:
        id: ``<city>_<sequence>_<frame>``.
        part: ``train``, ``val`` or ``train_extra``.
        root: the folder that holds ``leftImg8bit`` and ``gtFine``.
    """

    id: str
    part: str
    root: Path
    image: Path
    label: Path | None = None

    @property
    def city(self) -> str:
        return self.id.split("_")[0]

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.image,) if self.label is None else (self.image, self.label)


@dataclass(frozen=True)
class Listing:
    """What the names, sizes and times of the files show, before any is read.

    Attributes:
        frames: sorted by part and id.
        problems: what is wrong with the names, and what to do.
    """

    frames: tuple[Frame, ...]
    problems: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of path, size and time of every file, wherever the folder lies; and of what is wrong with the names."""
        files = [(frame.root, path) for frame in self.frames for path in frame.files]
        return digest([[[_short(path, root), *_stamp(path)] for root, path in files], self.problems])

    @property
    def raw_bytes(self) -> int:
        return sum(max(0, _stamp(path)[0]) for frame in self.frames for path in frame.files)

    @property
    def decoded_bytes(self) -> int:
        """What the frames take decoded: three bytes by pixel of an image, one by pixel of a label."""
        planes = (3 if frame.label is None else 4 for frame in self.frames)
        found = zip(self.frames, planes, strict=True)
        sizes = ((header(frame.image), count) for frame, count in found if not _too_large(frame.image))
        return sum(size[0] * size[1] * count for size, count in sizes if size)


def list_frames(root: Path, parts: Sequence[str]) -> Listing:
    """The frames of ``parts``; those of ``train`` and ``val`` have labels, any other part has none."""
    frames: list[Frame] = []
    problems: list[str] = []
    for part in parts:
        images = _by_frame(root / "leftImg8bit" / part, (IMAGE,), problems)
        problems += _stray_images(root, part)
        if not images:
            problems.append(f"leftImg8bit/{part}: no frame; expected leftImg8bit/{part}/CITY/CITY_000000_000000{IMAGE}")
        if part not in ("train", "val"):
            frames += [Frame(name, part, root, image) for name, image in images.items()]
            continue
        if images and not (root / "gtFine" / part).is_dir():
            problems.append(f"gtFine/{part} is missing; unpack gtFine_trainvaltest.zip there")
            continue
        labels = _by_frame(root / "gtFine" / part, KINDS, problems)
        frames += [Frame(name, part, root, images[name], labels[name]) for name in images if name in labels]
        problems += _unpaired(root, part, images, labels)
    seen: dict[str, Frame] = {}
    for frame in frames:
        first = seen.setdefault(frame.id, frame)
        if first is not frame:
            problems.append(
                f"{_short(frame.image, root)}: frame {frame.id} is also in {first.part}; remove one of the two"
            )
    return Listing(tuple(frames), tuple(problems))


def write_frame(frame: Frame, folder: Path) -> dict[str, Any]:
    """Decode a frame once, check it, and write ``images/ID.npy`` ``(H, W, 3)`` and ``labels/ID.npy`` ``(H, W)``, uint8.

    Returns:
        ``{"problems": [...]}`` with what is wrong and what to do, or the facts of a sound frame: ``part``, ``city``,
        ``size`` [H, W], content hashes ``image`` and ``label``, ``evaluated`` (pixels of evaluated classes, None
        without a label), ``flat`` (the image has one colour throughout), and for the preparation alone ``raw`` (hash of
        the PNG files), ``ids`` (the highest label id; None without label ids) and ``small`` (`thumbnail`).
    """
    image = _decode(frame.image, _RGB)
    label = None if frame.label is None else _decode(frame.label, _GREY)
    ids = None
    problems = [
        f"{_short(path, frame.root)}: {array}"
        for path, array in zip(frame.files, (image, label), strict=False)
        if isinstance(array, str)
    ]
    if isinstance(label, np.ndarray) and frame.label is not None:
        size = image.shape[:2] if isinstance(image, np.ndarray) else label.shape
        wrong = _label_problems(label, frame.label.name, size)
        problems += [f"{_short(frame.label, frame.root)}: {text}" for text in wrong]
        ids = None if frame.label.name.endswith(TRAIN_IDS) else int(label.max())
        label = train_ids(frame.label.name)[label].astype(np.uint8)
    if problems or isinstance(image, str) or isinstance(label, str):
        return {"problems": problems}
    facts: dict[str, Any] = {"part": frame.part, "city": frame.city, "size": list(image.shape[:2])}
    facts |= {"image": content_of(image), "label": None, "evaluated": None, "flat": bool((image == image[0, 0]).all())}
    facts |= {"raw": raw_hash(frame), "ids": ids, "small": thumbnail(image.transpose(2, 0, 1))}
    np.save(folder / "images" / f"{frame.id}.npy", image)
    if label is not None:
        np.save(folder / "labels" / f"{frame.id}.npy", label)
        facts |= {"label": content_of(label), "evaluated": int((label != VOID).sum())}
    return facts


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


def header(path: Path) -> tuple[int, int, int, int] | None:
    """Width, height, bit depth and colour type of a PNG file; None if it is not one."""
    try:
        with path.open("rb") as file:
            start = file.read(26)
    except OSError:
        return None
    if len(start) < 26 or start[:8] != b"\x89PNG\r\n\x1a\n" or start[12:16] != b"IHDR":
        return None
    width, height, depth, colour = struct.unpack(">IIBB", start[16:])
    return width, height, depth, colour


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


def _label_problems(label: np.ndarray, name: str, size: tuple[int, ...]) -> Iterator[str]:
    if label.shape != size:
        have, want = (f"{width}x{height}" for height, width in (label.shape, size))
        yield f"the label has {have} pixels, its image {want}; export the label again in the image's size"
    found = np.flatnonzero(np.bincount(label.ravel(), minlength=256))
    unknown = found[train_ids(name)[found] == UNKNOWN].tolist()
    if unknown:
        shown = ", ".join(map(str, unknown[:6])) + (" ..." if len(unknown) > 6 else "")
        yield f"values {shown} are not in cityscapesscripts' table ({expected(name)}); export the label again"


def _unpaired(root: Path, part: str, images: Mapping[str, Path], labels: Mapping[str, Path]) -> Iterator[str]:
    bare = [name for name in images if name not in labels]
    others = _other_kinds(root, part, bare)
    if others:
        make = f", or make *{KINDS[1]} of the polygons: CITYSCAPES_DATASET={root} csCreateTrainIdLabelImgs"
        yield (
            f"gtFine/{part}: {len(others)} of {len(images)} images have {_ending(others.values())} and no label image; "
            f"unpack gtFine_trainvaltest.zip there, which has *{KINDS[0]}{make * (_OTHERS[0] in others.values())}"
        )
    for name in sorted((images.keys() ^ labels.keys()) - others.keys()):
        city = name.split("_")[0]
        if name in images:
            label = f"gtFine/{part}/{city}/{name}{KINDS[0]}"
            yield f"{_short(images[name], root)}: it has no label; add {label}, or remove the image"
        else:
            image = f"leftImg8bit/{part}/{city}/{name}{IMAGE}"
            yield f"{_short(labels[name], root)}: it has no image; add {image}, or remove the label"


def _other_kinds(root: Path, part: str, names: Sequence[str]) -> dict[str, str]:
    """Of frames without a label image, those that have polygons or another picture of their labels: its ending."""
    found = {}
    for name in names:
        stem = root / "gtFine" / part / name.split("_")[0] / f"{name}_gtFine_"
        there = [kind for kind in _OTHERS if stem.with_name(f"{stem.name}{kind}").is_file()]
        if there:
            found[name] = there[0]
    return found


def _ending(kinds: Iterable[str]) -> str:
    return " or ".join(f"*_gtFine_{kind}" for kind in dict.fromkeys(kinds))


def _by_frame(folder: Path, endings: Sequence[str], problems: list[str]) -> dict[str, Path]:
    """Frame id -> file, the first of ``endings`` where there are several; adds what is wrong with names."""
    found: dict[str, Path] = {}
    for ending in endings:
        for path in sorted(folder.glob(f"*/[!.]*{ending}")):  # "._" files are what a Mac adds to archives
            name, city = path.name.removesuffix(ending), path.parent.name
            short = f"{folder.parent.name}/{folder.name}/{city}/{path.name}"
            if not FRAME.fullmatch(name):
                problems.append(f"{short}: the name is not CITY_SEQUENCE_FRAME{ending}; rename the file")
            elif name.split("_")[0] != city:
                problems.append(f"{short}: its name says {name.split('_')[0]}, its folder {city}; move or rename it")
            elif name not in found:
                found[name] = path
    return dict(sorted(found.items()))


def _stray_images(root: Path, part: str) -> list[str]:
    """Images that would be left out without a word because they are called otherwise."""
    images = (path for path in sorted((root / "leftImg8bit" / part).glob("*/*.*")) if not path.name.startswith("."))
    stray = [path for path in images if path.suffix.lower() in (".png", ".jpg", ".jpeg")]
    return [
        f"{_short(path, root)}: the name does not end in {IMAGE}; rename it, or save it as PNG"
        for path in stray
        if not path.name.endswith(IMAGE)
    ]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere; decoding says so
        return -1, -1
    return status.st_size, status.st_mtime_ns


def content_of(array: np.ndarray) -> str:
    """Hash of shape and pixels."""
    whole = hashlib.sha256(repr(array.shape).encode())
    whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()[:32]


def _short(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
