"""AD-MT, alternate diverse mean teachers (Zhao, Wang, Wang, Yu, Yuan, Zhou; ECCV 2024, arXiv 2311.17325).

    student, teacher_0, teacher_1 <- theta_0;   active <- 0
    repeat for each step t of T:
        p_k     <- softmax teacher_k(x_u),   q <- softmax student(x_u)            # no gradient
        p       <- mean of p_0 and p_1, weighted by exp(-entropy)
        y, c    <- argmax and max of p;   where argmax p_0 != argmax p_1 and max q > c, of q
        x       <- while teacher_0 is active a strong view of x_u, while teacher_1 is x_u with boxes of another patch
        loss    <- sup(student(x_l), y_l) + w(t) * l(student(x), y) over voxels with c > threshold
        student <- student - lr * grad loss
        teacher_active <- a_t * teacher_active + (1 - a_t) * student;   the other stays as it is
        after a random number of steps, 1 .. P:   active <- 1 - active
    return student

It is ATSO's idea within a single training: there are two teachers, one learns while the other stays, and each has seen
the unlabelled cases in another way. In ATSO the two differ in the cases that they learnt from, so that a student's
labels come from a model that never saw them; here both have seen all cases, and differ in time and in views. AD-MT
writes no labels, so there is no relabelling that the report's figure of lazy mimicking could show.

The decay begins as with all averages here, ``a_t = min(1 - 1 / (t + 1), a)``; the authors' teachers are copies of the
student in the first steps. Their code mixes the labels before it asks the student, whose answer is about the patch
before it was mixed; here the student is asked first. Boxes have the share 1 - Beta(4, 4) of the patch, as theirs have
in two dimensions.
"""

from __future__ import annotations

import math
import random
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.average import RunningAverage
from atso_bench.benchmark.training.boxes import mixed
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Labelled
from atso_bench.methods._consistency import Terms, learn, together
from atso_bench.methods._losses import sigmoid_rampup
from atso_bench.methods._mixtures import cross_entropy, dice, random_boxes
from atso_bench.methods._pseudo import mean_of
from atso_bench.methods._settings import Settings


class AlternateDiverseTeachers(Settings):
    """Learns from two moving averages of itself that take turns in following it, and from itself where they differ."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "acdc": {"loss": "dice", "threshold": 0.95, "rampup": 0.25, "period": 50},
        "la": {"loss": "ce", "threshold": 0.8, "rampup": 0.4, "period": 19},
        "pancreas": {"loss": "ce", "threshold": 0.8, "rampup": 0.4, "period": 14},
    }
    after_training = ("final",)

    ema_decay: float = Field(0.99, ge=0, lt=1, description="a: decay of the active teacher's weights; authors 0.99")
    weight: float = Field(2, ge=0, description="final value of w, not tuned here; authors 2")
    rampup: float = Field(0.25, ge=0, le=1, description="share of training over which w rises; ACDC 0.25, LA 0.4")
    threshold: float = Field(0.95, ge=0, le=1, description="probability above which a label counts; ACDC 0.95, LA 0.8")
    loss: Literal["ce", "dice"] = Field("ce", description="l: cross-entropy or Dice; authors ce in 3D, dice in 2D")
    period: int = Field(
        50, ge=1, description="P: most steps before the teachers take turns; half an epoch, ACDC 50, LA 19, Pancreas 14"
    )
    final: Literal["student", "teachers"] = Field(
        "student", description="the result: the student, or the mean of the teachers' probabilities; authors student"
    )

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the student, or the mean of the teachers."""
        student, *teachers = (trainer.new_model() for _ in range(3))
        for teacher in teachers:
            teacher.requires_grad_(False).eval()
        averages = [RunningAverage(teacher, student, self.ema_decay) for teacher in teachers]
        steps = trainer.budget.steps
        active = turns(steps, self.period, trainer.seed)

        def step(labelled: Labelled, unlabelled: Tensor, progress: float) -> Terms:
            number, patch = len(unlabelled), unlabelled.shape[2:]
            if active[min(round(progress * steps), steps - 1)] == 0:
                view, inside = trainer.task.strong(unlabelled), None
            else:
                inside = random_boxes(number, patch, (4.0, 4.0), unlabelled.device)
                view = mixed(unlabelled, inside)
            output, weak, own = together(student, labelled.image, unlabelled, view)
            classes, sure = self.judged(main_head(weak).detach(), teachers, unlabelled)
            if inside is not None:
                classes, sure = mixed(classes, inside), mixed(sure, inside)
            apart = (cross_entropy if self.loss == "ce" else dice)(main_head(own), classes, sure)
            return {
                "labelled": trainer.task.loss(output, labelled.label),
                "pseudo": self.weight * sigmoid_rampup(progress, self.rampup) * apart,
            }

        learn(
            trainer,
            data,
            student,
            step,
            phase="student and two teachers",
            passes=3,
            after=lambda done: averages[active[(done - 1) % len(active)]].after(done),
            also=teachers,
        )
        return student if self.final == "student" else mean_of(teachers)

    @torch.no_grad()
    def judged(self, student: Tensor, teachers: list[nn.Module], image: Tensor) -> tuple[Tensor, Tensor]:
        """Classes ``(N, *patch)``, and where they count, by the student's logits and those of the teachers."""
        logits = student, *(main_head(teacher(image)) for teacher in teachers)
        own, one, other = (part.float().softmax(1) for part in logits)
        certain = torch.stack([-entropy(one), -entropy(other)]).softmax(0)  # exp(-entropy) of each, as a share
        confidence, classes = (certain[0][:, None] * one + certain[1][:, None] * other).max(1)
        mine, choice = own.max(1)
        better = (one.argmax(1) != other.argmax(1)) & (mine > confidence)
        return torch.where(better, choice, classes), torch.where(better, mine, confidence) > self.threshold


def entropy(chances: Tensor) -> Tensor:
    """In bits, ``(N, *spatial)`` of probabilities ``(N, K, *spatial)``."""
    return -torch.special.xlogy(chances, chances).sum(1) / math.log(2)


def turns(steps: int, period: int, seed: int) -> list[int]:
    """Which of two is active at each step: they take turns after a random number of steps, 1 to ``period``."""
    numbers, active, found = random.Random(seed), 0, list[int]()
    while len(found) < steps:
        found += [active] * numbers.randint(1, period)
        active = 1 - active
    return found[:steps]
