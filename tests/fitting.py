"""One fit of a method on the toy."""

from __future__ import annotations

from atso_bench.benchmark import registry
from atso_bench.benchmark.contract.fitting import STEPS, TOY, fitted

__all__ = ["METHODS", "STEPS", "TOY", "fit", "registry"]

METHODS = registry.names("methods")


def fit(name, *given, **more):
    """The final model's hash, the trainer and the split, as ``fitted`` makes them."""
    return fitted(name, *given, **more)[:3]
