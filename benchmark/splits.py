"""Which cases are labelled, unlabelled, validation and test: by group and seed, nested, disjoint; or from a list."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import accumulate, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark.reading.listed import few
from atso_bench.benchmark.spec import RunSpec, digest

if TYPE_CHECKING:
    from atso_bench.benchmark.task import Dataset

PARTS = ("pool", "labelled", "validation", "test")
"""What a published list may be: the training pool, or the labelled, validation or test cases."""
_CITYSCAPES = "_leftImg8bit.png"
_SHOWN, _LONGEST = 120, 255
"""Characters of a case id in a message, and of a file's name."""


@dataclass(frozen=True)
class Split:
    """The four parts of a run's cases. `make_split` sorts them, so that one ``hash`` stands for one value.

    Attributes:
        labelled: never empty.
        unlabelled: empty at 100 % of a dataset without unlabelled images.
        validation: may be empty.
        test: never empty.
    """

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.labelled:
            raise ValueError("a split needs at least one labelled case, but labelled is empty")
        if not self.test:
            raise ValueError("a split needs at least one test case, but test is empty")
        if twice := _twice((*self.labelled, *self.unlabelled, *self.validation, *self.test)):
            raise ValueError(f"a case may be in one part of a split only, but {_named(twice)} occur more than once")

    @property
    def hash(self) -> str:
        """Hash of what each part contains, in whatever order."""
        return digest([sorted(part) for part in (self.labelled, self.unlabelled, self.validation, self.test)])

    def to_json(self) -> dict[str, Any]:
        """The case ids by part, and ``hash``."""
        return {**{part: list(ids) for part, ids in asdict(self).items()}, "hash": self.hash}


def make_split(dataset: Dataset, spec: RunSpec) -> Split:
    """Divide the cases of ``dataset`` as ``spec`` says.

    - T is ``dataset.test``, the same for all. With ``spec.folds`` it is one of so many parts of all cases with a label,
      the dataset's own test set among them: whole groups, dealt by a seed that is made of the dataset's name alone, the
      next to the part with the fewest cases. The parts are the same for all seeds, fractions and methods.
    - V is ``spec.validation`` percent of the pool's groups (half rounds up, at least one), drawn by a seed that is made
      of the dataset's name alone: the same for all seeds and fractions.
    - S comes from the rest of the pool by whole groups. They stand in one order, shuffled by ``spec.seed``; S is the
      prefix whose number of cases is nearest to the target (of two equally near ones the shorter). The target is
      ``fraction`` percent of the rest's cases (half rounds up, at least 1), or the given number of cases. As the target
      grows, the nearest prefix never shrinks: the splits of one seed are nested, also where groups differ in size.
    - R is what remains, and ``dataset.unlabelled`` but for the groups of V and T.
    - Where labels come from another dataset (``dataset.labels_from``), S is drawn from these cases, and V from the
      others; the rest of these cases is left out. At 100 % S is all others: the labels of the dataset that is adapted
      to, an upper bound.
    - No two parts hold the same image, whatever its names.

    Published lists (``spec.lists``) overrule these rules, each for its part and without a shuffle: ``pool`` is the
    training pool and its first cases are labelled, as many as the target (peers label the first n of their lists, by
    case); ``labelled``, ``validation`` and ``test`` are exactly these parts, and without ``pool`` all other cases with
    a label are the pool. A list of ``labelled`` sets the fraction aside. As the fraction names the run in every table,
    it still must be true of the list: the same number of cases, or a percentage within 2 % of it (relative) or half a
    case.

    Raises:
        ValueError: if a list names an unknown case, one twice or one in two parts; if more cases are to be labelled
            than there are; if nothing is left to label; if a group of validation or test is also in the training
            pool; or if two parts hold the same image under two names.
    """
    if spec.split_by not in ("", *dataset.groupings):
        raise ValueError(f"{dataset.name} can be split by {' or '.join(dataset.groupings)}, got {spec.split_by!r}")
    lists = _checked_lists(dataset, spec)
    test = _fold(dataset, spec) if spec.folds else lists.get("test", dataset.test)
    pool = lists.get("pool") or _without((*dataset.pool, *dataset.test), (*test, *lists.get("validation", ())))
    elsewhere = dataset.labels_from
    validation = lists.get("validation") or _draw_validation(dataset, spec, _without(pool, elsewhere))
    rest = _without(pool, validation)
    apart = _groups(dataset, spec, (*validation, *test))
    if divided := apart & _groups(dataset, spec, rest):
        where = "test" if divided & _groups(dataset, spec, test) else "validation"
        hint = f"; split by {dataset.groupings[0]}" if spec.split_by else ""
        raise ValueError(
            f"a split must not divide a group, but {_named(divided)} are in the training pool and in {where}{hint}"
        )

    if "labelled" in lists:
        labelled = _check_labelled(spec, lists["labelled"], rest)
    elif "pool" in lists:
        labelled = rest[: _target(spec, len(rest))]
    else:
        labelled = _nearest_prefix(dataset, spec, _candidates(spec, rest, elsewhere))
    images = (case for case in dataset.unlabelled if dataset.group(case, spec.split_by) not in apart)
    parts = (labelled, (*_without(rest, (*labelled, *elsewhere)), *images), validation, test)
    split = Split(*(tuple(sorted(part)) for part in parts))
    _refuse_twins(dataset, split)
    return split


