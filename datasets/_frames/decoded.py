"""Decoded frames on disk, made once from image files and found again by what the files look like."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark.spec import digest
from atso_bench.benchmark.store.files import write_json
from atso_bench.datasets._frames.on_disk import Listing, is_whole, raw_hash, role, write_frame
from atso_bench.datasets._shared.near import near_copies
from atso_bench.datasets._shared.noted import read_noted, write_noted
from atso_bench.datasets._shared.storage import Storage, locked, new_folder
from atso_bench.datasets._shared.twins import divisible, twins

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say

FORMAT = 2
"""Raise it when prepared data must be made again."""


@dataclass(frozen=True)
class Decoded:
    """The folders ``prepared/<name>/<identity>-<format>`` of one dataset, each with ``images/``, ``labels/`` and
    ``prepared.json``; and ``source.json``, which says what they were made from:

    ``{"source": given last with --from, "prepared": {source: {"listing": fingerprint, "key": folder, "raw": hash}}}``
    """

    name: str
    storage: Storage

    @property
    def home(self) -> Path:
        """Where new folders go."""
        return self.storage.new_prepared / self.name

    def memory(self) -> dict[str, Any]:
        """What ``source.json`` says; the data root's and, before it, the one where new files go."""
        memory: dict[str, Any] = {"source": None, "prepared": {}}
        for folder in (*(root / self.name for root in self.storage.prepared), self.home):
            kept = _read_facts(folder / "source.json")
            memory["source"] = kept.get("source") or memory["source"]
            entries = kept.get("prepared", {}).items()
            memory["prepared"].update(
                {source: entry for source, entry in entries if {"listing", "key", "raw"} <= set(entry)}
            )
        return memory

    def find(self, source: Path, listing: Listing | None) -> Path | None:
        """The folder that was made from files that looked like ``listing``; from ``source``, if that is gone."""
        known = self.memory()["prepared"]
        if listing is not None:
            fingerprint = listing.fingerprint
            keys = [entry["key"] for entry in known.values() if entry["listing"] == fingerprint]
        else:
            keys = [known[str(source)]["key"]] if str(source) in known else []
        keys = [key for key in keys if key.endswith(f"-{FORMAT}")]
        folders = (root / self.name / key for key in keys for root in self.storage.prepared)
        return next((folder for folder in folders if _whole(folder)), None)

    def make(self, source: Path, listing: Listing, say: Say | None = None) -> Path:
        """Check and decode all frames of ``listing``, unless another process has just done so.

        Raises:
            ValueError: naming every broken file, or that the disk is too small.
        """
        with locked(self.home / ".lock"):
            if (found := self.find(source, listing)) is not None:
                return found
            target, raw = self._decode(source, listing, say)
            entry = {"listing": listing.fingerprint, "key": target.name, "raw": raw}
            memory = self.memory()
            write_json(self.home / "source.json", {**memory, "prepared": {**memory["prepared"], str(source): entry}})
        return target

    def doubts(self, folder: Path, source: Path, listing: Listing | None, say: Say | None = None) -> str:
        """Why a prepared folder must be made again; empty if it need not. Reads every file.

        Files are found again by path, size and time. A damaged disk changes none of them, and what is damaged is
        forgotten here, so that ``find`` does not find it.
        """
        from atso_bench.datasets._shared.each import each

        frames = (read_noted(folder / "prepared.json") or {"frames": {}})["frames"]
        size = sum(fact["size"][0] * fact["size"][1] * 4 for fact in frames.values())
        whole = each(partial(_is_whole, folder=folder), list(frames.items()), size, "verify", say)
        wrong = [name for name, good in zip(frames, whole, strict=True) if not good]
        why = f"{len(wrong)} decoded frame(s) are damaged, as {wrong[0]}" if wrong else ""
        if not why and listing is not None:
            known = [entry["raw"] for entry in self.memory()["prepared"].values() if entry["key"] == folder.name]
            hashes = each(raw_hash, listing.frames, listing.raw_bytes, "verify original files", say)
            why = "" if digest(hashes) in known else f"files in {source} have changed and kept their sizes and times"
        if why:
            with locked(self.home / ".lock"):
                memory = self.memory()
                kept = {name: entry for name, entry in memory["prepared"].items() if entry["key"] != folder.name}
                gone = memory["prepared"].keys() - kept.keys()
                forgotten = {name: {"listing": "", "key": "", "raw": ""} for name in gone}
                write_json(self.home / "source.json", {**memory, "prepared": {**kept, **forgotten}})
                if wrong:
                    shutil.rmtree(folder)
        return why

    def remember(self, source: Path) -> None:
        """Keep what ``--from`` was given."""
        if self.memory()["source"] != str(source):
            with contextlib.suppress(OSError), locked(self.home / ".lock"):
                write_json(self.home / "source.json", {**self.memory(), "source": str(source)})

    def _decode(self, source: Path, listing: Listing, say: Say | None) -> tuple[Path, str]:
        """The new folder, and the hash of all original files."""
        from atso_bench.datasets._shared.each import each

        staging = self.home / "decoding"
        shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed between the two renamings
        with new_folder(staging) as folder:
            self._check_disk(listing)
            for kind in ("images", "labels"):
                (folder / kind).mkdir()
            write = partial(write_frame, folder=folder, reader=listing.reader)
            facts = each(write, listing.frames, listing.raw_bytes, "check and decode", say)
            problems = [*listing.problems, *(problem for fact in facts for problem in fact.get("problems", ()))]
            frames = {frame.id: fact for frame, fact in zip(listing.frames, facts, strict=True)}
            same, notes = _twins({name: fact for name, fact in frames.items() if "image" in fact})
            problems += same
            if problems:
                listed = "\n  ".join(problems)
                raise ValueError(f"{source} has {len(problems)} problem(s):\n  {listed}")
            _check_counted(source, facts, listing.reader.hint)
            smalls = {frame.id: fact.pop("small") for frame, fact in zip(listing.frames, facts, strict=True)}
            notes += near_copies(smalls, divisible(partial(_part, frames), partial(_group, frames)))
            raw, remarks = digest([fact.pop("raw") for fact in facts]), [fact.pop("remark") for fact in facts]
            notes += listing.reader.notes(source, remarks)
            identity, more = digest(frames), {}
            if listing.classes is not None:
                identity, more = digest([frames, listing.classes.names]), {"classes": listing.classes.to_json()}
            content = {"format": FORMAT, "identity": identity, "frames": frames, "notes": notes, **more}
            write_noted(folder / "prepared.json", content)
        name = f"{identity}-{FORMAT}"
        made = [root / self.name / name for root in self.storage.prepared]
        there = next((folder for folder in made if _whole(folder)), None)
        if there is not None:  # the files changed, but not what they hold
            if read_noted(there / "prepared.json") != content:  # but what is told of it, such as colours
                with contextlib.suppress(OSError):
                    write_noted(there / "prepared.json", content)
            shutil.rmtree(staging)
            return there, raw
        target = self.home / name
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
        return target, raw

    def _check_disk(self, listing: Listing) -> None:
        needed, free = listing.decoded_bytes, shutil.disk_usage(self.home).free
        if needed > free:
            raise ValueError(
                f"{len(listing.frames):,} decoded frames take {needed / 1e9:.3g} GB, but {self.home} has "
                f"{free / 1e9:.3g} GB free; make room, or set ATSO_BENCH_DATA to a folder on a larger disk"
            )


