"""A raw dataset in nnU-Net's layout: its cases, its parts, the hash of its files, and what is wrong with them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atso_bench.benchmark.record import write_json
from atso_bench.datasets._storage import quiet

TEST_PERCENT = 20
TEST_SEED = 20200317
READERS = (
    "SimpleITKIO",
    "SimpleITKIOWithReorient",
    "NibabelIO",
    "NibabelIOWithReorient",
    "Tiff3DIO",
    "NaturalImage2DIO",
)


@dataclass(frozen=True)
class Case:
    """Files of one case; ``label`` is None where there is none."""

    id: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class Look:
    """What one reading of a case showed.

    Attributes:
        problems: what is wrong, and what to do.
        shape: voxels by axis after cropping to the nonzero region.
        spacing: millimetres by axis.
        kept: share of the voxels that cropping keeps.
    """

    problems: tuple[str, ...]
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    kept: float = 1.0


@dataclass(frozen=True)
class RawDataset:
    """A folder ``DatasetXXX_Name`` with ``dataset.json``, ``imagesTr`` and ``labelsTr``, and perhaps ``imagesTs`` with
    ``labelsTs`` (a labelled test set) and ``imagesUn`` (images without labels).
    """

    folder: Path
    group: Callable[[str], str] = field(default=str)

    @cached_property
    def json(self) -> dict[str, Any]:
        path = self.folder / "dataset.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} has to hold an object with labels, channel_names and file_ending")
        content.setdefault("channel_names", content.get("modality"))
        missing = [key for key in ("labels", "channel_names", "file_ending") if not content.get(key)]
        if missing:
            raise ValueError(
                f"{path} lacks {', '.join(missing)}; nnU-Net's documentation/dataset_format.md tells what they are"
            )
        for key, kind, example in (
            ("labels", dict, '{"background": 0, "organ": 1}'),
            ("channel_names", dict, '{"0": "MRI"}'),
            ("file_ending", str, '".nii.gz"'),
        ):
            if not isinstance(content[key], kind):
                raise ValueError(f"{path}: {key} has to look like {example}, got {content[key]!r}")
        if (reader := content.get("overwrite_image_reader_writer", "None")) not in ("None", *READERS):
            raise ValueError(f"{path}: overwrite_image_reader_writer is one of {', '.join(READERS)}, got {reader!r}")
        return content

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the label values, background first, without nnU-Net's ignore label."""
        labels = self.json["labels"]
        path = self.folder / "dataset.json"
        if any(isinstance(value, list) and len(value) > 1 for value in labels.values()):
            raise ValueError(
                f"{path} defines regions (lists of labels), which are not supported: give each class one label"
            )
        try:
            values = {name: int(value[0] if isinstance(value, list) else value) for name, value in labels.items()}
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{path}: labels has to give each name a number, got {labels}") from error
        if values.get("background") != 0:
            raise ValueError(f"{path}: label 0 has to be called 'background', got {labels}")
        names = sorted(values, key=lambda name: values[name])
        if [values[name] for name in names] != list(range(len(names))) or names.index("background"):
            raise ValueError(f"{path}: labels have to be 0, 1, 2 ... without a gap, got {labels}")
        if "ignore" in names and names[-1] != "ignore":
            raise ValueError(f"{path}: the ignore label has to be the highest, got {labels}")
        return tuple(name for name in names if name != "ignore")

    @property
    def ignore(self) -> int | None:
        """The value of nnU-Net's ignore label in the label files."""
        return len(self.classes) if "ignore" in self.json["labels"] else None

    @cached_property
    def labelled(self) -> dict[str, Case]:
        if "dataset" not in self.json:
            return self._cases("imagesTr", "labelsTr")
        listed = self.json["dataset"]
        try:
            return {
                name: Case(name, tuple(self._expand(image) for image in files["images"]), self._expand(files["label"]))
                for name, files in sorted(listed.items())
            }
        except (AttributeError, KeyError, TypeError) as error:
            form = '{"CASE": {"images": [FILE, ...], "label": FILE}, ...}'
            raise ValueError(f"{self.folder / 'dataset.json'}: dataset has to look like {form}") from error

    @cached_property
    def own_test(self) -> dict[str, Case]:
        """The dataset's own test set; empty unless it comes with labels."""
        return self._cases("imagesTs", "labelsTs") if (self.folder / "labelsTs").is_dir() else {}

    @cached_property
    def unlabelled(self) -> dict[str, Case]:
        return self._cases("imagesUn", None)

    @cached_property
    def cases(self) -> dict[str, Case]:
        return {**self.labelled, **self.own_test, **self.unlabelled}

    @cached_property
    def test(self) -> tuple[str, ...]:
        """T: the own labelled test set, else a fifth of the labelled cases; drawn by group, the same for all seeds."""
        if self.own_test:
            return tuple(sorted(self.own_test))
        by_group: dict[str, list[str]] = {}
        for name in sorted(self.labelled):
            by_group.setdefault(self.group(name), []).append(name)
        if len(by_group) < 2:
            found = f"{self.folder} has {len(by_group)} labelled case(s) or patient(s)"
            if not by_group:
                raise ValueError(f"{found}; expected imagesTr/CASE_0000{self.json['file_ending']} and its label")
            raise ValueError(
                f"{found}, and a test set needs one more; label more, or add a labelled test set (imagesTs, labelsTs)"
            )
        order = np.random.default_rng(TEST_SEED).permutation(sorted(by_group))
        taken = order[: max(1, round(len(order) * TEST_PERCENT / 100))]
        return tuple(sorted(name for group in taken for name in by_group[str(group)]))

    @cached_property
    def pool(self) -> tuple[str, ...]:
        test = set(self.test)
        return tuple(sorted(name for name in self.labelled if name not in test))

    def hashes(self, caches: Sequence[Path], store: Path) -> dict[str, dict[str, str]]:
        """SHA-256 of every file, by case: ``{case: {image: ..., label: ...}}``; unchanged files are not read again.

        Args:
            caches: JSON files of an earlier call, which may be missing.
            store: where the hashes are kept for the next call.
        """
        known: dict[str, list[Any]] = {}
        for cache in caches:
            known.update(json.loads(cache.read_text()) if cache.is_file() else {})
        fresh: dict[str, list[Any]] = {}

        def sha(path: Path) -> str:
            if not path.is_file():
                return "missing"
            status = path.stat()
            stamp = [status.st_size, status.st_mtime_ns]
            old = known.get(str(path))
            digest = old[2] if old and old[:2] == stamp else _sha256(path)
            fresh[str(path)] = [*stamp, digest]
            return str(digest)

        def case(files: Case) -> dict[str, str]:
            image = "".join(sha(path) for path in files.images)
            return {"image": image} | ({"label": sha(files.label)} if files.label else {})

        result = {name: case(files) for name, files in sorted(self.cases.items())}
        if fresh != known:
            with contextlib.suppress(OSError):  # a cache: without it the files are read again
                write_json(store, fresh)
        return result

    def listing_problems(self) -> list[str]:
        """What the names of the files alone show."""
        problems = []
        parts: list[tuple[str, dict[str, Case]]] = [("imagesTr", self.labelled), ("imagesTs", self.own_test)]
        parts.append(("imagesUn", self.unlabelled))
        seen: dict[str, str] = {}
        for name, cases in parts:
            problems += [
                f"{case}: in {seen[case]} and in {name}; remove it from one of them" for case in cases if case in seen
            ]
            seen.update(dict.fromkeys(cases, name))
        if not self.labelled:
            problems.append("imagesTr: no image; expected CASE_0000" + self.json["file_ending"])
        ending = self.json["file_ending"]
        used = [name for name, cases in parts if cases and not ("dataset" in self.json and name == "imagesTr")]
        problems += [
            f"{name}/{path.name}: the name does not end in a channel, as in CASE_0000{ending}; rename it"
            for name in used
            for path in _files(self.folder / name, ending)
            if not re.search(r"_\d{4}$", path.name.removesuffix(ending))
        ]
        for images, labels, cases in (("imagesTr", "labelsTr", self.labelled), ("imagesTs", "labelsTs", self.own_test)):
            if "dataset" in self.json and images == "imagesTr":
                continue
            stray = {path.name.removesuffix(ending) for path in _files(self.folder / labels, ending)} - set(cases)
            problems += [
                f"{case}: a label in {labels}, but no image in {images}; add or remove" for case in sorted(stray)
            ]
        return problems

    def _cases(self, images: str, labels: str | None) -> dict[str, Case]:
        ending = self.json["file_ending"]
        channels: dict[str, list[Path]] = {}
        for path in _files(self.folder / images, ending):
            channels.setdefault(path.name[: -len(ending) - 5], []).append(path)
        return {
            name: Case(name, tuple(paths), self.folder / labels / f"{name}{ending}" if labels else None)
            for name, paths in sorted(channels.items())
        }

    def _expand(self, path: str) -> Path:
        return self.folder / os.path.expandvars(path)


