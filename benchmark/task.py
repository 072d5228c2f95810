"""What a dataset file provides, and what a method may see of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from atso_bench.benchmark.spec import LATER_RECIPE

if TYPE_CHECKING:
    from atso_bench.benchmark.scoring.headline import Metric
    from atso_bench.benchmark.spec import Budget

IGNORE = 255
"""Label of voxels that neither train nor count."""


@dataclass(frozen=True)
class Image:
    """One case's image, ready for the network.

    Attributes:
        array: ``(C, *spatial)`` as its task reads it: normalised float32 of a volume, uint8 RGB of a frame; a NumPy
            array, a memory map or a lazily decompressed one.
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
        labelled_share: share of labelled patches in a batch that has others too.
        extra_unlabelled: labelled patches fill the batch, as in supervised training, and the others come on top of
            them in that ratio.
        lr: initial learning rate; it falls to 0 by ``(1 - t/T)^0.9`` within each training.
        momentum: of SGD.
        nesterov: whether the momentum follows Nesterov's rule.
        weight_decay: L2 penalty.
        clip: largest norm of the gradient; None for any.
        mirror: average over mirrored inputs on the test set.
        mirror_pseudo: the same when pseudo labels are written.
    """

    patch: tuple[int, ...]
    batch: int
    lr: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 3e-5
    clip: float | None = 12.0
    mirror_pseudo: bool = False
    nesterov: bool = True
    mirror: bool = True
    labelled_share: float = 0.5
    extra_unlabelled: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"recipe.batch must be at least 1, got {self.batch}")

    @property
    def facts(self) -> dict[str, Any]:
        """All fields for a hash. Those that came later count where they differ, so that earlier hashes hold."""
        return {name: value for name, value in asdict(self).items() if LATER_RECIPE.get(name, _UNSET) != value}


_UNSET = object()


Labels = Mapping[str, np.ndarray]
"""Case id -> hard labels ``(*spatial)`` integer, or soft labels ``(K, *spatial)`` float, in the image's geometry.

