"""What several contracts hold against: fits of each method, those with its defaults made once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from atso_bench.benchmark.contract.fitting import Fits


@pytest.fixture(scope="session")
def fits(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Fits]:
    """Fits of the method of that name."""
    return functools.cache(lambda name: Fits(name, tmp_path_factory.mktemp("fits")))


@pytest.fixture(scope="session")
def usual(fits: Callable[[str], Fits]) -> Callable[..., Any]:
    """By method and seed: hash of the final weights, trainer and split, as ``fit`` gives them; not to be changed."""
    return lambda name, seed=0: fits(name).usual(seed=seed)[:3]
