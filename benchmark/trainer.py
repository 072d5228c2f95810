"""The trainer that every method calls: phases, budget, stage store, warnings. The work is in ``loop.py`` and
``labelling.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from atso_bench.benchmark.machine import stopping
from atso_bench.benchmark.machine.progress import Progress, patience, silent
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.store.packs import DamagedError, PseudoLabels, StoredLabel
from atso_bench.benchmark.store.record import Phase
from atso_bench.benchmark.store.stages import Stages, weights_digest
from atso_bench.benchmark.task import IGNORE, Pool, Task, TrainData
from atso_bench.benchmark.training.average import averaged
from atso_bench.benchmark.training.curves import NONE, Curves
from atso_bench.benchmark.training.descent import add_steps, steps_behind
from atso_bench.benchmark.training.execution import PLAIN, Execution
from atso_bench.benchmark.training.imitation import Imitation
from atso_bench.benchmark.training.keys import Keys
from atso_bench.benchmark.training.labelling import Labelling, only_class
from atso_bench.benchmark.training.labels import Style
from atso_bench.benchmark.training.loop import Job, Means, Step, Training, nothing
from atso_bench.benchmark.training.profiling import Profile

OBSERVED_CASES = 12
"""Cases of a student's own subset that it predicts for the diagnostics alone."""


