"""The prepared files of one dataset and configuration: written, verified against their checksums, and repaired."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from atso_bench.benchmark.reading.listed import few
from atso_bench.datasets._shared.each import Say, each
from atso_bench.datasets._shared.noted import damaged, note_files, noted
from atso_bench.datasets._shared.storage import locked
from atso_bench.datasets._volumes import plan
from atso_bench.datasets._volumes.prepare import Preprocessing, size_of
from atso_bench.datasets._volumes.raw import Case


@dataclass(frozen=True)
class Made:
    """``FOLDER/images`` and ``FOLDER/labels``, for every labelled set; CT is kept as it is before intensity scaling.

    Where a plan's resampling cannot be done when an image is read, CT has ``FOLDER-ct-KEY`` for each of them instead.

    Attributes:
        ignore: nnU-Net's ignore label in the raw files.
    """

    folder: Path
    preprocessing: Preprocessing
    cases: Mapping[str, Case]
    ignore: int | None

    def write(self, say: Say | None = None) -> None:
        """Preprocess all cases; call it under a lock."""
        self._write(self.folder / "labels", self._labelled, say)
        if not self._by_s:
            self._write(self.folder / "images", list(self.cases), say)

    def complete(self, images: Path, visible: Sequence[str]) -> None:
        """Preprocess the images of ``visible`` that are not in the folder ``images``; another process may wait here."""
        if set(visible) <= set(noted(images)):
            return
        with locked(images.with_name(f".{images.name}.lock")):
            self._write(images, [name for name in visible if name not in noted(images)])

    def mend(self, say: Say | None = None) -> list[str]:
        """Read every prepared file and make those again that are not as they were written; says which."""
        kinds = {self.folder / "labels": self._labelled}
        if not self._by_s:
            kinds[self.folder / "images"] = list(self.cases)
        notes = []
        for folder, names in kinds.items():
            if bad := damaged(folder, names):
                with locked(self.folder.parent / ".lock"):
                    self._write(folder, bad, say)
                notes.append(f"made again, as it was damaged or missing: {folder.name} of {few(bad, counted=True)}")
        for folder in sorted(self.folder.parent.glob(f"{self.folder.name}-ct-*/")):
            if bad := damaged(folder, noted(folder)):
                with locked(folder.with_name(f".{folder.name}.lock")):
                    note_files(folder, dict.fromkeys(bad, None))
                notes.append(
                    f"damaged or missing, the next run makes it again: {folder.name} of {few(bad, counted=True)}"
                )
        return notes

    @property
    def _labelled(self) -> list[str]:
        return [name for name, case in self.cases.items() if case.label is not None]

    @property
    def _by_s(self) -> bool:
        plans, configuration = self.preprocessing.plans, self.preprocessing.configuration
        return plan.needs_intensities(plans, configuration) and not plan.scales_late(plans, configuration)

    def _write(self, folder: Path, names: Sequence[str], say: Say | None = None) -> None:
        cases = [self.cases[name] for name in names]
        label = partial(self.preprocessing.label, folder=folder, ignore=self.ignore)
        write = label if folder.name == "labels" else partial(self.preprocessing.image, folder=folder)
        for name in names:
            for file in (f"{name}.b2nd", f"{name}.json", f"{name}.outside.b2nd"):
                with contextlib.suppress(FileNotFoundError):
                    (folder / file).unlink()
        sums = each(write, cases, size_of(cases), folder.name, say)
        note_files(folder, dict(zip(names, sums, strict=True)))


def made_of(plans: plan.Plans, configuration: str, target: Path) -> str:
    """What was preprocessed into the folder, in words."""
    if not plan.needs_intensities(plans, configuration):
        return f"preprocessed into {target}"
    if plan.scales_late(plans, configuration):
        return (
            f"preprocessed into {target}, once for every labelled set: CT is kept before intensity scaling, which "
            "follows when an image is read"
        )
    return (
        f"preprocessed the labels into {target}; the images follow for each labelled set, as their normalisation "
        "depends on it and these plans resample in a way of their own"
    )
