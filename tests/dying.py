"""Moments at which a process dies."""

from __future__ import annotations

import os
import signal

from atso_bench.benchmark.store import record
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.training import loop


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


def dies_while_labels_are_written(count):
    """Half of a case's labels is at the end of the pack, and no manifest names it."""
    write_label = Stages.write_label

    def half(folder, label):
        stored = write_label(folder, label)
        half.left -= 1
        if half.left == 0:
            os.truncate(stored.file, stored.start + stored.size // 2)
            die()
        return stored

    half.left = count
    Stages.write_label = staticmethod(half)


def dies_before_a_phase_is_finished():
    Stages.finish = staticmethod(lambda folder, phase: die())


MOMENTS = {
    "inside the first training": lambda: dies_in_a_step(5),
    "inside a student's training": lambda: dies_in_a_step(17),
    "while a checkpoint is written": lambda: dies_while_a_file_is_written("progress.pt"),
    "while a model is written": lambda: dies_while_a_file_is_written("model.pt"),
    "while pseudo labels are written": lambda: dies_while_labels_are_written(4),
    "while a manifest is written": lambda: dies_while_a_file_is_written("labels.json"),
    "while a phase's facts are written": lambda: dies_while_a_file_is_written("phase.json"),
    "between phases": dies_before_a_phase_is_finished,
}
