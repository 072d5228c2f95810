"""One pseudo-labelling: every case of a pool by one model. Methods reach it through ``Trainer.predict``."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from atso_bench.benchmark.machine.stopping import Stop
from atso_bench.benchmark.machine.timing import Stopwatch, process_bytes
from atso_bench.benchmark.store.packs import DamagedError, PseudoLabels, StoredLabel, hard
from atso_bench.benchmark.store.record import Phase
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import IGNORE, Pool
from atso_bench.benchmark.training import loop
from atso_bench.benchmark.training.execution import noticing
from atso_bench.benchmark.training.labels import Style, finite, styled
from atso_bench.benchmark.training.loop import Means
from atso_bench.benchmark.training.profiling import Parts, Timeline, Unmeasured, in_part

MANIFEST_ROWS = 10_000
"""Labelled cases up to which their manifest is written every ``CHECKPOINT_SECONDS``; it takes 0.1 s then."""


@dataclass(frozen=True)
class Labelling:
    """Who labels which cases, and how: see ``Trainer.predict``."""

    means: Means
    stages: Stages
    model: nn.Module
    pool: Pool
    style: Style

    def finished(self, folder: Path) -> dict[str, StoredLabel]:
        """The labels of a finished phase, each file looked at once.

        Raises:
            DamagedError: if they are not those of all cases.
        """
        labels, *_ = self.stages.read_labels(folder)
        if missing := [case_id for case_id in self.pool.ids if case_id not in labels]:
            raise DamagedError(
                folder / "labels.json", f"of {len(missing)} {self.means.task.metric.cases}, {missing[0]} for one"
            )
        return labels

    def run(self, folder: Path, phase: Phase, stop: Stop) -> tuple[Phase, dict[str, StoredLabel]]:
        """Write the labels of the cases that ``folder`` lacks, and the phase's facts; returns these and all labels."""
        means, pool, cases = self.means, self.pool, self.means.task.metric.cases
        labels, seconds, joules, busy = self.stages.read_labels(folder, means.warn)
        self.stages.trim(folder, labels)
        self._check_room(len(labels))
        missing = f"{len(labels)} of {len(pool.ids)} {cases}, labelled before an interruption" if labels else ""
        times = means.profile.timeline(means.device, Parts(missing=missing))
        clock = Stopwatch(means.device, seconds, joules, busy)
        saved = time.monotonic()
        with (
            noticing() as unsure,
            _Writer(self.stages, folder) as writer,
            means.progress.phase(phase.name, len(pool.ids), cases) as bar,
        ):
            for index, case_id in enumerate(pool.ids):
                if case_id not in labels:
                    with clock.running():
                        label = self._label(case_id, times)
                        with times.part("writing"):
                            labels |= writer.write(case_id, label)
                bar.advance(1)
                # a manifest has a row for each case: the more there are, the longer the next one waits
                due = loop.CHECKPOINT_SECONDS * max(1.0, len(labels) / MANIFEST_ROWS)
                if stop.asked or time.monotonic() - saved > due:
                    with clock.running(), times.part("writing"):
                        labels |= writer.rest()
                    self.stages.write_manifest(folder, labels, clock.seconds, clock.joules, clock.cpu_seconds)
                    saved = time.monotonic()
                    if len(labels) < len(pool.ids):
                        stop.end_if_asked(f"in phase {phase.name!r} at {index + 1} of {len(pool.ids)} {cases}")
            with clock.running(), times.part("writing"):
                labels |= writer.rest()
        self.stages.write_manifest(folder, labels, clock.seconds, clock.joules, clock.cpu_seconds)
        done = replace(
            phase,
            seconds=clock.seconds,
            joules=clock.joules,
            cpu_seconds=clock.cpu_seconds,
            device_bytes=clock.device_bytes,
            process_bytes=process_bytes(),
            nondeterministic=unsure,
        )
        times.save(folder)
        self.stages.finish(folder, done)
        return done, labels

    def _label(self, case_id: str, times: Timeline | Unmeasured) -> np.ndarray:
        image, task = self.pool.images[case_id], self.means.task
        with times.part("prediction"):
            slabs = task.slabs(self.model, image, self.means.device, mirror=self.style.mirror)
        with times.part("writing"):
            slabs = finite(in_part(times, "prediction", slabs), case_id)
            return styled(slabs, image.array.shape[1:], len(task.classes), self.style)

    def _check_room(self, written: int) -> None:
        """Refuse before the first case what would fill the disk; hard labels compress too well to be asked about."""
        if not self.style.soft:
            return
        voxels = np.prod(self.pool.images[self.pool.ids[0]].array.shape[1:])
        needed = 2 * len(self.means.task.classes) * int(voxels) * (len(self.pool.ids) - written)
        free = shutil.disk_usage(self.stages.root).free
        if needed > free:
            raise OSError(
                f"soft pseudo labels of {len(self.pool.ids)} cases take up to {needed / 1e9:.3g} GB, but "
                f"{self.stages.root} has {free / 1e9:.3g} GB free; use hard ones (pseudo_labels=hard), or --out on a "
                "larger disk"
            )


class _Writer:
    """Compresses and writes one label in a thread of its own, while the device predicts the next."""

    def __init__(self, stages: Stages, folder: Path) -> None:
        self._stages, self._folder = stages, folder
        self._thread = ThreadPoolExecutor(1)
        self._pending: tuple[str, Future[StoredLabel]] | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def write(self, case_id: str, label: np.ndarray) -> dict[str, StoredLabel]:
        """Begin to write a label; returns the one before it, which is written now."""
        before = self.rest()
        self._pending = case_id, self._thread.submit(self._stages.write_label, self._folder, label)
        return before

    def rest(self) -> dict[str, StoredLabel]:
        """Wait for the label that is being written, if there is one.

        Raises:
            OSError: if it could not be written.
        """
        if self._pending is None:
            return {}
        (case_id, written), self._pending = self._pending, None
        return {case_id: written.result()}


def only_class(labels: PseudoLabels) -> int | None:
    """The class that all labelled pixels of all cases have, if they do; it looks no further than to the first other.

    ``IGNORE`` where no pixel has a label.
    """
    found: set[int] = set()
    for label in labels.values():
        classes = hard(label)
        known = classes[classes != IGNORE]
        found |= {int(known.min()), int(known.max())} if known.size else set()
        if len(found) > 1:
            return None
    return found.pop() if found else IGNORE if labels else None
