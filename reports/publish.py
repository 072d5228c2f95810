"""A results folder as a static site: report, records, what verifying them has shown, and how to add one's own."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson

from atso_bench.benchmark.store import verified
from atso_bench.benchmark.store.asked import FOLDER as ASKED
from atso_bench.benchmark.store.files import atomic, write_json
from atso_bench.benchmark.store.record import Record
from atso_bench.reports.build import build
from atso_bench.reports.data import discreet
from atso_bench.reports.data.listing import check_file, record_files
from atso_bench.reports.pages import leaderboard

LISTED = "atso-bench-site.json"
"""In the site's folder: every file that was published, with its hash. What is not in it is not ours to remove."""
_SHARED = ("records", "report", ASKED, verified.FOLDER)


def publish(results: Path, to: Path, say: Callable[[str], object]) -> int:
    """Write the site; the same results give the same files. Nothing in ``results`` changes.

    Args:
        results: the folder that holds ``records/``.
        to: folder of the site: new, empty, or published before. What else was put there since stays.
        say: gets what is not published.

    Returns:
        How many finished runs are on it.

    Raises:
        ValueError: if ``to`` holds something else, if there is no record, or if a record names a path or the user.
    """
    earlier = _earlier(to, results)
    with tempfile.TemporaryDirectory(prefix="atso-bench-") as folder:
        staged = Path(folder) / "results"
        runs = _stage(results, staged, say)
        build(staged)
        found = {path.relative_to(staged).as_posix(): path for path in _files(staged)}
        pages = {"index.html": leaderboard.front(runs), "contribute.html": leaderboard.contribute(runs)}
        for name, page in pages.items():
            found[name] = staged / name
            found[name].write_text(page, encoding="utf-8")
        _write(found, to, earlier)
    return len(runs)


def _earlier(to: Path, results: Path) -> list[str]:
    """The files of an earlier site; none in a new or empty folder."""
    if to.exists() and not to.is_dir():
        raise ValueError(f"--to {to} is a file; give a folder, which need not exist yet")
    if to.resolve().is_relative_to((results / "records").resolve()):
        raise ValueError(f"--to {to} lies among the records; give another folder")
    if not to.exists() or not any(to.iterdir()):
        return []
    try:
        listed = json.loads((to / LISTED).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--to {to} is not empty, and no site that `publish` made; give a new folder") from error
    return [name for name in listed if not Path(name).is_absolute() and ".." not in Path(name).parts]


def _stage(results: Path, staged: Path, say: Callable[[str], object]) -> list[leaderboard.Published]:
    """Copy what a report is made from, without paths and names; returns the finished runs."""
    listed = record_files(results)
    if not listed:
        raise ValueError(f"there are no records under {results / 'records'}; make some with `atso-bench run`")
    runs = [run for file in listed for run in _published(file, results, say)]
    notes = [file for run in runs if run.notes for file in verified.files(results, run.record.spec.key)]
    telling: list[str] = []
    for file in dict.fromkeys([*listed, *sorted((results / ASKED).glob("*.json")), *notes]):
        telling += _copy(file, results, staged, say)
    if telling:
        raise ValueError(
            f"{len(telling)} value(s) would tell strangers of this machine or its user; repeat these runs with a "
            "relative path or another folder, or leave them out:\n  " + "\n  ".join(telling[:20])
        )
    if (results / "pictures").is_dir():
        shutil.copytree(results / "pictures", staged / "pictures")
    return runs


def _published(file: Path, results: Path, say: Callable[[str], object]) -> Iterator[leaderboard.Published]:
    if file.name.endswith(".failed.json"):
        return
    try:
        record = Record.read(file)
    except ValueError as error:  # the report lists it as a failure
        say(f"not among the finished runs: {error}")
        return
    yield leaderboard.Published(file.relative_to(results).as_posix(), record, verified.notes(results, record))


def _copy(file: Path, results: Path, staged: Path, say: Callable[[str], object]) -> list[str]:
    """Copy a file of JSON, unless it cannot be read, as is said; returns what it would tell strangers."""
    name = file.relative_to(results).as_posix()
    try:
        check_file(file, results)
        clean = discreet.cleaned(orjson.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        say(f"not published: {name} ({error})")
        return []
    write_json(staged / name, clean)
    return [f"{name}: {text}" for text in discreet.told(clean)]


def _files(staged: Path) -> Iterator[Path]:
    for folder in _SHARED:
        yield from (path for path in sorted((staged / folder).rglob("*")) if path.is_file())


def _write(found: Mapping[str, Path], to: Path, earlier: list[str]) -> None:
    """Every file by rename, the list of them last; then what an earlier site had and this one has not goes."""
    hashes = {}
    for name in sorted(found):
        content = found[name].read_bytes()
        hashes[name] = hashlib.sha256(content).hexdigest()
        with atomic(to / name) as partial:
            partial.write_bytes(content)
    for name in earlier:
        if name not in hashes:
            (to / name).unlink(missing_ok=True)
            _remove_empty((to / name).parent, to)
    write_json(to / LISTED, {"schema": 1, "files": hashes})


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
