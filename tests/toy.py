"""The contract's toy as tests know it, and as a dataset that has a name."""

from __future__ import annotations

from atso_bench.benchmark import registry
from atso_bench.benchmark.contract.toy import Opened, ToyDataset, ToyDraw, ToyTask

__all__ = ["Opened", "ToyDataset", "ToyDraw", "ToyTask", "known"]


def known() -> None:
    """From now on ``--dataset toy`` is the toy, in this process."""
    real, toy = registry.dataset, ToyDataset()
    registry.dataset = lambda name, configuration="": toy if name == "toy" else real(name, configuration)