def examine(case: Case, channels: int, labels: Sequence[int], reader: Any, reference: str = "imagesUn/") -> Look:
    """Read a case once: what is wrong with it, and the numbers that planning needs. The label adds problems only."""
    missing = [path for path in (*case.images, case.label) if path is not None and not path.is_file()]
    if case.label in missing:
        return Look((f"no label at {case.label}; add it, or move the image to {reference} if it has none",))
    if missing:
        return Look((f"missing: {', '.join(map(str, missing))}",))
    if len(case.images) != channels:
        wanted = f"_0000 to _{channels - 1:04d}" if channels > 1 else "_0000"
        return Look(
            (f"{len(case.images)} channel file(s); dataset.json names {channels} channel(s), expected {wanted}",)
        )
    try:
        with quiet():
            image, geometry = reader.read_images([str(path) for path in case.images])
    except Exception as error:
        return Look(
            (f"cannot read its image ({_first_line(error)}); replace the file, its channels must share one geometry",)
        )
    problems = []
    if not np.isfinite(image).all():
        problems.append(f"{int((~np.isfinite(image)).sum())} voxels of the image are NaN or infinite; replace them")
    if case.label is not None:
        problems += _label_problems(case.label, image.shape[1:], geometry, labels, reader)
    if len(image) != channels:
        problems.append(f"{len(image)} channels, but dataset.json names {channels}")
    if not image.any():
        return Look((*problems, "the image is zero everywhere; replace the file"))
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    cropped = crop_to_nonzero(image)[0]
    spacing = tuple(float(value) for value in geometry["spacing"])
    return Look(tuple(problems), cropped.shape[1:], spacing, cropped.size / image.size)


