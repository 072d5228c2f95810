"""BCP, bidirectional copy-paste (Bai, Chen, Li, Shen, Wang; CVPR 2023, arXiv 2305.00673).

    student <- theta_0
    repeat for each step of the first training:                  # labelled copy-paste
        x, y    <- labelled patches, within a random box another one's, and so their labels
        student <- student - lr * grad sup(student(x), y)
    teacher <- student
    repeat for each step of the second training:
        y_u     <- argmax teacher(x_u), of each class its largest component       # no gradient
        x_out   <- x_u, within a box x_l;       x_in <- another x_l, within the same box x_u
        loss    <- for x_out and x_in: (dice + ce) / 2 where labels are true
                                       + w * (dice + ce) / 2 where they are the teacher's
        student <- student - lr * grad loss
        teacher <- a * teacher + (1 - a) * student
    return student

The box has 2/3 of each side of the patch. The learning rate starts anew with the second training, and w does not rise.
In the authors' code half of a batch is mixed with its other half, so that the network sees half as many patches; here
every patch is host once and donor once, and a step costs what it costs the other methods. Their teacher is in training
mode, which is the same in networks without batch norm and dropout. Frames keep all components of a class, and true
pixels train alike, hard or not.

By the authors' answer to a user (issue 26 of their repository), with 7 labelled patients of ACDC the first training,
the average and the largest component do the work, and the mixing little; with 3 patients it matters.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from atso_bench.benchmark.task import TrainData
from atso_bench.benchmark.trainer import Trainer
from atso_bench.benchmark.training.average import MovingAverage
from atso_bench.benchmark.training.boxes import boxes, mixed
from atso_bench.benchmark.training.heads import main_head
from atso_bench.benchmark.training.loop import Batch, Labelled, batch_shares
from atso_bench.methods._components import tidied
from atso_bench.methods._consistency import Terms, together
from atso_bench.methods._mixtures import dice_and_cross_entropy, known, repeated
from atso_bench.methods._settings import Settings


class BidirectionalCopyPaste(Settings):
    """Learns from labelled patches pasted into unlabelled ones and the reverse, after training on labelled mixtures."""

    groups = ("consistency",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "acdc": {"initial_share": 0.25, "weight": 0.5},
        "la": {"initial_share": 2 / 17, "weight": 0.5},
        "pancreas": {"weight": 1.5},
    }
    after_training = ("final",)

    initial_share: float = Field(
        0.25, gt=0, lt=1, description="share of the budget for labelled copy-paste; ACDC 1/4, LA 2/17"
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="a: decay of the teacher's weights; paper 0.99")
    weight: float = Field(0.5, ge=0, description="w, not tuned here; paper 0.5, the authors' code for Pancreas-CT 1.5")
    side: float = Field(2 / 3, gt=0, le=1, description="sides of the box as a share of the patch's; paper 2/3")
    largest_component: bool = Field(
        True, description="of each class in a pseudo label of a volume its largest component; paper true"
    )
    final: Literal["student", "teacher"] = Field("student", description="which model is the result; paper student")

    def fit(self, trainer: Trainer, data: TrainData) -> nn.Module:
        """Return the student, or its average."""
        r = data.unlabelled
        first, steps = trainer.shares([1] if r.ids else (), self.initial_share)
        student = self.pretrained(trainer, data, first)
        if not r.ids:
            return student
        teacher = deepcopy(student).requires_grad_(False).eval()
        average = MovingAverage(teacher, student)

        def step(batch: Batch, progress: float) -> Terms:
            return self.pasted(trainer, student, teacher, batch["labelled"], batch["unlabelled"].image)

        pools = {"labelled": data.labelled, "unlabelled": r}
        trainer.train(
            student,
            step,
            pools,
            steps=steps[0],
            phase="bidirectional copy-paste",
            after=lambda _: average.update(self.ema_decay),
            also=(teacher,),
            teacher_patches=batch_shares(trainer.task.recipe, list(pools))["unlabelled"],
        )
        return student if self.final == "student" else teacher

    def pretrained(self, trainer: Trainer, data: TrainData, steps: int) -> nn.Module:
        """A network that has learnt from mixtures of labelled patches."""
        model = trainer.new_model()

        def step(batch: Batch, progress: float) -> Terms:
            image, label = batch["labelled"].image, batch["labelled"].label
            inside = self.box(image)
            return {"labelled": trainer.task.loss(model(mixed(image, inside)), mixed(label, inside))}

        return trainer.train(model, step, {"labelled": data.labelled}, steps=steps, phase="labelled copy-paste")

    def pasted(
        self, trainer: Trainer, student: nn.Module, teacher: nn.Module, labelled: Labelled, unlabelled: Tensor
    ) -> Terms:
        """The losses of both mixtures: of labelled boxes in unlabelled patches, and of the reverse."""
        number = max(len(labelled.image), len(unlabelled))
        inside = self.box(unlabelled)
        free, guess = (repeated(part, number) for part in (unlabelled, self.guessed(trainer, teacher, unlabelled)))
        image, label = (repeated(part, number) for part in (labelled.image, labelled.label))
        hosts, (classes, there) = image.roll(1, 0), known(label)
        outputs = together(student, torch.where(inside, image, free), torch.where(inside, free, hosts))
        place, terms = inside[:, 0], []
        for output, true, shift in zip(outputs, (place, ~place), (0, 1), strict=True):
            target = torch.where(true, classes.roll(shift, 0), guess)
            regions = true & there.roll(shift, 0), ~true.expand_as(target)
            terms.append([dice_and_cross_entropy(output, target, region) for region in regions])
        (true_out, guess_out), (true_in, guess_in) = terms
        return {"labelled": true_out + true_in, "pseudo": self.weight * (guess_out + guess_in)}

    def box(self, image: Tensor) -> Tensor:
        """One box for all patches ``(N, C, *patch)``, ``(1, 1, *patch)`` boolean."""
        share = self.side ** (image.ndim - 2)
        return boxes(1, image.shape[2:], (share, share), aspect=1.0, device=image.device)

    @torch.no_grad()
    def guessed(self, trainer: Trainer, teacher: nn.Module, image: Tensor) -> Tensor:
        """The teacher's classes ``(N, *patch)``."""
        label = main_head(teacher(image)).argmax(1)
        return tidied(trainer, label) if self.largest_component else label
