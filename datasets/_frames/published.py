"""Published lists of labelled Cityscapes frames, checked against their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from atso_bench.benchmark.spec import LabelFraction
from atso_bench.benchmark.splits import read_list

FOLDER = Path(__file__).parent / "manifests"
PERCENT = {100: "3.33333", 186: "6.25", 372: "12.5", 744: "25", 1488: "50"}
"""Number of labelled frames -> the label fraction under which it is published, percent (1/30, 1/16, 1/8, 1/4, 1/2)."""
LISTS = {"unimatch": (100, 186, 372, 744, 1488), "cps": (186, 372, 744, 1488)}
"""The lists of CPS are UniMatch's, but for the one of 100 frames, which CPS does not have."""
SHA256 = {
    100: "6ed2d223a80f5313026e668f4e173046f5349c3d24313fab341ff960b091e2f1",
    186: "c072620221b898904e21535cf9f0a90c921943e13eeff13591953ef67974e6a1",
    372: "536c6df21107ebf8e5084570ab102a02e5bd64dd328c3ffcd37f1e07cb4e882c",
    744: "eb8b3080da3ac7fb32e6e7df92092101a1fd28e7eed598631876ce0022117ea3",
    1488: "faa172ee63df3bdea0235501fd3c178fb96df6ca195047b9dfa876095d263f69",
}
"""Of the ids, each followed by a newline."""


def published_list(name: str, fraction: str) -> tuple[str, ...]:
    """The frames that a published list labels, in its order.

    Args:
        name: ``unimatch`` or ``cps``.
        fraction: a ``LabelFraction``; a percentage may be off by 1 % of itself, as 1/30 stands for 100 of 2,975.

    Raises:
        LookupError: if there is no such list; the message names what there is.
        OSError: if the file is damaged.
    """
    if name not in LISTS:
        raise LookupError(f"there is no published list {name!r}; there are: {', '.join(LISTS)}")
    wanted = LabelFraction(fraction)
    for count in LISTS[name]:
        percent = float(PERCENT[count])
        if wanted.cases == count or (wanted.percent and abs(wanted.percent - percent) <= 0.01 * percent):
            return _frame_list(count)
    known = ", ".join(f"{PERCENT[count]} % ({count}cases)" for count in LISTS[name])
    raise LookupError(f"{name} publishes no list for {fraction}; there are: {known}")


def is_published(frames: Iterable[str]) -> bool:
    """Whether these are the frames that one of the lists labels, in whatever order."""
    given = set(frames)
    return len(given) in SHA256 and given == set(_frame_list(len(given)))


def _frame_list(count: int) -> tuple[str, ...]:
    path = FOLDER / f"cityscapes-unimatch-{count}.txt"
    ids = read_list(path)
    found = hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest()
    if len(ids) != count or found != SHA256[count]:
        raise OSError(f"{path} is damaged: {len(ids)} frames, SHA-256 {found[:12]}...; install atso-bench again")
    return ids
