"""Any dataset in nnU-Net's raw layout as a benchmark dataset: parts, groups, preparation and true labels."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from atso_bench.benchmark import places
from atso_bench.benchmark.reading.user_files import check_name
from atso_bench.benchmark.spec import Budget, digest
from atso_bench.datasets._shared.candidates import check_candidates
from atso_bench.datasets._shared.hidden import hidden
from atso_bench.datasets._shared.noted import read_noted, read_prepared, sha256, write_noted
from atso_bench.datasets._shared.storage import (
    Storage,
    announced,
    locked,
    new_folder,
    storage,
    unused_plans,
    user_plans,
)
from atso_bench.datasets._volumes.incoming import caveats_of, copy_raw, is_raw
from atso_bench.datasets._volumes.original import first_channel, true_labels
from atso_bench.datasets._volumes.published import PublishedSplit
from atso_bench.datasets._volumes.raw import Case, RawDataset

if TYPE_CHECKING:
    from atso_bench.benchmark.task import Reference
    from atso_bench.benchmark.trained import Trained
    from atso_bench.datasets._shared.each import Say
    from atso_bench.datasets._volumes.made import Made
    from atso_bench.datasets._volumes.prepare import Preprocessing
    from atso_bench.datasets._volumes.task import NnunetTask

FORMAT = 3
"""Raise it when prepared data must be made again."""


class NnunetDataset:
    """Base of the medical datasets; a named one sets the class attributes and says how its archive is converted.

    Args:
        configuration: nnU-Net configuration, ``2d`` or ``3d_fullres``.
    """

    name: str = ""
    folder: str = ""  # DatasetXXX_Name
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    joint = "atso_bench.datasets._volumes.joint"
    track = "medical"
    configurations: ClassVar[tuple[str, ...]] = ("2d", "3d_fullres")
    groupings: ClassVar[tuple[str, ...]] = ("patient",)
    default_list: str = ""
    published_splits: ClassVar[Mapping[str, PublishedSplit]] = {}

    def __init__(self, configuration: str = "2d") -> None:
        if configuration not in self.configurations:
            raise ValueError(f"--configuration must be one of {', '.join(self.configurations)}, got {configuration!r}")
        self.configuration = configuration

    # -- what a named dataset overrides ------------------------------------------------------------------------------

    def convert(self, source: Path, target: Path) -> None:
        """Write the dataset that ``source`` holds as an nnU-Net raw dataset into the new folder ``target``."""
        raise ValueError(f"{self.name} cannot be imported from {source}; give a folder in nnU-Net's raw layout")

    def group(self, case_id: str, by: str = "") -> str:
        """The patient: what ``patients.json`` says, else the case itself; see ``Dataset.group``."""
        return self.raw.patients.get(case_id, case_id)

    def settled(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        return dict(recipe)

    def published(self, name: str, fraction: str) -> tuple[str, ...]:
        return self.published_parts(name)["labelled"]

    def published_parts(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """See ``Dataset.published_parts``."""
        if name not in self.published_splits:
            known = f"; it has {', '.join(self.published_splits)}" if self.published_splits else ""
            raise LookupError(
                f"{self.name} has no published list {name!r}{known}; give a file: --split-list labelled=FILE"
            )
        return self.published_splits[name].parts()

    # -- what is there -----------------------------------------------------------------------------------------------

    def is_ready(self) -> tuple[bool, str]:
        """Whether a run can start, and what to do if it cannot. Reads names of files only."""
        found = self._storage.find_raw(self.folder)
        if found is None:
            return False, f"get it from {self.source}, then: atso-bench prepare {self.name} --from PATH"
        prepared = any(
            next(root.glob(f"{self.folder}/{self.configuration}-*/prepared.json"), None) for root in self._roots
        )
        return True, f"prepared from {found}" if prepared else f"in {found}; the first run prepares it"

    @cached_property
    def raw(self) -> RawDataset:
        found = self._storage.find_raw(self.folder)
        if found is None:
            close = get_close_matches(self.folder, places.own_volumes(), n=1)
            meant = f". Did you mean {close[0]!r}?" if close else ""
            raise FileNotFoundError(f"no {self.folder} in\n  {self._storage.looked}\n{self.is_ready()[1]}{meant}")
        return RawDataset(found, self.group)

    @property
    def pool(self) -> tuple[str, ...]:
        return self.raw.pool

    @property
    def unlabelled(self) -> tuple[str, ...]:
        return tuple(self.raw.unlabelled)

    @property
    def test(self) -> tuple[str, ...]:
        return self.raw.test

    @property
    def labels_from(self) -> tuple[str, ...]:
        return ()

    @property
    def planned_on(self) -> tuple[str, ...]:
        """The cases whose images nnU-Net plans by: all that training may see."""
        return (*self.pool, *self.unlabelled)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels, background first."""
        return self.raw.classes

    @cached_property
    def identity(self) -> str:
        """Hash of all files, of who is whose patient, and of the user's own plans where there are any."""
        own = user_plans(self.folder)
        told = [*([self.raw.patients] if self.raw.patients else []), *([sha256(own)] if own else [])]
        return digest([self.hashes, self.raw.json, *told])

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the reader of a record has to know about the data; empty before it is prepared."""
        return tuple(self._content["notes"]) if self._find_prepared() else ()

    def content(self, case_id: str) -> str:
        """Hash of the decoded image; prepares if that has not been done. See ``Dataset.content``."""
        if "_content" not in self.__dict__:
            self.ready()
        return str(self._content["images"][case_id])

    @cached_property
    def hashes(self) -> dict[str, dict[str, str]]:
        caches = [root / self.folder / "hashes.json" for root in self._roots]
        return self.raw.hashes(caches, self._storage.new_prepared / self.folder / "hashes.json")

    # -- preparation -------------------------------------------------------------------------------------------------

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        """Import, check, plan and preprocess, as far as it is not done yet; returns a line for each thing done.

        Args:
            source: folder or archive to import; None if the raw dataset is there.
            say: called with a line now and then while something takes long.

        Raises:
            ValueError: naming every bad case, what is wrong with it and what to do.
            FileNotFoundError: if there is nothing to prepare.
        """
        notes = [] if source is None else self._import(Path(source))
        imported = bool(notes) and notes[0].startswith("imported")
        try:
            told = self._check_and_make(say)
        except ValueError as error:
            if imported:
                self._drop_import()
                notes = [f"nothing of {source} was kept; correct the problems and give the same command again"]
            raise ValueError("\n".join([str(error), *notes])) from error
        return [*notes, *told, *(f"note: {caveat}" for caveat in (*self.caveats, *unused_plans(self.folder)))]

    def _check_and_make(self, say: Say | None) -> list[str]:
        """Verify what was made, or make it; returns a line for each thing done."""
        self.raw.json, self.raw.classes  # noqa: B018 - a broken dataset.json shows before anything is made
        if self._find_prepared() is not None:
            self._read_again()
        found = self._find_prepared()
        if found is not None and read_noted(found / "prepared.json") is not None:
            mended = self._made(found, self._plans).mend(say)
            return [f"{self.folder} {self.configuration} is prepared in {found}", *mended]
        return self._make(self._storage.new_prepared / self.folder / self._key, say)

    def ready(self, say: Say | None = None) -> list[str]:
        """Prepare if that has not been done; a run begins with this. Returns what was done, line by line."""
        if self._find_prepared() is not None:
            return []
        return announced(self.prepare(say=say), say)

    def _make(self, target: Path, say: Say | None) -> list[str]:
        """Check all cases, plan and preprocess, unless another process has just done so."""
        from atso_bench.datasets._volumes import plan
        from atso_bench.datasets._volumes.check import check_cases
        from atso_bench.datasets._volumes.made import made_of

        with locked(target.parent / ".lock"):
            if read_noted(target / "prepared.json") is not None:
                return [f"prepared in {target}"]
            for leftover in target.rglob(".*.partial"):
                leftover.unlink()
            looks, notes = check_cases(self.raw, say)
            own = user_plans(self.folder)
            seen = {name: looks[name] for name in self.planned_on}
            plans = plan.read_plans(own, self.raw, self.configuration) if own else plan.make_plans(self.raw, seen)
            notes += caveats_of(self.raw.json)
            notes += hidden(sorted(self.raw.folder.glob("*/")), self.raw.json["file_ending"])
            notes += plan.plan_doubts(own, plans, self.raw, self.configuration, looks)
            configuration = plan.configuration_of(plans, self.configuration)
            self._made(target, plans).write(say)
            images = {name: look.content for name, look in looks.items()}
            content = {"plans": plans, "identity": self.identity, "images": images, "notes": notes, "format": FORMAT}
            write_noted(target / "prepared.json", content)
        self._forget()
        return [
            f"checked {len(looks)} cases of {self.folder}: {len(self.pool)} for training, {len(self.test)} for test, "
            f"{len(self.unlabelled)} without labels",
            f"{'plans from ' + str(own) if own else 'planned by nnU-Net'}: {self.configuration}, "
            f"patch {'x'.join(map(str, configuration['patch_size']))}, batch {configuration['batch_size']}",
            made_of(plans, self.configuration, target),
        ]

    def _made(self, folder: Path, plans: dict[str, Any]) -> Made:
        from atso_bench.datasets._volumes.made import Made

        return Made(folder, self._preprocessing(plans), self.raw.cases, self.raw.ignore)

    def _read_again(self) -> None:
        """Hash all files anew: one may have changed and kept its size and its time."""
        before = self.hashes
        if self.raw.hashes([], self._storage.new_prepared / self.folder / "hashes.json") != before:
            self._forget()

    def _forget(self) -> None:
        for cached in ("raw", "hashes", "identity", "_key", "_plans", "_content"):
            self.__dict__.pop(cached, None)

    def _import(self, source: Path) -> list[str]:
        target = self._storage.new_raw / self.folder
        check_name(source)
        with locked(target.parent / f".{self.folder}.lock"):
            if (existing := self._storage.find_raw(self.folder)) is not None:
                return [f"{existing} already exists; remove it to import {source} again"]
            if not source.exists():
                raise FileNotFoundError(f"{source} does not exist; {self.name} comes from {self.source}")
            with new_folder(target) as partial_folder:
                if source.is_dir() and is_raw(source):
                    copy_raw(source, partial_folder)
                else:
                    self.convert(source, partial_folder)
        self._forget()
        return [f"imported {source} to {target}"]

    def _drop_import(self) -> None:
        """Take back an import that was refused: it would win over the corrected source."""
        target = self._storage.new_raw / self.folder
        with locked(target.parent / f".{self.folder}.lock"):
            shutil.rmtree(target)
            (self._storage.new_prepared / self.folder / "hashes.json").unlink(missing_ok=True)
        self._forget()

    # -- what a run asks for -----------------------------------------------------------------------------------------

    def task(
        self, labelled: Sequence[str], visible: Sequence[str], budget: Budget, overrides: Mapping[str, Any]
    ) -> NnunetTask:
        """Make the task that the labelled cases allow; see ``Dataset.task``."""
        from atso_bench.datasets._volumes import plan
        from atso_bench.datasets._volumes.task import NnunetTask
        from atso_bench.datasets._volumes.unscaled import Scaling, scalings

        check_candidates("labelled case(s)", labelled, {**self.raw.labelled, **self.raw.own_test}, self.folder)
        check_candidates("visible case(s)", visible, self.raw.cases, self.folder)
        self.ready()
        folder = self._prepared
        plans, images = self._plans, folder / "images"
        scaling: tuple[Scaling | None, ...] = ()
        if plan.needs_intensities(plans, self.configuration):
            plans = plan.with_intensities(plans, self._intensities(labelled))
            if plan.scales_late(plans, self.configuration):
                scaling = scalings(plans, self.configuration)
            else:
                key = digest(plans["foreground_intensity_properties_per_channel"])
                images = self._storage.new_prepared / self.folder / f"{folder.name}-ct-{key}"
                self._made(folder, plans).complete(images, visible)
        else:  # the user's own plans hold those below all labels, unlabelled and test cases' too
            plans = plan.with_intensities(plans, plan.no_intensities(len(self.raw.json["channel_names"])))
        return NnunetTask(
            dataset=self.name,
            plans=plans,
            configuration=self.configuration,
            dataset_json=self._dataset_json,
            classes=self.raw.classes,
            ignore=self.raw.ignore is not None,
            budget=budget,
            overrides=overrides,
            images=images,
            scaling=scaling,
            visible={name: self.hashes[name]["image"] for name in sorted(visible)},
            labels=folder / "labels",
            labelled={name: self.hashes[name]["label"] for name in sorted(labelled)},
        )

    @staticmethod
    def trained(portable: Mapping[str, Any]) -> Trained:
        """What predicts without the data; see ``Reopens``."""
        from atso_bench.datasets._volumes.trained import TrainedVolumes

        return TrainedVolumes(portable)

    def reference(self, case_id: str) -> Reference:
        """True labels in the original geometry; see ``Dataset.reference``."""
        return true_labels(self._labelled_case(case_id), self._preprocessing(self._plans).reader, self.raw.ignore)

    def picture(self, case_id: str) -> np.ndarray:
        """The first channel in the original geometry; see ``Dataset.picture``."""
        return first_channel(self.raw.cases[case_id], self._preprocessing(self._plans).reader)

    def hidden_label(self, case_id: str) -> np.ndarray:
        """True labels in the training geometry; see ``Dataset.hidden_label``."""
        from atso_bench.datasets._volumes.opened import TrueLabels

        name = self._labelled_case(case_id).id
        return np.array(TrueLabels(self._prepared / "labels", (name,), self.name)[name])

    # -- folders -----------------------------------------------------------------------------------------------------

    @cached_property
    def _storage(self) -> Storage:
        return storage()

    @property
    def _roots(self) -> tuple[Path, ...]:
        return self._storage.prepared

    @cached_property
    def _key(self) -> str:
        """Name of the prepared folder: it changes with the identity (data, user's plans), the parts and our format."""
        import importlib.metadata

        parts = [self.pool, self.unlabelled, self.test]
        facts = [FORMAT, importlib.metadata.version("nnunetv2"), self.identity, parts]
        return f"{self.configuration}-{digest(facts)}"

    def _find_prepared(self) -> Path | None:
        folders = (root / self.folder / self._key for root in self._roots)
        return next((folder for folder in folders if (folder / "prepared.json").is_file()), None)

    @property
    def _prepared(self) -> Path:
        found = self._find_prepared()
        if found is None:
            raise FileNotFoundError(f"{self.folder} is not prepared; run: atso-bench prepare {self.name}")
        return found

    @cached_property
    def _content(self) -> dict[str, Any]:
        """What was noted when the data was prepared."""
        return read_prepared(self._prepared, self.name)

    @property
    def _plans(self) -> dict[str, Any]:
        plans: dict[str, Any] = self._content["plans"]
        return plans

    @property
    def _dataset_json(self) -> dict[str, Any]:
        return {key: value for key, value in self.raw.json.items() if key != "dataset"}

    def _preprocessing(self, plans: dict[str, Any]) -> Preprocessing:
        from atso_bench.datasets._volumes.prepare import Preprocessing

        return Preprocessing(plans, self.configuration, self._dataset_json)

    def _intensities(self, labelled: Sequence[str]) -> dict[str, dict[str, float]]:
        """Intensity properties of the labelled cases, kept beside the prepared data."""
        from atso_bench.datasets._volumes.plan import intensities

        key = digest([[name, self.hashes[name]] for name in sorted(labelled)])
        path = self._storage.new_prepared / self.folder / "intensities" / f"{key}.json"
        found: dict[str, dict[str, float]] | None = read_noted(path)
        if found is None:
            reader = type(self._preprocessing(self._plans).reader)
            found = intensities([self.raw.cases[name] for name in sorted(labelled)], reader)
            write_noted(path, found)
        return found

    def _labelled_case(self, case_id: str) -> Case:
        case = self.raw.cases.get(case_id)
        if case is None or case.label is None:
            raise KeyError(f"{self.folder} has no labelled case {case_id!r}")
        return case
