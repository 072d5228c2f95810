"""A trained network where its data is gone: what it needs beside the weights, and new images that it is to segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from atso_bench.benchmark.reading.user_files import read_object
from atso_bench.benchmark.store.files import write_json

if TYPE_CHECKING:
    import numpy as np

    from atso_bench.benchmark.task import Image, Task

SCHEMA = 1


@dataclass(frozen=True)
class Input:
    """An image that is to be segmented.

    Attributes:
        id: its name, without channel and ending; with folders where images lie in some.
        files: one for each channel, in order.
    """

    id: str
    files: tuple[Path, ...]


class Trained(Protocol):
    """A kind of task that knows its images' files, made of ``Task.portable`` alone."""

    @property
    def task(self) -> Task:
        """The task without data: it makes the network, predicts, restores and exports."""
        ...

    def inputs(self, folder: Path, say: Callable[[str], None] | None = None) -> tuple[list[Input], list[str]]:
        """The images of a folder, each of which was read once, and what ought to be known of them.

        Raises:
            ValueError: naming every image that cannot be segmented, what is wrong with it and what to do.
        """
        ...

    def opened(self, one: Input) -> AbstractContextManager[Image]:
        """The image as the network takes it."""
        ...

    def write(self, one: Input, label: np.ndarray, folder: Path) -> Path:
        """Write classes ``(*spatial)`` into a file of the folder, in the geometry of the input and with its values."""
        ...

    def beside(self) -> Mapping[str, Any]:
        """JSON files by name that say what the values in the files mean."""
        ...


class Reopens(Protocol):
    """A dataset's class whose models can be used without its data; the bases of volumes and frames are so."""

    @staticmethod
    def trained(portable: Mapping[str, Any]) -> Trained:
        """What predicts with a trained network, from ``Task.portable``."""
        ...


def portable_file(weights: Path) -> Path:
    """Where that which belongs to a file of weights lies."""
    return weights.with_suffix(".json")


def keep(weights: Path, task: Task) -> None:
    """Write beside a file of weights what predicting with them needs."""
    write_json(portable_file(weights), {"schema": SCHEMA, "task": dict(task.portable)})


def kept(weights: Path) -> dict[str, Any] | None:
    """What ``keep`` wrote; None where an earlier version wrote the weights.

    Raises:
        ValueError: if a newer version wrote it, or if it is damaged.
    """
    path = portable_file(weights)
    if not path.exists():
        return None
    content = read_object(path)
    if content.get("schema") != SCHEMA or not isinstance(content.get("task"), dict):
        raise ValueError(f"{path} was written by another version of this program; use that one")
    found: dict[str, Any] = content["task"]
    return found
