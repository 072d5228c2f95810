"""One training: batches, steps, checkpoints. Methods reach it through ``Trainer.train``; they never write their own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atso_bench.benchmark.machine.progress import Progress
from atso_bench.benchmark.machine.stopping import Stop
from atso_bench.benchmark.machine.timing import Stopwatch, process_bytes, seconds_of
from atso_bench.benchmark.store.record import Phase
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.task import Pool, Task
from atso_bench.benchmark.training.average import RunningAverage
from atso_bench.benchmark.training.batches import Batch, Batches, Labelled, Unlabelled, batch_shares, seed_everything
from atso_bench.benchmark.training.curves import NONE, Curves
from atso_bench.benchmark.training.execution import PLAIN, Execution, noticing
from atso_bench.benchmark.training.loaders import loading
from atso_bench.benchmark.training.loss_log import LossLog, not_finite
from atso_bench.benchmark.training.precision import Update, autocast
from atso_bench.benchmark.training.profiling import Parts, Profile, Timeline, Unmeasured
from atso_bench.benchmark.training.residence import held

CHECKPOINT_SECONDS = 30.0
WARM_UP, BLOCK, LEAST, MOST = 3, 4, 3, 40
"""Of a probe: steps that do not count, steps in a block, and how many blocks there are at least and at most."""
PROBE_SECONDS = 2.0
PROBED = WARM_UP + BLOCK * MOST


Step = Callable[[Batch, float], Mapping[str, Tensor]]
"""(batch, progress in [0, 1)) -> scalar loss terms by name; the trainer minimises their sum."""


def nothing(step: int) -> None:
    """Is done after a step where a method has nothing to do."""


@dataclass(frozen=True)
class Job:
    """What to train; see ``Trainer.train``. An ``average`` follows ``model`` and changes nothing."""

    model: nn.Module
    step: Step
    pools: Mapping[str, Pool]
    steps: int
    phase: str
    after: Callable[[int], None] = nothing
    also: Sequence[nn.Module] = ()
    average: RunningAverage | None = None
    rate: float = 1.0

    @property
    def models(self) -> list[nn.Module]:
        """All modules whose weights the training changes."""
        return [self.model, *self.also]

    def state(self) -> dict[str, Any]:
        """The weights."""
        models = {"models": [module.state_dict() for module in self.models]}
        return models if self.average is None else {**models, "average": self.average.teacher.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take the weights of ``state``; what was learnt before there were averages has none."""
        for module, weights in zip(self.models, state["models"], strict=True):
            module.load_state_dict(weights)
        if self.average is not None:
            self.average.known = "average" in state
            if self.average.known:
                self.average.teacher.load_state_dict(state["average"])

    @property
    def learners(self) -> list[nn.Module]:
        """The networks that the optimiser changes: several where ``model`` is a list of them."""
        return list(self.model) if isinstance(self.model, nn.ModuleList) else [self.model]


@dataclass(frozen=True)
class Means:
    """What trainings have in common: where, with what, and from which seed.

    ``together`` is how many runs share the device; on the ``shelf`` lies what the draws of this run keep there.
    """

    task: Task
    seed: int
    device: torch.device
    workers: int
    progress: Progress
    profile: Profile = field(default_factory=Profile)
    execution: Execution = PLAIN
    warn: Callable[[str], object] = lambda text: None
    together: int = 1
    shelf: dict[Any, Any] = field(default_factory=dict)
    curves: Curves = NONE