def _label_problems(
    path: Path, shape: tuple[int, ...], geometry: Any, labels: Sequence[int], reader: Any
) -> Iterable[str]:
    try:
        with quiet():
            label, label_geometry = reader.read_seg(str(path))
    except Exception as error:
        return [f"cannot read its label ({_first_line(error)}); replace the file"]
    problems = []
    if label.shape[1:] != shape:
        problems.append(f"the label has shape {label.shape[1:]}, the image {shape}; resample one of them")
    else:
        names = _geometry_differences(geometry, label_geometry)
        if names:
            problems.append(f"image and label differ in {', '.join(names)}; correct the header that is wrong")
    unknown = sorted(set(np.unique(label).tolist()) - set(labels))
    if unknown:
        shown = ", ".join(f"{value:g}" for value in unknown[:6]) + (" ..." if len(unknown) > 6 else "")
        problems.append(f"label values {shown} are not in dataset.json, which names {list(labels)}")
    return problems


def _geometry_differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of the entries (spacing, origin, direction, affine) in which two readers' properties differ."""
    if isinstance(one, dict):
        parts = (_geometry_differences(one[key], other.get(key), key) for key in one)
        return list(dict.fromkeys(difference for part in parts for difference in part))
    if one is None or isinstance(one, str):
        return [] if one == other else [name]
    same = np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=1e-3, atol=1e-3)
    return [] if same else [name]


def _files(folder: Path, ending: str) -> list[Path]:
    found = folder.glob(f"*{ending}") if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.startswith("."))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        whole = hashlib.sha256()
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
