"""The emulator, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import emulated
import pytest


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in for CUDA, built for this session."""
    if why := emulated.missing():
        pytest.skip(why)
    return emulated.build(tmp_path_factory.mktemp("emulator"))
