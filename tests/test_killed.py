"""SIGKILL at chosen moments, then the same again: the same weights, bit for bit."""

from __future__ import annotations

import os
import signal

import pytest
from children import ended
from test_methods import fit

from atso_bench.benchmark import loop, record
from atso_bench.benchmark.stages import Stages


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dies_in_a_step(count):
    one_step = loop.Training._one_step

    def step(training, batch):
        one_step(training, batch)
        step.left -= 1
        if step.left == 0:
            die()

    step.left = count
    loop.Training._one_step = step


def dies_while_a_file_is_written(name):
    """Half of the file is on disk, under its temporary name, when the process dies."""
    replace = record.Path.replace

    def half(partial, target):
        if target.name.startswith(name):
            os.truncate(partial, partial.stat().st_size // 2)
            die()
        return replace(partial, target)

    record.Path.replace = half


def dies_before_a_phase_is_finished():
    Stages.finish = staticmethod(lambda folder, phase: die())


MOMENTS = {
    "inside the first training": lambda: dies_in_a_step(5),
    "inside a student's training": lambda: dies_in_a_step(17),
    "while a checkpoint is written": lambda: dies_while_a_file_is_written("progress.pt"),
    "while a model is written": lambda: dies_while_a_file_is_written("model.pt"),
    "while pseudo labels are written": lambda: dies_while_a_file_is_written("000003.npz"),
    "while a manifest is written": lambda: dies_while_a_file_is_written("labels.json"),
    "while a phase's facts are written": lambda: dies_while_a_file_is_written("phase.json"),
    "between phases": dies_before_a_phase_is_finished,
}


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
