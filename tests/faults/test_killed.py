"""SIGKILL at chosen moments, then the same again: the same weights, bit for bit."""

from __future__ import annotations

import signal

import pytest
from children import ended
from dying import MOMENTS
from fitting import fit

from atso_bench.benchmark.training import loop


def _run_and_die(moment, name, folder):
    loop.CHECKPOINT_SECONDS = 0.0
    MOMENTS[moment]()
    fit(name, folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return {name: fit(name, tmp_path_factory.mktemp(name))[0] for name in ("atso", "mean-teacher")}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", ["atso", "mean-teacher"])
def test_a_killed_run_goes_on_to_the_same_weights(name, moment, tmp_path, undisturbed):
    if name == "mean-teacher" and ("label" in moment or "manifest" in moment or "student" in moment):
        pytest.skip("mean teacher has no such moment")
    assert ended(_run_and_die, moment, name, tmp_path) == -signal.SIGKILL
    assert fit(name, tmp_path)[0] == undisturbed[name]
