"""A trained network of volumes without its dataset: new images are read, prepared and written by nnU-Net's code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from atso_bench.benchmark.reading.image_files import memory_bytes
from atso_bench.benchmark.reading.listed import few, refuse
from atso_bench.benchmark.reading.user_files import check_name
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.trained import Input
from atso_bench.datasets._shared.each import each
from atso_bench.datasets._shared.names import name_problems
from atso_bench.datasets._shared.storage import quiet
from atso_bench.datasets._volumes.description import class_names
from atso_bench.datasets._volumes.examine import case_notes, examine
from atso_bench.datasets._volumes.opened import Images
from atso_bench.datasets._volumes.plan import configuration_of, needs_intensities, scales_late
from atso_bench.datasets._volumes.plausible import doubts
from atso_bench.datasets._volumes.prepare import Preprocessing, size_of
from atso_bench.datasets._volumes.raw import Case
from atso_bench.datasets._volumes.task import NnunetTask
from atso_bench.datasets._volumes.unscaled import scalings

if TYPE_CHECKING:
    from atso_bench.benchmark.task import Image
    from atso_bench.datasets._shared.each import Say

Channels = dict[int, Path]


class TrainedVolumes:
    """See ``Trained``.

    Args:
        portable: what ``NnunetTask.portable`` gave.
    """

    def __init__(self, portable: Mapping[str, Any]) -> None:
        self._portable = portable
        self.plans, self.configuration = portable["plans"], portable["configuration"]
        self.description = portable["dataset_json"]
        self.channels = tuple(map(str, self.description["channel_names"].values()))

    @cached_property
    def task(self) -> NnunetTask:
        labels = self.description["labels"]
        return NnunetTask(
            dataset=self._portable["dataset"],
            plans=self.plans,
            configuration=self.configuration,
            dataset_json=self.description,
            classes=class_names(labels, Path("dataset.json")),
            ignore="ignore" in labels,
            budget=Budget(**self._portable["budget"]),
            overrides=self._portable["overrides"],
            images=Path(),
            scaling=(),
            visible={},
            labels=Path(),
            labelled=dict.fromkeys(self._portable["labelled"], ""),
        )

    def inputs(self, folder: Path, say: Say | None = None) -> tuple[list[Input], list[str]]:
        """See ``Trained.inputs``; names are nnU-Net's: ``CASE_0000.nii.gz``, a file for each channel."""
        by_case, problems = self._listed(folder)
        problems += [text for name, found in by_case.items() for text in self._channel_problems(name, found)]
        refuse(folder, [*name_problems(by_case), *problems])
        cases = [Case(name, tuple(found[number] for number in sorted(found))) for name, found in by_case.items()]
        reader = self._preprocessing.reader
        look = partial(examine, channels=len(self.channels), labels=(), reader=reader)
        looks = dict(zip(by_case, each(look, cases, size_of(cases), "check", say), strict=True))
        refuse(folder, [f"{name}: {text}" for name, found in looks.items() for text in found.problems])
        plan, transpose = configuration_of(self.plans, self.configuration), self.plans["transpose_forward"]
        try:
            notes = doubts(plan, transpose, looks, len(self.channels), memory_bytes())
        except ValueError as error:
            raise ValueError(f"the model's plan does not fit these images: {error}") from error
        return [Input(case.id, case.images) for case in cases], [*notes, *case_notes(looks)]

    @contextmanager
    def opened(self, one: Input) -> Iterator[Image]:
        """As a run reads it: the prepared image is written and read again, so that it is the same bit for bit."""
        with TemporaryDirectory(prefix="atso-bench-") as folder:
            self._preprocessing.image(Case(one.id, one.files), Path(folder))
            yield Images(Path(folder), (one.id,), self._portable["dataset"], self._scaling)[one.id]

    def write(self, one: Input, label: np.ndarray, folder: Path) -> Path:
        """nnU-Net's writer, with what its reader says of the first channel's geometry."""
        reader, first = self._preprocessing.reader, one.files[0]
        with quiet():
            properties = reader.read_images([str(first)])[1]
        name = f"{one.id}{self._ending(first)}"
        with TemporaryDirectory(prefix=".", dir=folder) as made:
            reader.write_seg(label[None] if label.ndim == 2 else label, str(Path(made, name)), properties)
            for file in Path(made).iterdir():  # of TIFF, the spacing too
                file.replace(folder / file.name)
        return folder / name

    def beside(self) -> Mapping[str, Any]:
        return {"dataset.json": self.description}

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        return Preprocessing(self.plans, self.configuration, self.description)

    @property
    def _scaling(self) -> Sequence[Any]:
        late = needs_intensities(self.plans, self.configuration) and scales_late(self.plans, self.configuration)
        return scalings(self.plans, self.configuration) if late else ()

    @cached_property
    def _endings(self) -> list[str]:
        """Of the files that the reader takes, the dataset's own first."""
        known = self._preprocessing.reader.supported_file_endings
        return list(dict.fromkeys([self.description["file_ending"], *known, *([".nii"] * (".nii.gz" in known))]))

    def _ending(self, path: Path) -> str:
        """The ending of a file that is read, in its own letters; empty of another one."""
        found = next((ending for ending in self._endings if path.name.lower().endswith(ending.lower())), "")
        return path.name[len(path.name) - len(found) :]

    def _listed(self, folder: Path) -> tuple[dict[str, Channels], list[str]]:
        """Files by case and channel, and what is wrong with their names."""
        if not check_name(folder).is_dir():
            raise ValueError(f"{folder} is not a folder; give the folder that holds the images")
        files = [check_name(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        found: dict[str, Channels] = {}
        problems = []
        for path in files:
            if not (ending := self._ending(path)):
                continue
            match = re.fullmatch(r"(.+)_(\d{4})", path.name.removesuffix(ending))
            if match is None:
                whole = f"{path.name.removesuffix(ending)}_0000{ending}"
                problems.append(f"{path.name}: the name does not end in a channel; rename it, to {whole} for the first")
                continue
            other = found.setdefault(match[1], {}).setdefault(int(match[2]), path)
            if other != path:
                problems.append(f"{path.name} and {other.name} are the same channel; remove one of them")
        if not found and not problems:
            there = few([path.name for path in files]) or "nothing"
            raise ValueError(f"{folder} holds no image CASE_0000{self._endings[0]}; it holds {there}")
        return found, problems

    def _channel_problems(self, name: str, found: Channels) -> Iterator[str]:
        ending = self._ending(next(iter(found.values())))
        for number, channel in enumerate(self.channels):
            if number not in found:
                yield f"{name}: channel {number} ({channel}) is missing; add {name}_{number:04d}{ending}"
        if more := sorted(set(found) - set(range(len(self.channels)))):
            known = ", ".join(f"{number:04d} {channel}" for number, channel in enumerate(self.channels))
            yield f"{name}: the model has no channel {', '.join(f'{n:04d}' for n in more)}, only {known}; is it right?"
