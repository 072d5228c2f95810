"""The one training loop. Methods call it; they never write their own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from atso_bench.benchmark.progress import Progress, silent
from atso_bench.benchmark.record import Phase
from atso_bench.benchmark.spec import Budget, digest
from atso_bench.benchmark.stages import PseudoLabels, Stages, hard, weights_digest
from atso_bench.benchmark.task import Draw, Pool, Task, TrainData
from atso_bench.benchmark.timing import Stopwatch, process_bytes

VERSION = 1
"""Version of the loop; a change that changes weights raises it, so that old stages are not taken for new ones."""

CHECKPOINT_SECONDS = 30.0
OBSERVED_CASES = 12
"""Cases of a student's own subset that it predicts for the diagnostics alone."""


@dataclass(frozen=True)
class Labelled:
    """``image`` ``(N, C, *patch)`` float32, ``label`` ``(N, *patch)`` int64 or soft ``(N, K, *patch)`` float32."""

    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class Unlabelled:
    """``image`` ``(N, C, *patch)`` float32. There is no label here to look at."""

    image: Tensor


Batch = Mapping[str, Any]
"""A ``Labelled`` or ``Unlabelled`` by the name of the pool that it was drawn from."""

Step = Callable[[Batch, float], Mapping[str, Tensor]]
"""(batch, progress in [0, 1)) -> scalar loss terms by name; the trainer minimises their sum."""


