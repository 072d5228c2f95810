"""A trained network of frames without its dataset: new images are read as the dataset's own, and masks written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atso_bench.benchmark.reading.below import files_below
from atso_bench.benchmark.reading.listed import few, refuse
from atso_bench.benchmark.reading.user_files import check_name
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.files import atomic
from atso_bench.benchmark.task import Image
from atso_bench.benchmark.trained import Input
from atso_bench.datasets._frames.any_reader import IMAGES, AnyReader
from atso_bench.datasets._frames.classes import FrameClasses
from atso_bench.datasets._frames.task import FramesTask
from atso_bench.datasets._shared.each import each

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say

_READER = AnyReader({}, (), "")


class TrainedFrames:
    """See ``Trained``.

    Args:
        portable: what ``FramesTask.portable`` gave.
    """

    def __init__(self, portable: Mapping[str, Any]) -> None:
        self._portable = portable
        self.classes = FrameClasses.from_json(portable["classes"])

    @cached_property
    def task(self) -> FramesTask:
        return FramesTask(
            classes=self.classes,
            configuration=self._portable["configuration"],
            budget=Budget(**self._portable["budget"]),
            overrides=self._portable["overrides"],
            images={},
            labels={},
            visible={},
            labelled={},
            unlabelled=0,
            listed=False,
        )

    def inputs(self, folder: Path, say: Say | None = None) -> tuple[list[Input], list[str]]:
        """See ``Trained.inputs``; PNG, JPEG, TIFF or BMP, anywhere below the folder."""
        if not check_name(folder).is_dir():
            raise ValueError(f"{folder} is not a folder; give the folder that holds the images")
        files = [path for path in files_below(folder) if not path.name.startswith(".")]
        images = [path for path in files if path.suffix.lower() in IMAGES]
        if not images:
            there = few([path.name for path in files]) or "nothing"
            raise ValueError(f"{folder} holds no image ({', '.join(IMAGES)}); it holds {there}")
        found = {path: path.relative_to(folder).with_suffix("").as_posix() for path in images}
        first: dict[str, Path] = {}
        problems = [
            f"{path.name} and {first[name].name} would have one mask, {name}.png; rename one of them"
            for path, name in found.items()
            if first.setdefault(name, path) != path
        ]
        size = sum(path.stat().st_size for path in images if path.is_file())
        told = each(partial(_problem, folder=folder), images, size, "check", say)
        refuse(folder, [*problems, *filter(None, told)])
        return [Input(name, (path,)) for path, name in found.items()], []

    @contextmanager
    def opened(self, one: Input) -> Iterator[Image]:
        array = _READER.image(one.files[0])
        if isinstance(array, str):
            raise ValueError(f"{one.files[0]}: {array}")
        yield Image(array.transpose(2, 0, 1), {"size": list(array.shape[:2])})

    def write(self, one: Input, label: np.ndarray, folder: Path) -> Path:
        """A grey PNG of the values that the classes have in the dataset's masks."""
        from PIL import Image as Picture

        values = np.array(self.classes.ids)
        kind = np.uint8 if values.max() < 256 else np.uint16
        path = folder / f"{one.id}.png"
        with atomic(path) as partial_file:
            Picture.fromarray(values.astype(kind)[label]).save(partial_file, format="PNG")
        return path

    def beside(self) -> Mapping[str, Any]:
        labels = dict(zip(self.classes.names, self.classes.ids, strict=True))
        return {"dataset.json": {"labels": labels}}


def _problem(path: Path, folder: Path) -> str:
    found = _READER.image(path)
    return f"{path.relative_to(folder).as_posix()}: {found}" if isinstance(found, str) else ""