def _is_whole(item: tuple[str, dict[str, Any]], folder: Path) -> bool:
    return is_whole(*item, folder)


def _twins(frames: dict[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Frames with the same pixels: problems, and notes."""
    content = {name: fact["image"] for name, fact in frames.items()}
    return twins(content, partial(_part, frames), partial(_group, frames), "remove all but one")


def _check_counted(source: Path, facts: Sequence[dict[str, Any]], hint: str) -> None:
    """Refuse a part whose labels say nothing."""
    parts = [fact["part"] for fact in facts if fact["evaluated"] is not None]
    for part in dict.fromkeys(parts):
        if not any(fact["evaluated"] for fact in facts if fact["part"] == part):
            raise ValueError(f"{source}: no label of {part} has a pixel of an evaluated class; {hint}")


def _part(frames: dict[str, dict[str, Any]], name: str) -> str:
    return role(frames[name]["part"])


def _group(frames: dict[str, dict[str, Any]], name: str) -> str:
    return str(frames[name].get("group", name))


def _read_facts(path: Path) -> dict[str, Any]:
    """What was remembered; nothing if the file is gone or broken, for it can be found out again."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _whole(folder: Path) -> bool:
    """Whether every array of the folder is there, in the size that it was written with."""
    try:
        frames = (read_noted(folder / "prepared.json") or {})["frames"]
        for kind, planes in (("images", 3), ("labels", 1)):
            sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder / kind)}
            for name, fact in frames.items():
                wanted = fact["size"][0] * fact["size"][1] * planes
                if fact[kind.removesuffix("s")] is not None and sizes.get(f"{name}.npy", 0) < wanted:
                    return False
    except (OSError, ValueError, LookupError):
        return False
    return True
