"""Street-scene frames in the official layout of Cityscapes: which there are, and what is wrong with their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from atso_bench.benchmark.scoring.label_tables import FRAME, IMAGE, KINDS
from atso_bench.datasets._frames.cityscapes_reader import CityscapesReader
from atso_bench.datasets._frames.on_disk import Frame, Listing, short, twice

_OTHERS = ("polygons.json", "instanceIds.png", "instanceTrainIds.png", "color.png")
"""What Cityscapes has beside the label images, and what they can be made of or mistaken for."""


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
            frames += [Frame(name, part, root, image, more=_city(name)) for name, image in images.items()]
            continue
        if images and not (root / "gtFine" / part).is_dir():
            problems.append(f"gtFine/{part} is missing; unpack gtFine_trainvaltest.zip there")
            continue
        labels = _by_frame(root / "gtFine" / part, KINDS, problems)
        both = [name for name in images if name in labels]
        frames += [Frame(name, part, root, images[name], labels[name], _city(name)) for name in both]
        problems += _unpaired(root, part, images, labels)
    problems += twice(frames)
    return Listing(tuple(frames), tuple(problems), CityscapesReader())


def _city(name: str) -> dict[str, str]:
    return {"city": name.split("_")[0]}


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
            yield f"{short(images[name], root)}: it has no label; add {label}, or remove the image"
        else:
            image = f"leftImg8bit/{part}/{city}/{name}{IMAGE}"
            yield f"{short(labels[name], root)}: it has no image; add {image}, or remove the label"


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
        f"{short(path, root)}: the name does not end in {IMAGE}; rename it, or save it as PNG"
        for path in stray
        if not path.name.endswith(IMAGE)
    ]
