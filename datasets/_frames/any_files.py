"""Frames in folders of images and masks that pair by name: which there are, and what is wrong with their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from atso_bench.datasets._frames.any_reader import IMAGES, MASKS, AnyReader
from atso_bench.datasets._frames.description import FILE, Description
from atso_bench.datasets._frames.on_disk import Frame, Listing, short, twice
from atso_bench.datasets._shared.apart import drawn_test
from atso_bench.datasets._shared.names import name_problems

Files = Mapping[str, Path]
"""A file by the name of its frame."""


def list_folders(root: Path, description: Description) -> Listing:
    """The frames of a folder as its ``dataset.json`` has them; a fifth of them is the test set of those without."""
    frames: list[Frame] = []
    problems: list[str] = []
    for part, (images, masks) in description.folders.items():
        found = _by_name(root / images, IMAGES, "", problems)
        labels = _by_name(root / masks, MASKS, description.mask_suffix, problems) if masks else {}
        if not found:
            problems.append(f"{images}: no image; expected NAME.png, or another of {', '.join(IMAGES)}")
        if masks:
            problems += _unpaired(root, (images, masks), found, labels, description.mask_suffix)
            found = {name: path for name, path in found.items() if name in labels}
        frames += [
            Frame(name, part, root, path, labels.get(name), _group(name, description)) for name, path in found.items()
        ]
    problems += [*twice(frames), *name_problems(dict.fromkeys(frame.id for frame in frames))]
    problems += _group_problems(frames, description)
    folders = tuple(dict.fromkeys(name for pair in description.folders.values() for name in pair if name))
    reader = AnyReader(description.values, description.classes.names, FILE, folders, description.notes)
    parted = _parted(frames, description, problems)
    return Listing(tuple(parted), tuple(problems), reader, description.classes, dict(description.told))


def _by_name(folder: Path, endings: Sequence[str], suffix: str, problems: list[str]) -> dict[str, Path]:
    """The files of a folder by the name of their frame; adds what is wrong with names."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in endings or not path.stem.endswith(suffix):
            continue
        name = path.stem.removesuffix(suffix)
        first = found.setdefault(name, path)
        if first is not path:
            problems.append(f"{folder.name}/{path.name}: {first.name} has the same name; remove one of the two")
    return found


def _unpaired(root: Path, folders: tuple[str, str], images: Files, masks: Files, suffix: str) -> Iterator[str]:
    for name in sorted(images.keys() - masks.keys()):
        lossy = [path for path in (root / folders[1]).glob(f"*{suffix}.jp*g") if path.stem == f"{name}{suffix}"]
        if lossy:
            yield f"{short(lossy[0], root)}: JPEG changes the values of a mask; save it as PNG from what it was made of"
        else:
            wanted = f"{folders[1]}/{name}{suffix}.png"
            yield f"{short(images[name], root)}: it has no mask; add {wanted}, or remove the image"
    for name in sorted(masks.keys() - images.keys()):
        yield f"{short(masks[name], root)}: it has no image; add {folders[0]}/{name}.png, or remove the mask"


def _group(name: str, description: Description) -> dict[str, str]:
    return {"group": description.groups[name]} if name in description.groups else {}


def _group_problems(frames: Sequence[Frame], description: Description) -> Iterator[str]:
    if not description.groups:
        return
    for frame in frames:
        if not frame.more:
            yield f"{frame.id}: groups in {FILE} does not name it; add it, with a group of its own if need be"
    tested = {frame.more.get("group"): frame.id for frame in frames if frame.part == "test"}
    for frame in frames:
        if frame.part == "train" and frame.more and frame.more["group"] in tested:
            other = tested[frame.more["group"]]
            yield f"{frame.id}: its group is in the test set too, as {other}; move all frames of a group into one part"


def _parted(frames: Sequence[Frame], description: Description, problems: list[str]) -> Iterator[Frame]:
    """The same frames, with a test set that is drawn if the data has none."""
    test: set[str] = set()
    if "test" not in description.folders:
        groups = {frame.id: frame.more.get("group", frame.id) for frame in frames if frame.part == "train"}
        test = {*drawn_test(groups, groups.__getitem__)}
        if groups and not test:
            problems.append("a test set needs a second frame or group with a mask; label more, or add test_images")
    for frame in frames:
        yield replace(frame, part="test") if frame.id in test and frame.part == "train" else frame