Where there are many, they may be arrays that decompress what is sliced: ``label[:]`` is a NumPy array in any case.
"""


@dataclass(frozen=True)
class Pool:
    """Cases that a method may draw from. Without ``labels`` there is no label here to look at.

    Attributes:
        ids: case ids.
        images: the images of these cases (and perhaps of more, never of the test set).
        labels: true labels, pseudo labels, or None.
        pseudo: whether a model wrote the labels.
    """

    ids: tuple[str, ...]
    images: Mapping[str, Image]
    labels: Labels | None = None
    pseudo: bool = False

    def only(self, ids: Sequence[str]) -> Pool:
        """The same pool with fewer cases."""
        return replace(self, ids=tuple(ids))

    def labelled_by(self, labels: Labels) -> Pool:
        """The same cases with these pseudo labels."""
        return replace(self, labels=labels, pseudo=True)


@dataclass(frozen=True)
class TrainData:
    """What a method learns from: the labelled cases with their labels, and the unlabelled ones without."""

    labelled: Pool
    unlabelled: Pool


class Draw(ABC):
    """Draws a batch from a pool at each call, in two halves, so that the second can run where the network is.

    Randomness comes from NumPy's and torch's global generators, which the trainer seeds before each draw.
    """

    @abstractmethod
    def read(self) -> dict[str, Any]:
        """What a batch is made of: tensors on the CPU by name, in a loader's process."""

    def finish(self, drawn: Mapping[str, Any], device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The batch on ``device``, without waiting for it.

        Returns:
            image ``(N, C, *patch)`` float32 and label ``(N, *patch)`` int64, soft ``(N, K, *patch)`` float32, or None.
        """
        label = drawn.get("label")
        image: Tensor = drawn["image"].to(device, non_blocking=True)
        return image, None if label is None else label.to(device, non_blocking=True)

    def weight(self, most: int) -> int | None:
        """Bytes that the pool takes in a device's memory, counted up to ``most``; None if it cannot be held there."""
        return None

    def held(self, device: torch.device, shelf: dict[Any, Any]) -> Draw:
        """What draws the same batches, bit for bit, from memory of ``device``, where ``finish`` cuts them.

        Args:
            device: which has the room.
            shelf: what the run's draws share there.
        """
        raise NotImplementedError(f"{type(self).__name__} has no weight")

    def __call__(self) -> tuple[Tensor, Tensor | None]:
        """The batch on the CPU."""
        return self.finish(self.read(), torch.device("cpu"))


class Task(Protocol):
    """A dataset made ready to be learnt from one labelled set.

    It knows the labels of the labelled cases alone: for normalisation, class locations and what it hands out.
    """

    @property
    def track(self) -> str:
        """What kind of task it is; ``medical`` or ``natural`` in records."""
        ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def metric(self) -> Metric:
        """What it is judged by."""
        ...

    @property
    def palette(self) -> Mapping[str, Sequence[int]]:
        """Red, green and blue (0 to 255) of each scored class, for pictures; empty to let the report choose."""
        ...

    @property
    def recipe(self) -> Recipe: ...

    @property
    def details(self) -> Mapping[str, Any]:
        """What the recipe does not say about network and preprocessing, for the record."""
        ...

    @property
    def identity(self) -> str:
        """Hash of all that determines training on this task: data, plan, normalisation, recipe."""
        ...

    @property
    def images(self) -> Mapping[str, Image]:
        """Images of the cases that this task was opened for, and of no other."""
        ...

    @property
    def labels(self) -> Labels:
        """True labels of the labelled cases in the images' geometry, and of no other case."""
        ...

    @property
    def portable(self) -> Mapping[str, Any]:
        """All that predicting and exporting need beside the weights, as JSON: ``Reopens.trained`` takes it."""
        ...

    def network(self, *, start: bool = True) -> nn.Module:
        """A new network; ``(N, C, *patch)`` to logits ``(N, K, *patch)``, in training mode perhaps a list of heads.

        Without ``start`` its weights are of no meaning: the caller has others to load.
        """
        ...

    def loss(self, output: Any, label: Tensor, *, pseudo: bool = False, partial: bool = False) -> Tensor:
        """Scalar loss of the network's output against ``(N, *patch)`` int64 or soft ``(N, K, *patch)`` labels.

        Args:
            output: what ``network`` gave.
            label: true or pseudo labels.
            pseudo: a model wrote them: a loss that seeks hard pixels would seek its errors there.
            partial: classes may be ``IGNORE`` here and there, also where no true label is.
        """
        ...

    def draws(self, pool: Pool, size: int) -> Draw:
        """What draws batches of ``size`` augmented patches from ``pool``."""
        ...

    def strong(self, image: Tensor) -> Tensor:
        """A strong view of a batch ``(N, C, *patch)``: other intensities at the same places, by torch's generator."""
        ...

    def slabs(self, model: nn.Module, image: Image, device: torch.device, *, mirror: bool) -> Iterator[Tensor]:
        """Logits ``(K, n, *rest)`` in the image's geometry, on any device; ``mirror`` averages over mirrored inputs.

        They come piece by piece along the first spatial axis, as a large volume's do not fit into memory together.
        """
        ...

    def restore(self, image: Image, logits: Iterable[Tensor]) -> np.ndarray:
        """Class indices in the original geometry, as ``Reference.label`` has them, from what ``slabs`` gives."""
        ...

    def export(self, model: nn.Module, folder: Path, facts: Mapping[str, Any]) -> str:
        """Write the trained model for use elsewhere; returns how to predict with it."""
        ...


class Dataset(Protocol):
    """Cases, their groups and their true labels. ``task`` opens a part of it for learning.

    A class of it is made with ``configuration=``, which has a default.
    """

    @property
    def configurations(self) -> tuple[str, ...]:
        """What ``configuration`` may be, the default first: nnU-Net's, or a protocol's recipe; the class has it too."""
        ...

    @property
    def groupings(self) -> tuple[str, ...]:
        """What a split may keep whole, the default first: patients; frames or cities."""
        ...

    @property
    def summary(self) -> str:
        """A line for ``list datasets``; the class has it too."""
        ...

    @property
    def source(self) -> str:
        """Where the data comes from."""
        ...

    @property
    def name(self) -> str:
        """Its file's name, spelled with hyphens; of ``nnunet`` the folder's, empty where none was named."""
        ...

    @property
    def track(self) -> str: ...

    @property
    def configuration(self) -> str:
        """The one of ``configurations`` that was chosen."""
        ...

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader of a record has to know about the data."""
        ...

    @property
    def default_list(self) -> str:
        """Name of the published list that the configuration's protocol labels by; empty for none."""
        ...

    @property
    def identity(self) -> str:
        """Hash of the content of all cases."""
        ...

    @property
    def pool(self) -> tuple[str, ...]:
        """Cases with labels that are not in the test set; the labelled cases are drawn from them."""
        ...

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Cases without any label; they join the unlabelled ones."""
        ...

    @property
    def test(self) -> tuple[str, ...]:
        """T, the same for all seeds and fractions."""
        ...

    @property
    def labels_from(self) -> tuple[str, ...]:
        """The part of the pool whose labels are learnt from, where others are to be adapted to; empty for all."""
        ...

    @property
    def joint(self) -> str:
        """The module whose ``joined(source, target)`` gives the source's labels and this dataset's images as one."""
        ...

    def is_ready(self) -> tuple[bool, str]:
        """Whether a run can start, and where the data is; or what to do if it cannot."""
        ...

    def prepare(self, source: Path | None = None, say: Callable[[str], None] | None = None) -> list[str]:
        """Import, check and preprocess, as far as it is not done yet; returns a line for each thing done.

        Args:
            source: folder or archive to import; None if the data is there.
            say: called with a line now and then while something takes long.

        Raises:
            ValueError: naming all that is wrong, and what to do.
            FileNotFoundError: if there is nothing to prepare.
        """
        ...

    def ready(self, say: Callable[[str], None] | None = None) -> list[str]:
        """Prepare if that has not been done; a run begins with this. Returns what was done, line by line."""
        ...

    def settled(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe's overrides, with the content of what they only name, so that a run's key changes with it."""
        ...

    def group(self, case_id: str, by: str = "") -> str:
        """The group of a case, which a split never divides; ``by`` is one of ``groupings``, or empty for the first."""
        ...

    def content(self, case_id: str) -> str:
        """Hash of the decoded image alone, so that the same image under two names is seen; needs prepared data."""
        ...

    def published_parts(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """All parts of the published split to which a list of labelled cases belongs; empty where it is alone.

        Raises:
            LookupError: if there is no such split.
        """
        ...

    def published(self, name: str, fraction: str) -> tuple[str, ...]:
        """The labelled cases of a published protocol's list at a label fraction.

        Raises:
            LookupError: if there is no such list.
        """
        ...

    def task(
        self, labelled: Sequence[str], visible: Sequence[str], budget: Budget, overrides: Mapping[str, Any]
    ) -> Task:
        """Make the task that these labels allow, opened for the images of ``visible``.

        Args:
            labelled: the labelled cases; what is derived from labels comes from these alone.
            visible: cases whose images the task hands out.
            budget: picks the recipe.
            overrides: fields of the recipe (or of the network's plan) that differ from the budget's.
        """
        ...

    def reference(self, case_id: str) -> Reference:
        """True labels in the original geometry. For the evaluator alone."""
        ...

    def picture(self, case_id: str) -> np.ndarray:
        """The image in the original geometry, for people to look at. For the evaluator alone.

        Returns:
            ``(*spatial)`` of a volume, uint8 RGB ``(H, W, 3)`` of a frame.
        """
        ...

    def hidden_label(self, case_id: str) -> np.ndarray:
        """True labels in the training geometry, to judge pseudo labels by. For the evaluator alone."""
        ...
