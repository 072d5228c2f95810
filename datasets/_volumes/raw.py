"""A raw dataset in nnU-Net's layout: its cases, its parts, the hash of its files, and what is wrong with them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from atso_bench.benchmark.reading.masks import TIFFS, spacing_file
from atso_bench.benchmark.reading.user_files import check_name
from atso_bench.datasets._shared.apart import drawn_test
from atso_bench.datasets._shared.names import name_problems
from atso_bench.datasets._shared.noted import read_noted, sha256, write_noted
from atso_bench.datasets._volumes.description import class_names, listed_files, read_description
from atso_bench.datasets._volumes.patients import patient_problems, read_patients


@dataclass(frozen=True)
class Case:
    """Files of one case; ``label`` is None where there is none."""

    id: str
    images: tuple[Path, ...]
    label: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.images, *(() if self.label is None else (self.label,)))

    def opened(self, what: Literal["image", "label"]) -> tuple[Path, ...]:
        """All files that a reader takes the image or the label from: with the spacing of TIFF volumes."""
        files = self.images if what == "image" else (self.label,) if self.label else ()
        if not files or files[0].suffix.lower() not in TIFFS:
            return files
        beside = spacing_file(files[0], images=what == "image")
        return (*files, beside) if beside.exists() else files


@dataclass(frozen=True)
class RawDataset:
    """A folder ``DatasetXXX_Name`` with ``dataset.json``, ``imagesTr`` and ``labelsTr``, and perhaps ``imagesTs`` with
    ``labelsTs`` (a labelled test set), ``imagesUn`` (images without labels) and ``patients.json`` (who is who).
    """

    folder: Path
    group: Callable[[str], str] = field(default=str)

    @cached_property
    def json(self) -> dict[str, Any]:
        return read_description(self.folder / "dataset.json")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the label values, background first, without nnU-Net's ignore label."""
        return class_names(self.json["labels"], self.folder / "dataset.json")

    @cached_property
    def patients(self) -> dict[str, str]:
        """Case -> patient, where the user has named it; see ``read_patients``."""
        return read_patients(self.folder)

    @property
    def ignore(self) -> int | None:
        """The value of nnU-Net's ignore label in the label files."""
        return len(self.classes) if "ignore" in self.json["labels"] else None

    @cached_property
    def labelled(self) -> dict[str, Case]:
        if "dataset" not in self.json:
            return self._cases("imagesTr", "labelsTr")
        listed = listed_files(self.json["dataset"], self.folder)
        return {name: Case(name, images, label) for name, (images, label) in listed.items()}

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
        if drawn := drawn_test(self.labelled, self.group):
            return drawn
        if not self.labelled:
            raise ValueError(
                f"{self.folder} has 0 labelled case(s) or patient(s); expected "
                f"imagesTr/CASE_0000{self.json['file_ending']} and its label"
            )
        raise ValueError(
            f"{self.folder} has 1 labelled case(s) or patient(s), and a test set needs one more; label more, or add a "
            "labelled test set (imagesTs, labelsTs)"
        )

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
            known.update(read_noted(cache) or {})
        fresh: dict[str, list[Any]] = {}

        def sha(path: Path) -> str:
            if not path.is_file():
                return "missing"
            status = path.stat()
            stamp = [status.st_size, status.st_mtime_ns]
            old = known.get(str(path))
            digest = old[2] if old and old[:2] == stamp else sha256(path)
            fresh[str(path)] = [*stamp, digest]
            return str(digest)

        def case(files: Case) -> dict[str, str]:
            image, label = ("".join(map(sha, files.opened(what))) for what in ("image", "label"))
            return {"image": image} | ({"label": label} if files.label else {})

        result = {name: case(files) for name, files in sorted(self.cases.items())}
        if fresh != known:
            with contextlib.suppress(OSError):  # a cache: without it the files are read again
                write_noted(store, fresh)
        return result

    def listing_problems(self) -> list[str]:
        """What ``dataset.json``, ``patients.json`` and the names of the files alone show."""
        problems = []
        parts = {"imagesTr": self.labelled, "imagesTs": self.own_test, "imagesUn": self.unlabelled}
        seen: dict[str, str] = {}
        for name, cases in parts.items():
            problems += [
                f"{case}: in {seen[case]} and in {name}; remove it from one of them" for case in cases if case in seen
            ]
            seen.update(dict.fromkeys(cases, name))
        count, told = len(self.labelled), self.json.get("numTraining")
        if not count:
            problems.append("imagesTr: no image; expected CASE_0000" + self.json["file_ending"])
        if told not in (None, count):
            problems.append(f"dataset.json: numTraining is {told!r}, there are {count} labelled cases; correct it")
        problems += name_problems(self.cases)
        train, test = ({name: self.group(name) for name in cases} for cases in (self.labelled, self.own_test))
        problems += patient_problems(self.patients, self.cases, train, test)
        return [*problems, *self._stray_files(parts)]

    def _stray_files(self, parts: Mapping[str, Mapping[str, Case]]) -> Iterator[str]:
        """Files that would be left out without a word because of their names."""
        ending = self.json["file_ending"]
        for images, cases in parts.items():
            if "dataset" in self.json and images == "imagesTr":
                continue
            yield from _holes(cases, images, ending)
            for path in _files(self.folder / images, ending) if cases else ():
                if not re.search(r"_\d{4}$", path.name.removesuffix(ending)):
                    yield (
                        f"{images}/{path.name}: the name does not end in a channel, as in CASE_0000{ending}; rename it"
                    )
            labels = images.replace("images", "labels")
            files = _files(self.folder / labels, ending) if images != "imagesUn" else ()
            for case in sorted({path.name.removesuffix(ending) for path in files} - set(cases)):
                yield f"{case}: a label in {labels}, but no image in {images}; add or remove"

    def _cases(self, images: str, labels: str | None) -> dict[str, Case]:
        ending = self.json["file_ending"]
        channels: dict[str, list[Path]] = {}
        for path in _files(self.folder / images, ending):
            channels.setdefault(path.name[: -len(ending) - 5], []).append(path)
        return {
            name: Case(name, tuple(paths), self.folder / labels / f"{name}{ending}" if labels else None)
            for name, paths in sorted(channels.items())
        }


def _holes(cases: Mapping[str, Case], folder: str, ending: str) -> Iterator[str]:
    """Cases that lack a channel below one that they have; the name of a file says which one it is."""
    for case, files in cases.items():
        ends = (re.search(r"_(\d{4})$", path.name.removesuffix(ending)) for path in files.images)
        numbers = {int(end[1]) for end in ends if end}
        if lacking := sorted(set(range(max(numbers, default=0))) - numbers):
            named = ", ".join(f"_{number:04d}" for number in lacking)
            yield f"{case}: no {named} in {folder}; add it, or correct the names of the others"


def _files(folder: Path, ending: str) -> list[Path]:
    found = folder.glob(f"*{ending}") if folder.is_dir() else ()
    return sorted(check_name(path) for path in found if not path.name.startswith("."))
