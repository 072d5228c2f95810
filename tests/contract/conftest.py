"""What several contracts hold against: a method's fit with its defaults, made once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from fitting import fit


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """By method and seed: hash of the final weights, trainer and split, as ``fit`` gives them; not to be changed."""

    @functools.cache
    def made(name: str, seed: int = 0) -> Any:
        return fit(name, tmp_path_factory.mktemp("usual"), seed=seed)

    return made
