"""What a run leaves on disk stays within the bound that docs/performance.md states."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from children import ended
from dying import MOMENTS
from fitting import fit

from atso_bench.benchmark.store.packs import PseudoLabels, StoredLabel
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.trainer import OBSERVED_CASES
from atso_bench.benchmark.training import loop

ALLOWED = {"model.pt", "phase.json", "labels.json", "labels.pack"}


def left(folder: Path, name: str = "*") -> list[Path]:
    return [file for file in folder.rglob(name) if file.is_file()]


@pytest.mark.parametrize("generations", [1, 2, 4])
@pytest.mark.parametrize("subsets", [1, 2, 3])
def test_students_leave_a_model_each_and_every_case_is_labelled_once_for_each_teacher(subsets, generations, tmp_path):
    _, _, split = fit("atso", tmp_path, subsets=subsets, generations=generations)
    cases, students = len(split.unlabelled), generations * subsets
    teachers = 1 + generations * max(1, subsets - 1)
    assert len(left(tmp_path, "model.pt")) == 1 + students
    labelled = [label for file in left(tmp_path, "labels.json") for label in Stages.read_labels(file.parent)[0]]
    assert len(labelled) <= cases * teachers + OBSERVED_CASES * students * (subsets > 1)
    assert {file.name for file in left(tmp_path)} <= ALLOWED
    phases = len(left(tmp_path, "phase.json"))
    assert len(left(tmp_path)) <= 3 * phases  # however many cases there are


@pytest.mark.parametrize("moment", ["inside a student's training", "while pseudo labels are written"])
def test_a_run_that_was_killed_leaves_no_more_than_one_that_was_not(moment, tmp_path):
    def die():
        loop.CHECKPOINT_SECONDS = 0.0
        MOMENTS[moment]()
        fit("atso", tmp_path / "killed")

    assert ended(die) == -signal.SIGKILL
    fit("atso", tmp_path / "killed")
    fit("atso", tmp_path / "whole")
    names, sizes = zip(
        *(
            (
                sorted(str(file.relative_to(tmp_path / part)) for file in left(tmp_path / part)),
                sorted(file.stat().st_size for file in left(tmp_path / part, "labels.pack")),
            )
            for part in ("killed", "whole")
        ),
        strict=True,
    )
    assert names[0] == names[1]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("soft", [False, True])
def test_labels_take_at_most_a_byte_of_each_voxel_and_soft_ones_two_of_each_class(soft, tmp_path):
    """Noise, which does not compress."""
    voxels, classes = 40 * 50 * 60, 3
    values = np.random.default_rng(0).bytes(voxels * (2 * classes if soft else 1))
    label = np.frombuffer(values, np.float16 if soft else np.uint8)
    assert Stages.write_label(tmp_path, label).size < 1.001 * len(values) + 512


def test_whether_a_case_has_labels_is_known_without_reading_them(tmp_path):
    labels = PseudoLabels({"a": StoredLabel(tmp_path / "absent.npz", "")})
    assert "a" in labels
    assert "b" not in labels
