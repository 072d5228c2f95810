"""The loss that all methods share: learning from labels as they are, true or pseudo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, cat, nn

from atso_bench.benchmark.task import Pool, Task
from atso_bench.benchmark.training.batches import Batch
from atso_bench.benchmark.training.heads import rows


@dataclass(frozen=True)
class Imitation:
    """The planned loss of ``model`` on the labels of ``pools``, each pool's by its share of the batch.

    With ``strong`` the images that have pseudo labels are shown in strong views; ``weight`` is that of their loss.
    """

    task: Task
    model: nn.Module
    pools: Mapping[str, Pool]
    strong: bool
    weight: float = 1.0

    @property
    def facts(self) -> dict[str, Any]:
        """What its phases depend on beside pools and model; what came later counts where it differs."""
        return {"strong": self.strong, **({"weight": self.weight} if self.weight != 1 else {})}

    def __call__(self, batch: Batch, progress: float) -> Mapping[str, Tensor]:
        output = self.model(cat([self._seen(name, part.image) for name, part in batch.items()]))
        total = sum(len(part.image) for part in batch.values())
        terms, start = {}, 0
        for name, part in batch.items():
            stop = start + len(part.image)
            loss = self.task.loss(rows(output, start, stop), part.label, pseudo=self.pools[name].pseudo)
            share = len(part.image) / total
            terms[name] = loss * (share * self.weight if self.pools[name].pseudo else share)
            start = stop
        return terms

    def _seen(self, name: str, image: Tensor) -> Tensor:
        return self.task.strong(image) if self.strong and self.pools[name].pseudo else image
