"""What a forecast measures: seconds of a training step, of a case to label, of a case to score."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from atso_bench.benchmark.machine.timing import seconds_of
from atso_bench.benchmark.scoring.diagnostics import Judge, diagnose
from atso_bench.benchmark.spec import digest
from atso_bench.benchmark.store.packs import read_label
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import IGNORE, Dataset, Image, Pool, Task
from atso_bench.benchmark.trainer import Observation
from atso_bench.benchmark.training.labels import Style, styled
from atso_bench.benchmark.training.loop import CHECKPOINT_SECONDS, Training

CASES = 5
"""Cases that are timed, spread over their sizes; the largest one before them is for the memory."""

OPENED = 256
"""Cases whose sizes are looked at."""

Found = TypeVar("Found")


class Probes:
    """What was measured, once for each kind of work.

    Attributes:
        seconds: what the measuring itself took, without what only a first time takes (imports): so does a run's.
        peak: memory of the device in the kinds of work asked for since it was set to 0, measured now or before.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds, self.peak = 0.0, 0
        self._device = device if device.type == "cuda" else None
        self._found: dict[str, Any] = {}
        self._peaks: dict[str, int] = {}

    def once(self, kind: Any, measure: Callable[[], Found]) -> Found:
        """What ``measure`` gives, or gave when this kind was measured."""
        key = digest(kind)
        if key not in self._found:
            began = time.perf_counter()
            if self._device is not None:
                gc.collect()  # what earlier work left behind is none of this one's memory
                torch.cuda.reset_peak_memory_stats(self._device)
            self._found[key] = measure()
            self._peaks[key] = 0 if self._device is None else torch.cuda.max_memory_allocated(self._device)
            self.seconds += time.perf_counter() - began
        self.peak = max(self.peak, self._peaks[key])
        found: Found = self._found[key]
        return found

    def begin(self, action: Callable[[], object], device: torch.device) -> None:
        """Warm up by doing something for the first time, and once more to see what the first time was longer."""
        first, again = seconds_of(action, device), seconds_of(action, device)
        self.seconds -= max(0.0, first - again)


@dataclass(frozen=True)
class TrainingCost:
    """Seconds of a step, beside the steps (starting and ending the loaders), and of a checkpoint."""

    step: float
    beside: float
    checkpoint: float

    def of(self, steps: int) -> float:
        """Seconds of a training."""
        working = self.beside + steps * self.step
        return working + self.checkpoint * (1 + int(working / CHECKPOINT_SECONDS))


def training(measured: Probes, make: Callable[[], Training], folder: Path) -> TrainingCost:
    """Do a few steps and a checkpoint of a training that is not to be used."""
    measured.begin(make, torch.device("cpu"))
    probed = make()
    step, beside = probed.probe()
    checkpoint = seconds_of(lambda: Stages.save(folder / "probe.pt", probed.state(0.0, None)), probed.means.device)
    return TrainingCost(step, beside, checkpoint)


def labelling(measured: Probes, task: Task, model: nn.Module, pool: Pool, device: torch.device, style: Style) -> float:
    """Seconds to predict one case of ``pool``, as pseudo labels."""

    def once(case_id: str) -> None:
        image = pool.images[case_id]
        slabs = task.slabs(model, image, device, mirror=style.mirror)
        styled(slabs, image.array.shape[1:], len(task.classes), style)

    return _mean(measured, once, pool.images, pool.ids, device)


def writing(task: Task, ids: Sequence[str], folder: Path, *, soft: bool) -> float:
    """Seconds to write and read back one case's pseudo labels: true labels, as noise would not compress."""

    def once(index: int) -> None:
        label = _as_predicted(task.labels[ids[index]][:])
        classes = np.arange(len(task.classes)).reshape(-1, *[1] * label.ndim)
        read_label(Stages.write_label(folder, (label == classes).astype(np.float16) if soft else label))

    once(0)
    return statistics.fmean(seconds_of(partial(once, k), torch.device("cpu")) for k in range(min(CASES, len(ids))))


def evaluation(
    measured: Probes, task: Task, dataset: Dataset, model: nn.Module, exam: Task, device: torch.device
) -> float:
    """Seconds to predict a case of ``exam``, restore and score it; the true labels are labelled cases'."""

    def once(case_id: str) -> None:
        image = exam.images[case_id]
        exam.restore(image, exam.slabs(model, image, device, mirror=exam.recipe.mirror))

    def score(case_id: str) -> None:
        reference = dataset.reference(case_id)
        task.metric.scorer(task.classes).add(case_id, _as_predicted(reference.label), reference)

    known = tuple(task.labels)
    measured.begin(partial(score, known[0]), device)
    scoring = statistics.fmean(seconds_of(partial(score, case_id), device) for case_id in known[:CASES])
    return _mean(measured, once, exam.images, tuple(exam.images), device) + scoring


def diagnosis(task: Task, dataset: Dataset) -> float:
    """Seconds to compare one case's labels with their predecessor and with the truth."""
    known: Any = {case_id: _as_predicted(task.labels[case_id][:]) for case_id in tuple(task.labels)[:CASES]}
    judge = Judge(task.classes, task.metric, dataset.hidden_label, frozenset(known))
    seen = Observation("", 1, 1, before=known, after=known, inside=())
    diagnose([seen], judge)
    return seconds_of(lambda: diagnose([seen], judge), torch.device("cpu")) / (2 * len(known))  # M0's labels, and these


def _mean(
    measured: Probes,
    action: Callable[[str], None],
    images: Mapping[str, Image],
    ids: Sequence[str],
    device: torch.device,
) -> float:
    """Mean seconds of a case. Many images are opened, as a run opens all of them: that fills its cache."""
    opened = ids[:: math.ceil(len(ids) / OPENED)]
    ordered = sorted(opened, key=lambda case_id: int(np.prod(images[case_id].array.shape)))
    measured.begin(partial(action, ordered[len(ordered) // 2]), device)
    action(ordered[-1])
    chosen = [ordered[int((place + 0.5) * len(ordered) / CASES)] for place in range(CASES)]
    return statistics.fmean(seconds_of(partial(action, case_id), device) for case_id in chosen)


def _as_predicted(label: np.ndarray) -> np.ndarray:
    """True labels as a model would write them: it knows no ``IGNORE``."""
    return np.where(label == IGNORE, 0, label).astype(label.dtype)
