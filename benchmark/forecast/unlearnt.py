"""Models and labels of phases that nobody carries out: each has a name, from which later phases have their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from atso_bench.benchmark.spec import digest
from atso_bench.benchmark.store.packs import PseudoLabels, StoredLabel
from atso_bench.benchmark.store.stages import weights_digest
from atso_bench.benchmark.task import Image


def weights(*models: nn.Module) -> str:
    """By descent where one of them was not learnt; the true hash of those that are known."""
    if not any(hasattr(model, "_rehearsed") for model in models):
        return weights_digest(*models)
    return digest([getattr(model, "_rehearsed", None) or weights_digest(model) for model in models])


class Blank(PseudoLabels):
    """Pseudo labels without a foreground."""

    def __init__(self, ids: Sequence[str], images: Mapping[str, Image], classes: int, key: str) -> None:
        super().__init__({case_id: StoredLabel(Path(), f"{key}/{case_id}") for case_id in ids})
        self.images, self.classes = images, classes

    def __getitem__(self, case_id: str) -> np.ndarray:
        shape = self.images[case_id].array.shape[1:]
        return np.zeros((self.classes, *shape), np.float16) if self.classes else np.zeros(shape, np.uint8)

    def __or__(self, newer: PseudoLabels) -> PseudoLabels:
        return self._with({**self._files, **newer._files})

    def __ror__(self, older: PseudoLabels) -> PseudoLabels:
        return self._with({**older._files, **self._files})

    def _with(self, files: Mapping[str, StoredLabel]) -> PseudoLabels:
        merged = Blank((), self.images, self.classes, "")
        merged._files = dict(files)
        return merged


def name(key: str, *models: nn.Module) -> None:
    """Name what a phase would have learnt."""
    for number, model in enumerate(models):
        model._rehearsed = f"{key}/{number}"  # type: ignore[assignment]
