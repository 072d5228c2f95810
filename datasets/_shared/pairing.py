"""Which class of one dataset is which of another, where a method learns from one's labels and adapts to the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from atso_bench.benchmark.task import IGNORE

FOLDER = Path(__file__).parent / "pairs"
"""Class maps that come with the project, ``A-to-B.yaml``."""
PREFIX = "source_"
"""What stands before the ids of the source's cases."""
BACKGROUND = "background"


@dataclass(frozen=True)
class Pairing:
    """The classes that both sides have, and what of each side's labels they are.

    Attributes:
        classes: names, in the order of the network's outputs.
        source: for each class the indices of the source's classes that are merged into it.
        target: the same of the target.
        whole: whether neither side has a class that counts for nothing.
        note: what the file says of itself: whose protocol it is.
    """

    classes: tuple[str, ...]
    source: tuple[tuple[int, ...], ...]
    target: tuple[tuple[int, ...], ...]
    whole: bool
    note: str = ""

    def table(self, side: str) -> np.ndarray:
        """uint8 ``(256)``: what becomes of a label of that side; ``IGNORE`` where it is no class of the pair."""
        table = np.full(256, IGNORE, np.uint8)
        for number, merged in enumerate(self.source if side == "source" else self.target):
            table[list(merged)] = number
        return table


class _Sides(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: list[str]
    target: list[str]

    @field_validator("source", "target", mode="before")
    @classmethod
    def _several(cls, given: object) -> object:
        return [given] if isinstance(given, str) else given


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: str = ""
    classes: dict[str, _Sides]


def pairing(name: str, source: Sequence[str], target: Sequence[str], folders: Sequence[Path] = ()) -> Pairing:
    """The class map of a pair, from the first ``<name>.yaml`` in ``folders`` or ours; equal names without one.

    Args:
        name: ``A-to-B``.
        source: the source's classes in the order of its labels.
        target: the same of the target.
        folders: where the user's own maps may be.

    Raises:
        ValueError: if there is no map and the classes differ, or if a map names classes that there are not.
    """
    path = next((file for file in (folder / f"{name}.yaml" for folder in (*folders, FOLDER)) if file.is_file()), None)
    if path is None:
        if sorted(source) != sorted(target):
            where = f"{folders[0] / name}.yaml" if folders else f"{name}.yaml"
            raise ValueError(
                f"{name}: the source has the classes {', '.join(source)}, the target {', '.join(target)}; say which is "
                f"which in {where} (docs/transfer.md)"
            )
        both = {one: _Sides(source=[one], target=[one]) for one in target}
        return _pairing(_Written(classes=both), source, target)
    written = _read(path)
    if problems := [*_problems(written.classes, source, target)]:
        raise ValueError("\n".join([f"{path}:", *problems]))
    return _pairing(written, source, target)


def _read(path: Path) -> _Written:
    try:
        return _Written.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise ValueError("\n".join([f"{path} is no class map (docs/transfer.md):", *wrong])) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from error


def _problems(classes: Mapping[str, _Sides], source: Sequence[str], target: Sequence[str]) -> Iterator[str]:
    if len(classes) < 2:
        yield "a pair needs two classes, a background among them"
    for side, known in (("source", source), ("target", target)):
        taken: dict[str, str] = {}
        for name, sides in classes.items():
            for merged in getattr(sides, side):
                if merged not in known:
                    yield f"{name}: the {side} has no class {merged!r}; it has {', '.join(known)}"
                if merged in taken:
                    yield f"{merged} of the {side} is in {taken[merged]} and in {name}"
                taken[merged] = name
    for name, sides in classes.items():
        if not sides.target:
            yield f"{name}: no class of the target is in it, so nothing could be scored"


def _pairing(written: _Written, source: Sequence[str], target: Sequence[str]) -> Pairing:
    def indices(known: Sequence[str], side: str) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(known.index(name) for name in getattr(each, side)) for each in written.classes.values())

    sides = indices(source, "source"), indices(target, "target")
    named = [sum(map(len, side)) for side in sides]
    return Pairing(tuple(written.classes), *sides, named == [len(source), len(target)], written.note)
