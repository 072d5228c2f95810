"""The loss that all methods share: learning from labels as they are, true or pseudo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, cat, nn

from atso_bench.benchmark.task import Pool, Task
from atso_bench.benchmark.training.batches import Batch, Labelled
from atso_bench.benchmark.training.boxes import boxes, mixed
from atso_bench.benchmark.training.heads import rows

BOX = 0.5
"""Share of a patch that a box of ``cutmix`` covers, as in CutMix for segmentation (French et al., BMVC 2020)."""


@dataclass(frozen=True)
class Imitation:
    """The planned loss of ``model`` on the labels of ``pools``, each pool's by its share of the batch.

    Attributes:
        strong: the images that have pseudo labels are shown in strong views.
        weight: that of the loss on pseudo labels.
        cutmix: half of each patch that has pseudo labels is its neighbour's, image and label.
        partial: pseudo labels may lack voxels.
    """

    task: Task
    model: nn.Module
    pools: Mapping[str, Pool]
    strong: bool
    weight: float = 1.0
    cutmix: bool = False
    partial: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """What its phases depend on beside pools and model; what came later counts where it differs."""
        later = {"weight": self.weight} if self.weight != 1 else {}
        return {"strong": self.strong, **later, **({"cutmix": True} if self.cutmix else {})}

    def __call__(self, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        batch = self._mixed(batch) if self.cutmix else batch
        output = self.model(cat([self._seen(name, part.image) for name, part in batch.items()]))
        total = sum(len(part.image) for part in batch.values())
        terms, start = {}, 0
        for name, part in batch.items():
            stop = start + len(part.image)
            pseudo, share = self.pools[name].pseudo, len(part.image) / total
            some = pseudo and self.partial
            loss = self.task.loss(rows(output, start, stop), part.label, pseudo=pseudo, partial=some)
            terms[name] = loss * (share * self.weight if pseudo else share)
            start = stop
        return terms

    def _mixed(self, batch: Batch) -> Batch:
        """The batch, in which pseudo-labelled patches have boxes of others."""
        found = dict(batch)
        for name, part in batch.items():
            if self.pools[name].pseudo:
                inside = boxes(len(part.image), part.image.shape[2:], (BOX, BOX), device=part.image.device)
                found[name] = Labelled(mixed(part.image, inside), mixed(part.label, inside))
        return found

    def _seen(self, name: str, image: Tensor) -> Tensor:
        return self.task.strong(image) if self.strong and self.pools[name].pseudo else image
