"""What a dataset file provides, and what a method may see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from atso_bench.benchmark.spec import Budget

IGNORE = 255
"""Label of voxels that neither train nor count."""


@dataclass(frozen=True)
class Image:
    """One case's image, ready for the network.

    Attributes:
        array: float32 ``(C, *spatial)``, normalised; a NumPy array or a lazily decompressed one.
        properties: what is needed to bring a prediction back to the original geometry; nothing from a label.
    """

    array: Any
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Reference:
    """A case's true labels in the original geometry; the evaluator alone opens them.

    Attributes:
        label: integers ``(*spatial)``, class indices or ``IGNORE``.
        spacing: millimetres by axis of ``label``.
    """

    label: np.ndarray
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """The training constants of a task, the same for every method.

    Attributes:
        patch: size of a training patch in voxels.
        batch: patches in an optimiser step, labelled and unlabelled together.
        lr: initial learning rate; it falls to 0 by ``(1 - t/T)^0.9`` within each training.
        momentum: of SGD with Nesterov's rule.
        weight_decay: L2 penalty.
        clip: largest norm of the gradient.
        mirror_pseudo: average over mirrored inputs when pseudo labels are written, as is done on T.
    """

    patch: tuple[int, ...]
    batch: int
    lr: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 3e-5
    clip: float = 12.0
    mirror_pseudo: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"recipe.batch is at least 1, got {self.batch}")


Labels = Mapping[str, np.ndarray]
"""Case id -> hard labels ``(*spatial)`` integer, or soft labels ``(K, *spatial)`` float, in the image's geometry."""


@dataclass(frozen=True)
class Pool:
    """Cases that a method may draw from. Without ``labels`` there is no label here to look at.

    Attributes:
        ids: case ids.
        images: the images of these cases (and perhaps of more, never of T).
        labels: true labels, pseudo labels, or None.
    """

    ids: tuple[str, ...]
    images: Mapping[str, Image]
    labels: Labels | None = None

    def only(self, ids: Sequence[str]) -> Pool:
        """The same pool with fewer cases."""
        return replace(self, ids=tuple(ids))

    def labelled_by(self, labels: Labels) -> Pool:
        """The same cases with these pseudo labels."""
        return replace(self, labels=labels)


@dataclass(frozen=True)
class TrainData:
    """What a method learns from: S with its labels and R without."""

    labelled: Pool
    unlabelled: Pool


Draw = Callable[[], tuple[Tensor, Tensor | None]]
"""One batch: image ``(N, C, *patch)`` float32 and label ``(N, *patch)`` int64, soft ``(N, K, *patch)``, or None.

Randomness comes from NumPy's and torch's global generators, which the trainer seeds before each draw.
"""


class Task(Protocol):
    """A dataset made ready to be learnt from one labelled set.

    What it knows of labels is S alone: normalisation, class locations and the labels that it hands out.
    """

    track: Literal["medical", "natural"]
    classes: tuple[str, ...]
    metric: Literal["dice", "miou"]
    recipe: Recipe
    details: Mapping[str, Any]
    """What the recipe does not say about network and preprocessing, for the record."""
    identity: str
    """Hash of all that determines training on this task: data, plan, normalisation, recipe."""
    images: Mapping[str, Image]
    """Images of the cases that this task was opened for, and of no other."""
    labels: Labels
    """True labels of S in the images' geometry, and of no other case."""

    def network(self) -> nn.Module:
        """A new network; ``(N, C, *patch)`` to logits ``(N, K, *patch)``, in training mode perhaps a list of heads."""
        ...

    def loss(self, output: Any, label: Tensor) -> Tensor:
        """Scalar loss of the network's output against ``(N, *patch)`` int64 or soft ``(N, K, *patch)`` labels."""
        ...

    def draws(self, pool: Pool, size: int) -> Draw:
        """A function that draws batches of ``size`` augmented patches from ``pool``."""
        ...

    def predict(self, model: nn.Module, image: Image, device: torch.device, *, mirror: bool) -> Tensor:
        """Logits ``(K, *spatial)`` on the CPU in the image's geometry."""
        ...

    def restore(self, image: Image, logits: Tensor) -> np.ndarray:
        """Class indices in the original geometry, as ``Reference.label`` has them."""
        ...

    def export(self, model: nn.Module, folder: Path, facts: Mapping[str, Any]) -> str:
        """Write the trained model for use elsewhere; returns the command that predicts with it."""
        ...


class Dataset(Protocol):
    """Cases, their groups and their true labels. ``task`` opens a part of it for learning."""

    name: str
    track: Literal["medical", "natural"]
    identity: str
    """Hash of the content of all cases."""
    pool: tuple[str, ...]
    """Labelled cases that are not in T, from which S is drawn."""
    unlabelled: tuple[str, ...]
    """Cases without any label; they join R."""
    test: tuple[str, ...]
    """T, the same for all seeds and fractions."""

    def group(self, case_id: str) -> str:
        """Patient or city of a case; a split never divides a group."""
        ...

    def task(
        self, labelled: Sequence[str], visible: Sequence[str], budget: Budget, overrides: Mapping[str, Any]
    ) -> Task:
        """Make the task that S = ``labelled`` allows, opened for the images of ``visible``.

        Args:
            labelled: S; what is derived from labels comes from these cases alone.
            visible: cases whose images the task hands out.
            budget: picks the recipe.
            overrides: fields of the recipe (or of the network's plan) that differ from the budget's.
        """
        ...

    def reference(self, case_id: str) -> Reference:
        """True labels in the original geometry. For the evaluator alone."""
        ...

    def hidden_label(self, case_id: str) -> np.ndarray:
        """True labels in the training geometry, to judge pseudo labels by. For the evaluator alone."""
        ...