class Training:
    """The loop itself: ``ordinal`` numbers the trainings of a run, for its random numbers."""

    def __init__(self, means: Means, job: Job, ordinal: int) -> None:
        recipe = means.task.recipe
        self.means, self.job, self.ordinal = means, job, ordinal
        sizes = batch_shares(recipe, list(job.pools))
        self.samples = sum(sizes.values())
        self.draws = {name: means.task.draws(pool, sizes[name]) for name, pool in job.pools.items()}
        resident = held(self.draws, means.device, means.together, means.shelf)
        self.draws, self.workers = (self.draws, means.workers) if resident is None else (resident, 0)
        self.optimizer = torch.optim.SGD(
            job.model.parameters(),
            recipe.lr * job.rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov and recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=means.device.type in ("cpu", "cuda"),
        )
        self.update = Update(self.optimizer, means.device)
        self.losses = LossLog(max(1, job.steps // 50), lambda step, terms: means.curves.add(job.phase, step, terms))
        self.times: Timeline | Unmeasured = Unmeasured()
        self.done = 0
        self.warm_up: float | None = None

    def run(self, folder: Path, key: str, stop: Stop | None = None) -> Phase:
        """Train to the end, from the last checkpoint in ``folder`` if there is one, and store the weights there.

        Raises:
            FloatingPointError: if a loss or a weight is not finite; the checkpoint before stays.
            Interrupted: if ``stop`` was asked for and the training was not at its end; the checkpoint was written.
        """
        stop = stop or Stop()
        job, device = self.job, self.means.device
        state = Stages.load_progress(folder, self.means.warn)
        times = self.times = self.means.profile.timeline(device, _parts_before(state))
        clock = Stopwatch(device, *self._resume(state))
        self.means.curves.begin(job.phase, self.losses.means)
        job.model.train()
        with (
            self.means.progress.phase(job.phase, job.steps, "steps", self.done) as bar,  # seen while loaders begin
            self._batches() as drawn,
            noticing() as unsure,
            times.watching(job.also),
            compiled([*job.learners, *job.also] if self.means.execution.compiled else ()),
        ):
            bar.began = time.monotonic()
            batches = times.fetching(drawn)
            if self.means.execution.compiled and self.done < job.steps:
                self._warm_up(batches, clock)
                bar.advance(1)
            while self.done < job.steps:
                due = time.monotonic() + CHECKPOINT_SECONDS
                with clock.running():
                    while True:
                        self._one_step(next(batches))
                        bar.advance(1, loss=self.losses.last)
                        if self.done == job.steps or stop.asked or time.monotonic() >= due:
                            break
                if self.done < job.steps:
                    with times.part("checkpoints"):
                        self._save(folder, clock)
                    stop.end_if_asked(f"in phase {job.phase!r} at step {self.done} of {job.steps}")
        with times.part("checkpoints"):
            self._check_finite()
            Stages.save(folder / "model.pt", job.state())
        phase = Phase(
            job.phase,
            "train",
            clock.seconds,
            steps=job.steps,
            samples=job.steps * self.samples,
            device_bytes=clock.device_bytes,
            process_bytes=process_bytes(),
            key=key,
            losses=self.losses.means,
            joules=clock.joules,
            cpu_seconds=clock.cpu_seconds,
            warm_up=self.warm_up,
            nondeterministic=unsure,
        )
        times.save(folder)
        Stages.finish(folder, phase)
        return phase

    def _warm_up(self, batches: Iterator[Any], clock: Stopwatch) -> None:
        """The first step, apart: in it torch compiles what it meets."""
        before = clock.seconds
        with clock.running():
            self._one_step(next(batches))
        self.warm_up = clock.seconds - before
        self.means.progress.note(f"    {self.job.phase}: compiled in {self.warm_up:.0f} s, a part of the phase's time")

    def probe(self) -> tuple[float, float]:
        """For forecasts: seconds of a step, the median of some blocks, and those in which loaders begin and end.

        The job is to have ``PROBED`` steps; not all of them are made.
        """
        self.job.model.train()
        began = time.perf_counter()
        blocks: list[float] = []
        with self._batches() as batches:
            first = next(batches)
            beside = time.perf_counter() - began
            self._one_step(first)
            for _ in range(WARM_UP - 1):
                self._one_step(next(batches))
            while len(blocks) < LEAST or (sum(blocks) * BLOCK < PROBE_SECONDS and len(blocks) < MOST):
                blocks.append(seconds_of(lambda: self._some(batches), self.means.device) / BLOCK)
            ended = time.perf_counter()
        return statistics.median(blocks), beside + time.perf_counter() - ended

    def _some(self, batches: Iterator[Any]) -> None:
        for _ in range(BLOCK):
            self._one_step(next(batches))

    def _one_step(self, drawn: Mapping[str, Any]) -> None:
        progress = self.done / self.job.steps
        seed_everything(self.means.seed, self.ordinal, self.done, stream=1)
        self.optimizer.param_groups[0]["lr"] = self.means.task.recipe.lr * self.job.rate * (1 - progress) ** 0.9
        part = self.times.part
        with part("transfer"):
            batch = self.receive(drawn)
        with part("forward"):
            terms = self.forward(batch, progress)
        with part("optimiser"):
            self.optimizer.zero_grad(set_to_none=True)
        with part("backward"):
            self.update.backward(torch.stack(list(terms.values())).sum())
        with part("optimiser"):
            self.update.step(self.job.learners, self.means.task.recipe.clip)
        self.done += 1
        with part("teacher" if self.job.also else "other"):
            self.job.after(self.done)
            if self.job.average is not None:
                self.job.average.after(self.done)
        self.losses.add(self.done, terms, self.job.phase, last=self.done == self.job.steps)

    def receive(self, drawn: Mapping[str, Any]) -> Batch:
        """The batch on the device; there its second half is made, which on a CPU the loader has done."""
        device = self.means.device
        batch = {}
        for name, part in drawn.items():
            image, label = part if made_by_loader(device) else self.draws[name].finish(part, device)
            batch[name] = Unlabelled(image) if label is None else Labelled(image, label)
        return batch

    def forward(self, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        """The method's loss terms."""
        with autocast(self.means.device):
            return self.job.step(batch, progress)

    def _batches(self) -> AbstractContextManager[Iterator[Any]]:
        means = self.means
        dataset = Batches(self.draws, means.seed, self.ordinal, whole=made_by_loader(means.device))
        return loading(dataset, range(self.done, self.job.steps), self.workers, means.device, means.warn)

    def _save(self, folder: Path, clock: Stopwatch) -> None:
        self._check_finite()
        Stages.save_progress(folder, self.state(clock.seconds, clock.joules, clock.cpu_seconds))

    def _check_finite(self) -> None:
        """No loss has seen what the last update left behind, and losses are looked at once a window."""
        tensors = [tensor for module in self.job.models for tensor in module.state_dict().values()]
        tensors += self.losses.pending
        finite = [tensor.isfinite().all() for tensor in tensors if tensor.is_floating_point()]
        if not torch.stack(finite).all():  # note: a CPU-GPU sync point
            raise not_finite("a loss or a weight", self.job.phase, self.done)

    def state(self, seconds: float, joules: float | None, cpu_seconds: float | None = None) -> dict[str, Any]:
        """What a training goes on from, after so many seconds, joules and seconds of processor time."""
        parts = self.times.read()
        return {
            "done": self.done,
            "seconds": seconds,
            "joules": joules,
            "cpu_seconds": cpu_seconds,
            **self.job.state(),
            "optimizer": self.optimizer.state_dict(),
            **({"scaler": scaler.state_dict()} if (scaler := self.update.scaler).is_enabled() else {}),
            "losses": self.losses.state(),
            "profile": parts and asdict(parts),
        }

    def _resume(self, state: Mapping[str, Any] | None) -> tuple[float, float | None, float | None]:
        """Go back to the last checkpoint, if there is one; returns what a `Stopwatch` goes on from."""
        if state is None:
            return 0.0, 0.0, 0.0
        self.job.load(state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.update.scaler.load_state_dict(state.get("scaler", {}))
        self.losses.restore(state["losses"])
        self.done = state["done"]
        return float(state["seconds"]), state.get("joules"), state.get("cpu_seconds")  # older ones have only the first


@contextmanager
def compiled(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Compile modules in place for a while; what comes later, of other shapes, would only have them compiled again."""
    for module in modules:
        module.compile()
    try:
        yield
    finally:
        for module in modules:
            module._compiled_call_impl = None  # torch has no public way back


def made_by_loader(device: torch.device) -> bool:
    """Whether a batch is whole when it comes from the loader; otherwise its second half is made on the device."""
    return device.type == "cpu"


def _parts_before(state: Mapping[str, Any] | None) -> Parts:
    """What was measured of a training before its checkpoint."""
    if state is None:
        return Parts()
    if found := state.get("profile"):
        return Parts(**found)
    return Parts(missing=f"the first {state['done']} steps, before an interruption, which had no --profile")