class Method(Protocol):
    """A frozen pydantic model of hyper-parameters with one verb."""

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Learn within the trainer's budget and return the model to be evaluated."""
        ...

    def model_dump(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Observation:
    """One relabelling, kept for the diagnostics.

    Attributes:
        phase: the training that made the student.
        generation: 1, 2, ...
        subset: which part of R the student was trained on; 1, 2, ...
        before: labels of R that the student was trained on.
        after: the student's own labels, of the cases that it relabelled and of some of its own subset.
        inside: cases that the student was trained on.
    """

    phase: str
    generation: int
    subset: int
    before: PseudoLabels
    after: PseudoLabels
    inside: tuple[str, ...]


class Trainer:
    """Owns device, optimiser, schedule, batches, budget, clock and stage store.

    Every random number is a function of the seed, the training's ordinal and the step, so that a run goes on after
    an interruption as if there had been none, with any number of loader workers.

    Attributes:
        spent: optimiser steps spent so far.
        phases: facts of the finished phases.
        observations: relabellings, for the diagnostics.
        warnings: what a reader of the record has to know.
    """

    def __init__(
        self,
        task: Task,
        budget: Budget,
        seed: int,
        stages: Stages,
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.task, self.budget, self.seed, self.stages = task, budget, seed, stages
        self.device = torch.device(device)
        self.workers = workers
        self.progress = progress or silent()
        self.spent = 0
        self.phases: list[Phase] = []
        self.observations: list[Observation] = []
        self.warnings: list[str] = []
        self.teacher_patches = 0
        self._trainings = 0

    def new_model(self) -> nn.Module:
        """A network with the seed's initial weights; two calls give equal weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.task.network().to(self.device)

    def shares(self, trainings: int, initial_share: float) -> tuple[int, list[int]]:
        """Optimiser steps of M0 and of each of ``trainings`` later trainings.

        With parity ``total`` M0 gets ``initial_share`` of the budget and the others divide the rest evenly; with
        parity ``phase`` each gets the whole budget.

        Raises:
            ValueError: if the budget has not one step for each training.
        """
        steps = self.budget.steps
        if self.budget.parity == "phase":
            return steps, [steps] * trainings
        if trainings == 0:
            return steps, []
        first = max(1, round(steps * initial_share))
        each, more = divmod(steps - first, trainings)
        if each < 1:
            raise ValueError(
                f"a budget of {steps} steps is too small for M0 and {trainings} more trainings with "
                f"initial_share={initial_share}; raise --budget or lower the number of generations"
            )
        return first, [each + (k < more) for k in range(trainings)]

    def train(
        self,
        model: nn.Module,
        step: Step,
        pools: Mapping[str, Pool],
        *,
        steps: int,
        phase: str,
        identity: Mapping[str, Any],
        after: Callable[[int], None] = lambda step: None,
        also: Sequence[nn.Module] = (),
        teacher_patches: int = 0,
    ) -> nn.Module:
        """Minimise ``step`` for ``steps`` optimiser steps and return ``model``, changed in place.

        Args:
            model: what the optimiser changes.
            step: the loss.
            pools: where batches come from; each gets an even share of the recipe's batch. An empty pool gives none.
            steps: optimiser steps.
            phase: a name for people.
            identity: what determines ``step`` and ``after``; phases of equal identity, pools, weights and steps are
                the same phase.
            after: called after each optimiser step with the number of steps done.
            also: modules that ``after`` changes, such as a teacher; they are stored with the model.
            teacher_patches: patches that ``step`` passes through a teacher at each step.

        Raises:
            RuntimeError: if the budget has not as many steps left.
            FloatingPointError: if a loss is not finite.
        """
        self._spend(steps, phase)
        pools = {name: pool for name, pool in pools.items() if pool.ids}
        models = [model, *also]
        key = self._train_key(models, pools, steps, identity)
        ordinal = self._trainings
        self._trainings += 1
        self.teacher_patches += steps * teacher_patches
        with self._claim(key, phase) as folder:
            done = self.stages.finished(folder)
            if done is None:
                training = Training(self, model, also, step, after, pools, steps, phase, ordinal)
                done = training.run(folder, key)
            else:
                state = self.stages.load(folder / "model.pt")
                for module, weights in zip(models, state["models"], strict=True):
                    module.load_state_dict(weights)
        self.phases.append(replace(done, name=phase))
        return model

    def predict(
        self, model: nn.Module, pool: Pool, *, phase: str, soft: bool = False, kind: str = "predict"
    ) -> PseudoLabels:
        """Label every case of ``pool`` with the model.

        Args:
            model: the teacher.
            pool: which cases.
            phase: a name for people.
            soft: write class probabilities ``(K, *spatial)`` float16 instead of classes ``(*spatial)``.
            kind: ``predict``, or ``diagnose`` for labels that no training will see.
        """
        mirror = self.task.recipe.mirror_pseudo
        key = self._predict_key(model, pool, soft)
        with self._claim(key, phase) as folder:
            done = self.stages.finished(folder)
            labels, seconds = self.stages.read_labels(folder)
            if done is None:
                clock = Stopwatch(self.device, seconds)
                saved = time.monotonic()
                with self.progress.phase(phase, len(pool.ids), "cases") as bar:
                    for index, case_id in enumerate(pool.ids):
                        if case_id not in labels:
                            with clock.running():
                                logits = self.task.predict(model, pool.images[case_id], self.device, mirror=mirror)
                                labels[case_id] = self.stages.write_label(folder, index, _as_label(logits, soft))
                        if time.monotonic() - saved > CHECKPOINT_SECONDS:
                            self.stages.write_manifest(folder, labels, clock.seconds)
                            saved = time.monotonic()
                        bar.advance(1)
                self.stages.write_manifest(folder, labels, clock.seconds)
                done = Phase(
                    phase,
                    kind,
                    clock.seconds,
                    samples=len(pool.ids),
                    device_bytes=clock.device_bytes,
                    process_bytes=process_bytes(),
                    key=key,
                )
                self.stages.finish(folder, done)
        self.phases.append(replace(done, name=phase, kind=kind))
        written = PseudoLabels(labels)
        if self.task.metric == "dice" and not any(hard(label).any() for label in written.values()):
            self.warn(
                f"{phase}: the teacher predicts background alone in all {len(written)} cases; its students can learn "
                f"nothing from them. Give it more steps (--budget, initial_share)"
            )
        return written

    def observe(
        self,
        student: nn.Module,
        pool: Pool,
        *,
        phase: str,
        generation: int,
        subset: int,
        inside: Sequence[str],
        before: PseudoLabels,
        after: PseudoLabels,
    ) -> None:
        """Keep a relabelling for the diagnostics; the student labels a few cases of its own subset for it."""
        own = [case_id for case_id in inside if case_id not in after][:OBSERVED_CASES]
        if own:
            name = f"{phase}, own subset"
            after = after | self.predict(student, pool.only(own), phase=name, kind="diagnose")
        self.observations.append(Observation(phase, generation, subset, before, after, tuple(inside)))

    def warn(self, message: str) -> None:
        """Say something on the console and in the record, once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self.progress.note(f"warning: {message}")

    def _train_key(
        self, models: Sequence[nn.Module], pools: Mapping[str, Pool], steps: int, identity: Mapping[str, Any]
    ) -> str:
        facts = {
            "kind": "train",
            "version": VERSION,
            "task": self.task.identity,
            "seed": self.seed,
            "ordinal": self._trainings,
            "steps": steps,
            "identity": dict(identity),
            "pools": {name: _pool_identity(pool) for name, pool in pools.items()},
            "weights": self._weights(models),
        }
        return digest(facts, length=24)

    def _predict_key(self, model: nn.Module, pool: Pool, soft: bool) -> str:
        facts = {
            "kind": "predict",
            "version": VERSION,
            "task": self.task.identity,
            "ids": pool.ids,
            "soft": soft,
            "mirror": self.task.recipe.mirror_pseudo,
            "weights": self._weights([model]),
        }
        return digest(facts, length=24)

    def _weights(self, models: Sequence[nn.Module]) -> str:
        return weights_digest(*models)

    def _spend(self, steps: int, phase: str) -> None:
        allowed = self.budget.steps if self.budget.parity == "phase" else self.budget.steps - self.spent
        if not 0 < steps <= allowed:
            raise RuntimeError(f"phase {phase!r} wants {steps} steps, {allowed} of {self.budget.steps} are left")
        self.spent += steps

    @contextmanager
    def _claim(self, key: str, phase: str) -> Iterator[Any]:
        try:
            with self.stages.claim(key) as folder:
                yield folder
        except Exception as error:
            error.phase = getattr(error, "phase", phase)  # type: ignore[attr-defined]
            raise


class Training:
    """One call of ``Trainer.train``: the loop itself."""

    def __init__(
        self,
        trainer: Trainer,
        model: nn.Module,
        also: Sequence[nn.Module],
        step: Step,
        after: Callable[[int], None],
        pools: Mapping[str, Pool],
        steps: int,
        phase: str,
        ordinal: int,
    ) -> None:
        recipe = trainer.task.recipe
        self.trainer, self.model, self.also, self.step, self.after = trainer, model, also, step, after
        self.steps, self.phase, self.ordinal = steps, phase, ordinal
        sizes = batch_shares(recipe.batch, list(pools))
        self.samples = sum(sizes.values())
        self.draws = {name: trainer.task.draws(pool, sizes[name]) for name, pool in pools.items()}
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=trainer.device.type in ("cpu", "cuda"),
        )
        self.losses = _LossLog(window=max(1, steps // 50))
        self.done = 0

    def run(self, folder: Any, key: str) -> Phase:
        trainer, device = self.trainer, self.trainer.device
        clock = Stopwatch(device, self._resume(folder))
        self.model.train()
        batches = iter(self._loader())
        with trainer.progress.phase(self.phase, self.steps, "steps", self.done) as bar:
            while self.done < self.steps:
                due = time.monotonic() + CHECKPOINT_SECONDS
                with clock.running():
                    while True:
                        self._one_step(next(batches))
                        bar.advance(1, loss=self.losses.last)
                        if self.done == self.steps or time.monotonic() >= due:
                            break
                if self.done < self.steps:
                    self._save(folder, clock.seconds)
        state = {"models": [module.state_dict() for module in (self.model, *self.also)]}
        trainer.stages.save(folder / "model.pt", state)
        phase = Phase(
            self.phase,
            "train",
            clock.seconds,
            steps=self.steps,
            samples=self.steps * self.samples,
            device_bytes=clock.device_bytes,
            process_bytes=process_bytes(),
            key=key,
            losses=self.losses.means,
        )
        trainer.stages.finish(folder, phase)
        return phase

    def probe(self, warm_up: int) -> float:
        """Seconds of a step, after some that do not count; for forecasts."""
        clock = Stopwatch(self.trainer.device)
        self.model.train()
        batches = iter(self._loader())
        for _ in range(warm_up):
            self._one_step(next(batches))
        timed = self.steps - self.done
        with clock.running():
            for batch in batches:
                self._one_step(batch)
        return clock.seconds / timed

    def _one_step(self, drawn: Mapping[str, tuple[Tensor, Tensor | None]]) -> None:
        recipe, device = self.trainer.task.recipe, self.trainer.device
        progress = self.done / self.steps
        seed_everything(self.trainer.seed, self.ordinal, self.done, stream=1)
        self.optimizer.param_groups[0]["lr"] = recipe.lr * (1 - progress) ** 0.9
        batch = {name: _to_device(image, label, device) for name, (image, label) in drawn.items()}
        with _autocast(device):
            terms = self.step(batch, progress)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.optimizer.step()
        self.done += 1
        self.after(self.done)
        self.losses.add(self.done, terms, self.phase, last=self.done == self.steps)

    def _loader(self) -> DataLoader[Any]:
        dataset = _Batches(self.draws, self.trainer.seed, self.ordinal)
        workers = min(self.trainer.workers, self.steps - self.done)
        return DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=None,
            sampler=range(self.done, self.steps),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.trainer.device.type == "cuda",
        )

    def _save(self, folder: Any, seconds: float) -> None:
        state = {
            "done": self.done,
            "seconds": seconds,
            "models": [module.state_dict() for module in (self.model, *self.also)],
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses.state(),
        }
        self.trainer.stages.save(folder / "progress.pt", state)

    def _resume(self, folder: Any) -> float:
        """Go back to the last checkpoint, if there is one; returns the seconds spent before it."""
        state = self.trainer.stages.load(folder / "progress.pt")
        if state is None:
            return 0.0
        for module, weights in zip((self.model, *self.also), state["models"], strict=True):
            module.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses.restore(state["losses"])
        self.done = state["done"]
        return float(state["seconds"])


class _LossLog:
    """Means of the loss terms over windows of steps; they are read from the device once a window."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.means: dict[str, list[float]] = {"step": []}
        self.last: float | None = None
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, step: int, terms: Mapping[str, Tensor], phase: str, *, last: bool) -> None:
        for name, term in terms.items():
            value = term.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        if self._count < self.window and not last:
            return
        self.means["step"].append(step)
        for name, total in self._sums.items():
            self.means.setdefault(name, []).append(total.item() / self._count)  # note: a CPU-GPU sync point
        self.last = sum(values[-1] for name, values in self.means.items() if name != "step")
        self._sums, self._count = {}, 0
        if not np.isfinite(self.last):
            raise FloatingPointError(
                f"the loss of phase {phase!r} is not finite by step {step}; lower recipe.lr "
                f"(--option recipe.lr=...) or look for NaN voxels with `atso-bench prepare`"
            )

    def state(self) -> dict[str, Any]:
        return {"means": self.means, "sums": self._sums, "count": self._count, "last": self.last}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.means, self.last = state["means"], state["last"]
        self._sums, self._count = dict(state["sums"]), state["count"]


@dataclass(frozen=True)
class _Batches:
    """Batch ``t`` of a training, for a ``DataLoader``."""

    draws: Mapping[str, Draw]
    seed: int
    ordinal: int

    def __getitem__(self, step: int) -> dict[str, tuple[Tensor, Tensor | None]]:
        seed_everything(self.seed, self.ordinal, step, stream=0)
        return {name: draw() for name, draw in self.draws.items()}


def batch_shares(batch: int, names: Sequence[str]) -> dict[str, int]:
    """Patches of each pool in a batch: an even share, at least one, the first pools get what is left over."""
    each, more = divmod(batch, len(names))
    return {name: max(1, each + (k < more)) for k, name in enumerate(names)}


def seed_everything(seed: int, ordinal: int, step: int, *, stream: int) -> None:
    """Set NumPy's, Python's and torch's global generators to where this step of this training begins."""
    words = np.random.SeedSequence([seed, ordinal, step, stream]).generate_state(4)
    np.random.seed(words[:2])  # noqa: NPY002 - nnU-Net's augmentation draws from the global generator
    random.seed(int(words[2]))
    torch.manual_seed(int(words[3]))


def clone(model: nn.Module) -> nn.Module:
    """An independent copy with the same weights."""
    return deepcopy(model)


def _autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware has it; it needs no loss scaling, and a CPU is slower with it."""
    enabled = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def _to_device(image: Tensor, label: Tensor | None, device: torch.device) -> Labelled | Unlabelled:
    moved = image.to(device, non_blocking=True)
    return Unlabelled(moved) if label is None else Labelled(moved, label.to(device, non_blocking=True))


def _as_label(logits: Tensor, soft: bool) -> np.ndarray:
    if soft:
        return logits.float().softmax(0).half().numpy()
    return logits.argmax(0).to(torch.uint8).numpy()


def _pool_identity(pool: Pool) -> dict[str, Any]:
    if isinstance(pool.labels, PseudoLabels):
        return {"ids": pool.ids, "labels": pool.labels.digest(pool.ids)}
    return {"ids": pool.ids, "labels": "true" if pool.labels is not None else None}
