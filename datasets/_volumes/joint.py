"""Volumes of two datasets: labels come from the source, unlabelled and test cases from the target."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.task import IGNORE, Reference
from atso_bench.datasets._shared.joint import Joint, class_names
from atso_bench.datasets._shared.pairing import BACKGROUND, PREFIX
from atso_bench.datasets._shared.remade import make, release
from atso_bench.datasets._shared.storage import quiet
from atso_bench.datasets._volumes.dataset import NnunetDataset
from atso_bench.datasets._volumes.patients import FILE as PATIENTS
from atso_bench.datasets._volumes.raw import Case, RawDataset

if TYPE_CHECKING:
    from atso_bench.datasets._shared.each import Say
    from atso_bench.datasets._volumes.task import NnunetTask


class JointVolumes(Joint[NnunetDataset]):
    """See ``Joint``. Both are written as one dataset in nnU-Net's raw layout, with the pair's labels, and planned anew.

    The plan is made from the target's images alone. Intensities of CT, which nnU-Net takes from labelled voxels, are
    the source's, as labels are; other images are normalised one by one.
    """

    @cached_property
    def inner(self) -> _Written:
        """The two as one."""
        return _Written(self)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.pairing.classes

    def task(
        self, labelled: Sequence[str], visible: Sequence[str], budget: Budget, overrides: Mapping[str, Any]
    ) -> NnunetTask:
        """See ``Dataset.task``."""
        return self.inner.task(labelled, visible, budget, overrides)

    def content(self, case_id: str) -> str:
        return self.inner.content(case_id)

    def reference(self, case_id: str) -> Reference:
        """See ``Dataset.reference``."""
        return self.inner.reference(case_id)

    def hidden_label(self, case_id: str) -> np.ndarray:
        """See ``Dataset.hidden_label``."""
        return self.inner.hidden_label(case_id)

    def picture(self, case_id: str) -> np.ndarray:
        return self.inner.picture(case_id)

    @property
    def caveats(self) -> tuple[str, ...]:
        return (*super().caveats, *self.inner.caveats)

    def prepare(self, source: Path | None = None, say: Say | None = None) -> list[str]:
        """Write the two as one, and prepare it; see ``Dataset.prepare``."""
        if source is not None:
            return super().prepare(source)
        return self.inner.prepare(say=say)

    def ready(self, say: Say | None = None) -> list[str]:
        return self.inner.ready(say)


def joined(source: Any, target: NnunetDataset) -> JointVolumes:
    """See ``Dataset.joint``."""
    if not isinstance(source, NnunetDataset):
        raise ValueError(f"{source.name} has frames and {target.name} has volumes: no network learns from both")
    return JointVolumes(source, target)


class _Written(NnunetDataset):
    """The raw dataset that is made of both."""

    source = Joint.source

    def __init__(self, pair: JointVolumes) -> None:
        super().__init__(pair.configuration)
        self.pair, self.name = pair, pair.name
        self.folder = f"Dataset990_{re.sub(r'[^A-Za-z0-9]+', '-', pair.name)}"

    @property
    def planned_on(self) -> tuple[str, ...]:
        return tuple(name for name in super().planned_on if not name.startswith(PREFIX))

    @cached_property
    def raw(self) -> RawDataset:
        found = self._storage.find_raw(self.folder)
        if found is None or release(found / "dataset.json") != self.pair.identity:
            folder = self._storage.new_raw / self.folder
            found = make(folder, "dataset.json", self.pair.identity, partial(_write, self.pair))
        return RawDataset(found, self.group)


def _write(pair: JointVolumes, folder: Path) -> None:
    """Write both into ``folder``: images as they are (links where the disk allows), labels as the pair has them."""
    source, target = pair.source_set, pair.target_set
    _check(pair)
    ending, groups = target.raw.json["file_ending"], {}
    places = [
        *((source, name.removeprefix(PREFIX), name, "Tr") for name in pair.labels_from),
        *((target, name, name, "Tr") for name in target.pool),
        *((target, name, name, "Ts") for name in target.test),
        *((target, name, name, "Un") for name in target.unlabelled),
    ]
    for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "imagesUn"):
        (folder / part).mkdir()
    readers = {id(each): _reader(each) for each in (source, target)}
    for owner, own, name, part in places:
        case = owner.raw.cases[own]
        groups[name] = pair.group(name)
        for number, file in enumerate(case.images):
            _copy(file, folder / f"images{part}" / f"{name}_{number:04d}{ending}")
        if part != "Un":
            _copy_label(case, folder / f"labels{part}" / f"{name}{ending}", pair.table(name), owner, readers[id(owner)])
    labels = {name: number for number, name in enumerate(pair.pairing.classes)}
    if not pair.pairing.whole or any("ignore" in each.raw.json["labels"] for each in (source, target)):
        labels["ignore"] = len(labels)
    description = {
        "name": pair.name,
        "channel_names": target.raw.json["channel_names"],
        "labels": labels,
        "numTraining": len(pair.pool),
        "file_ending": ending,
        "release": pair.identity,
    }
    (folder / PATIENTS).write_text(json.dumps(groups, indent=1), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")


def _check(pair: JointVolumes) -> None:
    """Refuse two datasets that no network can read alike.

    Raises:
        ValueError: saying what differs.
    """
    channels = [len(each.raw.json["channel_names"]) for each in (pair.source_set, pair.target_set)]
    if channels[0] != channels[1]:
        raise ValueError(f"{pair.name}: the source has {channels[0]} channels, the target {channels[1]}")
    if pair.pairing.classes[0] != BACKGROUND:
        raise ValueError(f"{pair.name}: the first class of the class map must be {BACKGROUND}")
    if taken := sorted(name for name in pair.target_set.raw.cases if name.startswith(PREFIX)):
        raise ValueError(f"{pair.name}: cases of the target must not begin with {PREFIX!r}, as {taken[0]} does")


def _copy(file: Path, target: Path) -> None:
    """An image under another name; in another format where the endings differ."""
    if file.name.endswith(target.name[target.name.index(".") :]):
        with contextlib.suppress(OSError):
            os.link(file, target)
            return
        shutil.copy2(file, target)
        return
    import SimpleITK as sitk

    sitk.WriteImage(sitk.ReadImage(str(file)), str(target), useCompression=True)


def _copy_label(case: Case, target: Path, table: np.ndarray, owner: NnunetDataset, reader: Any) -> None:
    """A label with the pair's classes; as it is where these are the dataset's own."""
    if case.label is None:
        raise ValueError(f"{case.id} has no label")
    known = len(class_names(owner.raw))
    if owner.raw.ignore is None and np.array_equal(table[:known], np.arange(known)):
        _copy(case.label, target)
        return
    ignored = len(set(table.tolist()) - {IGNORE})
    with quiet():
        label, properties = reader.read_seg(str(case.label))
    values = np.where(table == IGNORE, ignored, table)
    if owner.raw.ignore is not None:
        values[owner.raw.ignore] = ignored
    with quiet():
        reader.write_seg(values[label[0].astype(np.uint8)].astype(np.uint8), str(target), properties)


def _reader(dataset: NnunetDataset) -> Any:
    """nnU-Net's reader and writer of a dataset's files."""
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    first = next(iter(dataset.raw.labelled.values()))
    return determine_reader_writer_from_dataset_json(dataset.raw.json, str(first.images[0]), verbose=False)()