class Method(Protocol):
    """A frozen pydantic model of hyper-parameters with one verb; ``methods/_settings.py`` has all but the verb.

    What the attributes mean, which its class has, stands there.
    """

    @property
    def groups(self) -> tuple[str, ...]: ...

    @property
    def presets(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    def after_training(self) -> tuple[str, ...]: ...

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Learn within the trainer's budget and return the model to be evaluated."""
        ...

    def model_dump(self, *, exclude_defaults: bool = False) -> dict[str, Any]:
        """All options with their values, or those that differ from their defaults."""
        ...


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
        trainings: how many there were so far.
        phases: facts of the finished phases.
        observations: relabellings, for the diagnostics.
        warnings: what a reader of the record has to know.

    Everything that determines a phase is in its key, by the trainer itself: a method says nothing of it.

    ``carry_out`` and ``label`` are where a phase is worked on. A forecast replaces these two, and the work with them.
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
        profile: Profile | None = None,
        execution: Execution = PLAIN,
        method: Method | None = None,
        weights: Callable[..., str] = weights_digest,
        together: int = 1,
        averaging: bool = False,
        curves: Curves = NONE,
    ) -> None:
        self.task, self.budget, self.seed, self.stages = task, budget.own, seed, stages
        self.device = torch.device(device)
        self.progress = progress or silent()
        self.profile = profile or Profile()
        self.means = Means(
            task, seed, self.device, workers, self.progress, self.profile, execution, self.warn, together, curves=curves
        )
        self.spent = 0
        self.phases: list[Phase] = []
        self.observations: list[Observation] = []
        self.warnings: list[str] = []
        self.teacher_patches = 0
        self.averaging = averaging
        self.last: Job | None = None
        self.trainings = 0
        self.keys = Keys(task, self.budget, seed, self.device, execution, method, weights)

    def new_model(self, number: int = 0) -> nn.Module:
        """A network with the seed's initial weights; two calls with one number give equal weights.

        Every method begins with number 0; the others are for methods of several networks.
        """
        with self.profile.part("set-up"), self.initial(number):
            model = self.task.network().to(self.device)
        self.keys.planned(model)
        return model

    @contextmanager
    def initial(self, number: int = 0) -> Iterator[None]:
        """Within this, torch's generator on the CPU gives initial weights; afterwards it goes on as before."""
        with torch.random.fork_rng(devices=[]):
            words = np.random.SeedSequence([self.seed, number]).generate_state(1)
            torch.manual_seed(int(words[0]) if number else self.seed)  # torch heeds 32 bits of it on a CPU
            yield

    def shares(self, depths: Sequence[int], initial_share: float) -> tuple[int, list[int]]:
        """Optimiser steps of M0 and of each later training.

        With parity ``total`` M0 gets ``initial_share`` of the budget and the others divide the rest evenly. With
        ``line`` those divide the rest that follow one another, and one that starts from fresh weights gets the whole
        budget. With ``phase`` each gets the whole budget.

        Args:
            depths: for each later training how many trainings M0 is back, itself included; 0 from fresh weights.
            initial_share: M0's share of the budget.

        Raises:
            ValueError: if the budget has not one step for each training.
        """
        steps, parity = self.budget.steps, self.budget.parity
        if parity == "phase" or not depths:
            return steps, [steps] * len(depths)
        first = max(1, round(steps * initial_share))
        sharing = len(depths) if parity == "total" else max(depths)
        each, more = divmod(steps - first, max(1, sharing))
        if each < 1:
            raise ValueError(
                f"a budget of {steps} steps is too small for the first model (M0) and {sharing} more trainings with "
                f"initial_share={initial_share}; raise --budget or lower the number of generations"
            )
        parts = [each + (k < more) for k in range(sharing)]
        if parity == "total":
            return first, parts
        return first, [parts[depth - 1] if depth else steps for depth in depths]

    def train(
        self,
        model: nn.Module,
        step: Step,
        pools: Mapping[str, Pool],
        *,
        steps: int,
        phase: str,
        after: Callable[[int], None] = nothing,
        also: Sequence[nn.Module] = (),
        teacher_patches: int = 0,
        rate: float = 1.0,
    ) -> nn.Module:
        """Minimise ``step`` for ``steps`` optimiser steps and return ``model``, changed in place.

        The phase is the method's own: another method, other options or other code make it another phase.

        Args:
            model: what the optimiser changes; an ``nn.ModuleList`` is several networks, each clipped by itself.
            step: the loss.
            pools: where batches come from; each gets an even share of the recipe's batch. An empty pool gives none.
            steps: optimiser steps.
            phase: a name for people.
            after: called after each optimiser step with the number of steps done.
            also: modules that ``after`` changes, such as a teacher; they are stored with the model.
            teacher_patches: patches that ``step`` passes through a teacher at each step.
            rate: the learning rate as a multiple of the recipe's.

        Raises:
            RuntimeError: if the budget has not as many steps left.
            FloatingPointError: if a loss is not finite.
        """
        self._spend(steps, phase, model)
        pools = {name: pool for name, pool in pools.items() if pool.ids}
        average = averaged(model) if self.averaging else None
        job = self.last = Job(model, step, pools, steps, phase, after, also, average, rate)
        key, ordinal = self.keys.train(job, self.trainings), self.trainings
        self.trainings += 1
        self.teacher_patches += steps * teacher_patches
        self.carry_out(job, key, ordinal)
        add_steps(job.models, steps)
        return model

    def student_and_average(self, result: nn.Module) -> dict[str, nn.Module]:
        """The network that the last training changed and the moving average of it, one of which is ``result``.

        Empty where no average was kept, or where ``result`` was made of several trainings.
        """
        job = self.last
        if job is None or job.average is None or not job.average.known:
            return {}
        if any(result is teacher for teacher in job.also):
            return {"student": job.model, "average": result}
        place = next((name for name, part in job.model.named_modules() if part is result), None)
        return {} if place is None else {"student": result, "average": job.average.teacher.get_submodule(place)}

    def imitate(
        self,
        model: nn.Module,
        pools: Mapping[str, Pool],
        *,
        steps: int,
        phase: str,
        strong: bool = False,
        weight: float = 1.0,
        cutmix: bool = False,
        partial: bool = False,
        rate: float = 1.0,
        after: Callable[[int], None] = nothing,
        also: Sequence[nn.Module] = (),
    ) -> nn.Module:
        """Train ``model`` on the labels, true or pseudo, of ``pools``: supervised training, and all that follows it.

        Each pool's loss weighs by its share of the batch. Pools with pseudo labels weigh by ``weight`` too. With
        ``strong`` their images are shown in strong views, with ``cutmix`` half of each patch is another's, with
        ``partial`` voxels may lack a label (``predict`` with ``confidence``). The rest is as ``train`` has it.

        The loss is the trainer's, so that no method's code is in it: where weights, pools and steps are the same, this
        is one phase for all methods, as M0 is. It is the method's own where ``model`` is not the planned network as it
        was made, where images are not the task's, and with ``after`` or ``also``.
        """
        step = Imitation(self.task, model, pools, strong, weight, cutmix, partial)
        return self.train(model, step, pools, steps=steps, phase=phase, after=after, also=also, rate=rate)

    def carry_out(self, job: Job, key: str, ordinal: int) -> None:
        """Do the run's ``ordinal``-th training: train, or take the weights from the store."""
        with self._claim(key, job.phase) as folder:
            done = self._found(folder, job.phase, lambda: job.load(self.stages.learnt(folder)))
            if done is not None:
                self.means.curves.begin(job.phase, done.losses)
            else:
                with self.profile.part("set-up"), patience(self.progress, f"setting up {job.phase}"):
                    training = Training(self.means, job, ordinal)
                with stopping.held(f"after phase {job.phase!r}") as stop:
                    done = training.run(folder, key, stop)
        self._note(replace(done, name=job.phase), folder)

    def _found(self, folder: Path, phase: str, take: Callable[[], object]) -> Phase | None:
        """The facts of a finished phase, when ``take`` could read what it left; else it is to be made again."""
        try:
            done = self.stages.finished(folder)
            if done is not None:
                take()
            return done
        except DamagedError as error:
            self.warn(f"{phase}: {error}; it was made again")
            self.stages.forget(folder)
            return None

    def predict(
        self,
        model: nn.Module,
        pool: Pool,
        *,
        phase: str,
        soft: bool = False,
        mirror: bool = False,
        largest: bool = False,
        confidence: float = 0.0,
        kind: str = "predict",
    ) -> PseudoLabels:
        """Label every case of ``pool`` with the model.

        Args:
            model: the teacher.
            pool: which cases.
            phase: a name for people.
            soft: write class probabilities ``(K, *spatial)`` float16 instead of classes ``(*spatial)``.
            mirror: average over mirrored inputs, whatever the recipe says of pseudo labels.
            largest: keep of each class its largest connected component, the rest is background; for hard labels of
                volumes, where a class is one organ.
            confidence: a voxel whose class is less probable than this gets ``IGNORE``; for hard labels.
            kind: ``predict``, or ``diagnose`` for labels that no training will see.

        Raises:
            ValueError: for the largest component of probabilities, or of frames, where a class has many objects; for
                a confidence of probabilities.
        """
        if largest and (soft or self.task.metric.case != "case"):
            raise ValueError("largest_component is for hard pseudo labels of volumes; leave it off here")
        if confidence and soft:
            raise ValueError("confidence is for hard pseudo labels; leave it at 0 here")
        style = Style(soft, mirror or self.task.recipe.mirror_pseudo, largest, confidence)
        key = self.keys.predict(model, pool, style)
        return self.label(model, pool, Phase(phase, kind, 0.0, samples=len(pool.ids), key=key), style)

    def label(self, model: nn.Module, pool: Pool, begun: Phase, style: Style) -> PseudoLabels:
        """Do the pseudo-labelling that ``begun`` names: predict, or take the labels from the store."""
        phase = begun.name
        with self._claim(begun.key, phase) as folder:
            labelling = Labelling(self.means, self.stages, model, pool, style)
            labels: dict[str, StoredLabel] = {}
            done = self._found(folder, phase, lambda: labels.update(labelling.finished(folder)))
            if done is None:
                with stopping.held(f"after phase {phase!r}") as stop:
                    done, labels = labelling.run(folder, begun, stop)
        self._note(replace(done, name=phase, kind=begun.kind), folder)
        written = PseudoLabels(labels)
        alone = only_class(written)
        if alone == IGNORE:
            self.warn(f"{phase}: no pixel is confident enough to have a label, so there is nothing to learn from them")
        elif alone is not None:
            blank = f"predicts only {self.task.classes[alone]} in all"
            if not any(blank in warning for warning in self.warnings):  # its students will do so too
                self.warn(
                    f"{phase}: the teacher {blank} {len(written)} {self.task.metric.cases}; its students cannot learn "
                    f"from them. Give it more steps (--budget, initial_share)"
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
            name = f"{phase}, own subset (for the diagnostics)"
            after = after | self.predict(student, pool.only(own), phase=name, kind="diagnose")
        self.observations.append(Observation(phase, generation, subset, before, after, tuple(inside)))

    def warn(self, message: str) -> None:
        """Say something on the console and in the record, once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self.progress.note(f"warning: {message}")

    def _note(self, phase: Phase, folder: Path) -> None:
        self.phases.append(phase)
        self.profile.add(phase, folder)

    def _spend(self, steps: int, phase: str, model: nn.Module) -> None:
        before = {"total": self.spent, "line": steps_behind(model), "phase": 0}[self.budget.parity]
        allowed = self.budget.steps - before
        if not 0 < steps <= allowed:
            raise RuntimeError(f"phase {phase!r} needs {steps} steps, but {allowed} of {self.budget.steps} are left")
        self.spent += steps

    @contextmanager
    def _claim(self, key: str, phase: str) -> Iterator[Path]:
        with in_phase(phase), self.stages.claim(key) as folder:
            yield folder


@contextmanager
def in_phase(name: str) -> Iterator[None]:
    """What fails in the block failed in this phase, as the failure's record will say."""
    try:
        yield
    except Exception as error:
        error.phase = getattr(error, "phase", name)  # type: ignore[attr-defined]
        raise
