"""Batches of a training: what is in them, how they are shared, and the random numbers that they begin with."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atso_bench.benchmark.task import Draw, Recipe


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


@dataclass(frozen=True)
class Batches:
    """Batch ``t`` of a training, for a ``DataLoader``; ``whole`` or just what a loader's process can make of it."""

    draws: Mapping[str, Draw]
    seed: int
    ordinal: int
    whole: bool

    def __getitem__(self, step: int) -> dict[str, Any]:
        seed_everything(self.seed, self.ordinal, step, stream=0)
        return {name: draw() if self.whole else draw.read() for name, draw in self.draws.items()}


def batch_shares(recipe: Recipe, names: Sequence[str]) -> dict[str, int]:
    """Patches of each pool in a batch, at least one: the labelled pool, which comes first, has its share of them.

    The others divide the rest evenly. A single pool has the whole batch.
    """
    first, others = names[0], names[1:]
    if not others:
        return {first: recipe.batch}
    labelled = max(1, math.floor(recipe.batch * recipe.labelled_share + 0.5))
    rest = recipe.batch - labelled
    if recipe.extra_unlabelled:
        labelled, rest = recipe.batch, round(recipe.batch * (1 / recipe.labelled_share - 1))
    each, more = divmod(rest, len(others))
    return {first: labelled} | {name: max(1, each + (k < more)) for k, name in enumerate(others)}


def seed_everything(seed: int, ordinal: int, step: int, *, stream: int) -> None:
    """Set NumPy's, Python's and torch's global generators to where this step of this training begins."""
    words = np.random.SeedSequence([seed, ordinal, step, stream]).generate_state(4)
    np.random.seed(words[:2])  # noqa: NPY002 - nnU-Net's augmentation draws from the global generator
    random.seed(int(words[2]))
    torch.manual_seed(int(words[3]))