def _candidates(spec: RunSpec, rest: Sequence[str], elsewhere: Sequence[str]) -> tuple[str, ...]:
    """The cases of ``rest`` that may be labelled."""
    if not elsewhere:
        return tuple(rest)
    if spec.fraction == "100":
        return _without(rest, elsewhere)
    return tuple(case for case in rest if case in set(elsewhere))


def same_images(content: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The cases that share an image, sorted; ``content`` is case -> hash of its image."""
    holders: dict[str, list[str]] = {}
    for case, image in sorted(content.items()):
        holders.setdefault(image, []).append(case)
    return [tuple(cases) for cases in holders.values() if len(cases) > 1]


def _refuse_twins(dataset: Dataset, split: Split) -> None:
    """One image in two parts would be learnt from and asked for, whatever it is called."""
    part = {case: name for name, cases in asdict(split).items() for case in cases}
    divided = [
        " and ".join(f"{case!r} ({part[case]})" for case in cases)
        for cases in same_images({case: dataset.content(case) for case in part})
        if len({part[case] for case in cases}) > 1
    ]
    if divided:
        more = f" ... ({len(divided)} images in all)" if len(divided) > 5 else ""
        raise ValueError(
            f"two parts of a split must not share an image, but the same image is in {'; '.join(divided[:5])}{more}; "
            f"remove one of them from {dataset.name}, or put both into one group"
        )


def read_list(path: Path) -> tuple[str, ...]:
    """Read the case ids of a published list, in its order.

    One case a line, with or without a final newline: an id (``patient099_frame01``, ``06SR5RBREL16DQ6M8LWS``), or the
    pair of an image and a label file, which becomes the frame: Cityscapes' (``jena_000078_000019``), or two files of
    one name (``JPEGImages/2007_000032.jpg SegmentationClass/2007_000032.png``). Blank lines, Windows line ends and a
    byte-order mark are tolerated.

    Raises:
        ValueError: if a line is neither, if a case occurs twice, or if there is none; or if it is no text.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a list of cases: {error}; save it as UTF-8 text") from error
    ids = tuple(_case_id(line, path) for line in lines if line)
    if twice := _twice(ids):
        raise ValueError(f"{path} names {_named(twice)} more than once")
    if not ids:
        raise ValueError(f"{path} names no case")
    return ids


def _case_id(line: str, path: Path) -> str:
    image, *more = line.split()
    if image.endswith(_CITYSCAPES):
        return image.rsplit("/", 1)[-1].removesuffix(_CITYSCAPES)
    names = [Path(part).stem for part in (image, *more)]
    if all("/" in part for part in (image, *more)) and len(names) == 2 and names[0] == names[1]:
        return names[0]
    if "/" in line or "\\" in line:
        raise ValueError(
            f"{path}: {_short(line)} is neither a case id nor a pair of an image and its label (*{_CITYSCAPES} ..., or "
            "two files of one name)"
        )
    if len(line) > _LONGEST:
        raise ValueError(f"{path}: {_short(line)} is not a case id; a list has one case on each line")
    return line


def _checked_lists(dataset: Dataset, spec: RunSpec) -> dict[str, tuple[str, ...]]:
    lists = {part: tuple(ids) for part, ids in spec.lists.items()}
    if wrong := set(lists) - set(PARTS):
        raise ValueError(f"a case list must be one of {', '.join(PARTS)}; got {', '.join(sorted(wrong))}")
    if "validation" in lists and spec.validation:
        raise ValueError(
            f"the validation set is given by a list or by a percentage, but got a list and {spec.validation:g} %"
        )
    known = {*dataset.pool, *dataset.test}
    for part, ids in lists.items():
        if not ids:
            raise ValueError(f"the {part} list is empty")
        if twice := _twice(ids):
            raise ValueError(f"the {part} list names {_named(twice)} more than once")
        if unknown := set(ids) - known:
            raise ValueError(f"the {part} list names {_named(unknown)}, not among the labelled cases of {dataset.name}")
    whole = {"test": dataset.test, **lists}
    for part, other in combinations(sorted(whole), 2):
        both = set(whole[part]) & set(whole[other])
        if both and (part, other) != ("labelled", "pool"):
            hint = "" if "test" in lists else " (the dataset's own test set; --split-list test=FILE replaces it)"
            raise ValueError(f"a case may be in one part only, but {_named(both)} are in {part} and in {other}{hint}")
    return lists


def _fold(dataset: Dataset, spec: RunSpec) -> tuple[str, ...]:
    """The cases of the run's fold."""
    if not spec.fold:
        raise ValueError(f"{spec.title} is no run; a run has one of the folds as its test set")
    members: dict[str, list[str]] = {}
    for case in sorted({*dataset.pool, *dataset.test}):
        members.setdefault(dataset.group(case, spec.split_by), []).append(case)
    if len(members) < spec.folds:
        what = spec.split_by or dataset.groupings[0]
        raise ValueError(
            f"--folds {spec.folds} needs as many labelled groups (by {what}), but {dataset.name} has {len(members)}; "
            f"give --folds {max(2, len(members))} or fewer, or label more"
        )
    parts: list[list[str]] = [[] for _ in range(spec.folds)]
    for group in _shuffled(members, f"folds of {dataset.name}"):
        min(parts, key=len).extend(members[group])
    return tuple(parts[spec.fold - 1])


def _draw_validation(dataset: Dataset, spec: RunSpec, pool: Sequence[str]) -> tuple[str, ...]:
    if not spec.validation:
        return ()
    groups = _shuffled(_groups(dataset, spec, pool), f"validation of {dataset.name}")
    count = max(1, _half_up(Fraction(str(spec.validation)) / 100 * len(groups)))
    if count >= len(groups):
        taken = f"{count} of the pool's {len(groups)} groups"
        raise ValueError(
            f"--validation {spec.validation:g} takes {taken} and leaves none for training; give a smaller percentage"
        )
    drawn = set(groups[:count])
    return tuple(case for case in pool if dataset.group(case, spec.split_by) in drawn)


def _target(spec: RunSpec, available: int) -> int:
    """How many of ``available`` cases are to be labelled."""
    fraction = spec.fraction
    if fraction.cases is None:
        return max(1, _half_up(Fraction(fraction) / 100 * available))
    if fraction.cases > available:
        largest = f"the largest possible is {available}cases, or 100 %"
        raise ValueError(
            f"--fraction {fraction.cases}cases is more than the {available} cases of the training pool; {largest}"
        )
    return fraction.cases


def _nearest_prefix(dataset: Dataset, spec: RunSpec, rest: Sequence[str]) -> tuple[str, ...]:
    """The cases of the first groups in the seed's order, as many groups as come nearest to the target."""
    target = _target(spec, len(rest))
    members: dict[str, list[str]] = {}
    for case in rest:
        members.setdefault(dataset.group(case, spec.split_by), []).append(case)
    order = _shuffled(members, spec.seed)
    sizes = list(accumulate(len(members[group]) for group in order))
    if not sizes:
        raise ValueError(f"{dataset.name} has no labelled case to train on")
    nearest = min(range(len(sizes)), key=lambda i: abs(sizes[i] - target))  # the first of equals is the shortest
    return tuple(case for group in order[: nearest + 1] for case in members[group])


def _check_labelled(spec: RunSpec, labelled: tuple[str, ...], rest: Sequence[str]) -> tuple[str, ...]:
    if outside := set(labelled) - set(rest):
        hint = "; give the validation set as a list too, or none" if spec.validation else ""
        raise ValueError(f"the labelled list names {_named(outside)}, not in the rest of the training pool{hint}")
    fraction = spec.fraction
    wanted = Fraction(fraction) / 100 * len(rest) if fraction.cases is None else Fraction(fraction.cases)
    slack = 0 if fraction.cases is not None else max(Fraction(1, 2), wanted / 50)
    if abs(len(labelled) - wanted) > slack:
        amount = f"{len(labelled)} of the {len(rest)} cases of the training pool"
        raise ValueError(f"the labelled list has {amount}, not {spec.fraction}; give --fraction {len(labelled)}cases")
    return labelled


def _shuffled(names: Iterable[str], seed: int | str) -> list[str]:
    ordered = sorted(names)
    random.Random(seed).shuffle(ordered)
    return ordered


def _half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _twice(ids: Iterable[str]) -> list[str]:
    return [case for case, count in Counter(ids).items() if count > 1]


def _groups(dataset: Dataset, spec: RunSpec, cases: Iterable[str]) -> set[str]:
    return {dataset.group(case, spec.split_by) for case in cases}


def _without(cases: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    gone = set(others)
    return tuple(case for case in cases if case not in gone)


def _named(names: Iterable[str]) -> str:
    """Up to five of them, and how many there are."""
    ordered = sorted(names)
    return few([*map(_short, ordered)], counted=True)


def _short(text: str) -> str:
    """The text as a message shows it: a file may hold anything."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r} ... ({len(text):,} characters)"
