"""How many optimiser steps lie between the initial weights and a model: its own line of training.

The number is an attribute of every module in it: a deep copy, which goes on from there, has it too, and so has a
network that was trained as a part of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from torch import nn

_STEPS = "_steps_of_training"  # underscored: it is no setting of the network, see ``origin.build``


def steps_behind(model: nn.Module) -> int:
    """Optimiser steps that a model has seen; of several networks in one, those of the longest line."""
    return max(getattr(module, _STEPS, 0) for module in model.modules())


def add_steps(models: Iterable[nn.Module], steps: int) -> None:
    """Say that these models, which were trained together, have seen ``steps`` more."""
    models = list(models)
    behind = max(map(steps_behind, models)) + steps
    for module in chain.from_iterable(model.modules() for model in models):
        setattr(module, _STEPS, behind)
