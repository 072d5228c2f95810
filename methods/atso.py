r"""ATSO, asynchronous teacher-student optimisation (Huo, Xie, He, Yang, Zhou, Li, Tian; CVPR 2021, arXiv 2006.13461).

    M0     <- train on S
    labels <- M0(R)
    R_1 .. R_K <- seeded random partition of R by case
    repeat for each generation g = 1 .. G:
        for each subset k in 1 .. K:
            start   <- M0 | the previous model | fresh weights   # restart
            student <- fine-tune start on S + R_k with labels[R_k]
            labels[R \ R_k] <- student(R \ R_k)                # never its own subset
    return the last student | one more training on S + R | the mean of the last K students' probabilities

The paper has two ideas: the students' succession is broken up (``restart``), and a student never relabels the cases
that it was trained on (``subsets``). With ``subsets=1`` there are no other cases, so a student relabels its own: that
is self-learning. ``subsets`` in {1, 2} times ``restart`` in {previous, m0} separates the two.

There is no official code; what the paper leaves open is an option here and marked as ours.
"""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Literal

from pydantic import Field, model_validator
from torch import nn

from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.methods._pseudo import mean_of
from atso_bench.methods._students import Students


class ATSO(Students):
    """Each student learns from one part of the unlabelled cases and relabels the others."""

    groups = ("generations",)

    subsets: int = Field(2, ge=1, description="K: parts of the unlabelled set; 2 in the paper, 1 is self-learning")
    restart: Literal["m0", "previous", "scratch"] = Field("m0", description="where a student starts; ours among these")
    schedule: Literal["alternate", "parallel"] = Field(
        "alternate", description="students see labels that this generation wrote, or only the last one's; ours"
    )
    final: Literal["last", "union", "ensemble"] = Field("last", description="which model is the result; ours")
    pseudo_labels: Literal["hard", "soft"] = Field("hard", description="classes, as in the paper, or probabilities")

    @model_validator(mode="after")
    def _filtered_labels_are_classes(self) -> ATSO:
        if self.confidence and self.pseudo_labels == "soft":
            raise ValueError("confidence leaves voxels out of hard pseudo labels; give pseudo_labels=hard, or 0")
        return self

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the model that ``final`` names."""
        s, r, soft = data.labelled, data.unlabelled, self.pseudo_labels == "soft"
        parts = partition(r, self.subsets, trainer.seed)
        if 0 < len(parts) < self.subsets:
            trainer.warn(f"{len(parts)} unlabelled case(s) make {len(parts)} subsets instead of {self.subsets}")
        first, steps = trainer.shares(self.depths(len(parts)), self.initial_share)
        m0 = trainer.imitate(trainer.new_model(), {"labelled": s}, steps=first, phase="M0")
        if not parts:
            return m0
        labels = self.write(trainer, m0, r, "M0 labels R", soft=soft)
        students = [m0] * len(parts)
        for g in range(1, self.generations + 1):
            given = labels
            for k, part in enumerate(parts):
                if self.schedule == "alternate":
                    given = labels
                phase = f"generation {g}, subset {k + 1}"
                previous = students[k] if self.schedule == "parallel" else students[k - 1]
                pools = {"labelled": s, "pseudo": part.labelled_by(given)}
                start = self.start(trainer, m0, previous)
                student = self.teach(trainer, start, pools, steps.pop(0), phase)
                own = set(part.ids)
                others = r if len(parts) == 1 else r.only([i for i in r.ids if i not in own])
                last = g == self.generations and (self.schedule == "parallel" or k == len(parts) - 1)
                kind = "diagnose" if last and self.final != "union" else "predict"
                new = self.write(trainer, student, others, f"{phase} labels the others", soft=soft, kind=kind)
                trainer.observe(
                    student, r, phase=phase, generation=g, subset=k + 1, inside=part.ids, before=given, after=new
                )
                labels, students[k] = labels | new, student
        if self.final == "ensemble":
            return mean_of(students)
        if self.final == "union":
            pools = {"labelled": s, "pseudo": r.labelled_by(labels)}
            start = self.start(trainer, m0, students[-1])
            return self.teach(trainer, start, pools, steps.pop(0), "union")
        return students[-1]

    def depths(self, subsets: int) -> list[int]:
        """For each training after M0, how many of them M0 is back, itself included; 0 from fresh weights."""
        students, union = self.generations * subsets, self.final == "union" and subsets > 0
        if self.restart != "previous":
            return [int(self.restart == "m0")] * (students + union)
        together = subsets if self.schedule == "parallel" else 1
        depths = [k // together + 1 for k in range(students)]
        return [*depths, depths[-1] + 1] if union else depths

    def start(self, trainer: Trainer, m0: nn.Module, previous: nn.Module) -> nn.Module:
        """The model that a student starts from; a copy, so that the teacher stays as it is."""
        if self.restart == "scratch":
            return trainer.new_model()
        return deepcopy(m0 if self.restart == "m0" else previous)


def partition(pool: Pool, subsets: int, seed: int) -> list[Pool]:
    """Disjoint random parts of ``pool`` by case, as even as can be; fewer where there are fewer cases."""
    ids = sorted(pool.ids)
    random.Random(seed).shuffle(ids)
    return [pool.only(sorted(ids[k::subsets])) for k in range(min(subsets, len(ids)))]
