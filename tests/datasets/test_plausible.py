"""A plan that is none of these images is refused before anything is made of it, and an odd one is said."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from plans import ARCHITECTURE, TWO, change
from raw_data import write_raw

from atso_bench.datasets._volumes.examine import Look
from atso_bench.datasets._volumes.plausible import doubts
from atso_bench.datasets.nnunet import Nnunet

NAME = "Dataset101_Tiny"
LOOKS = {f"c{number}": Look((), (6, 20, 24), (3.0, 1.0, 1.0)) for number in range(4)}
GIB = 2**30


def asked(available: int = GIB, transpose: tuple[int, ...] = (0, 1, 2), **changed: Any) -> list[str]:
    found = {"spacing": [1.0, 1.0], "patch_size": [20, 24], "batch_size": 12, "architecture": {"arch_kwargs": {}}}
    return doubts({**found, **changed}, transpose, LOOKS, 1, available)


def test_a_plan_of_these_images_is_no_oddity() -> None:
    assert asked() == []
    assert asked(spacing=[0.5, 2.0]) == []
    assert asked(spacing=[3.0, 1.0, 1.0], patch_size=[6, 20, 24], batch_size=2) == []
    assert asked(spacing=[3.0, 1.0], transpose=(1, 0, 2)) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"spacing": [1e5, 1e5]}, "leaves 6 x 0 x 0 of the 6 x 20 x 24 voxels of c0"),
        ({"spacing": [1e-3, 1e-3]}, "makes 6 x 20,000 x 24,000 of the 6 x 20 x 24 voxels of c0: 23 GB, there are"),
        ({"spacing": [1e-3, 1e-3], "available": 2**50}, "far from the images' median 1 x 1 mm: it is in another unit"),
        ({"architecture": {"arch_kwargs": {"dropout_op_kwargs": {"p": 1.0}}}}, "has p 1, which drops every feature"),
    ],
)
def test_what_nothing_can_come_of_is_refused_in_words_of_the_plan(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=r"spacing|dropout") as error:
        asked(**changed)
    assert told in str(error.value)
    assert "recipe." not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"spacing": [0.1, 1.0]},
            "the plan's spacing [0.1, 1.0] is far from the images' median 1 x 1 mm; is it the right one?",
        ),
        (
            {"patch_size": [4096, 4096]},
            "the plan's patch 4,096 x 4,096 is mostly padding: the median image has 20 x 24",
        ),
        ({"batch_size": 100_000}, "the plan's batch of 100,000 is more than all 24 planes together"),
    ],
)
def test_what_is_odd_is_said(changed: dict[str, Any], told: str) -> None:
    (note,) = asked(**changed)
    assert note.startswith(told)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's own plans of a small dataset lie, with those that nnU-Net would make."""
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "own"))
    write_raw(tmp_path / "data" / "nnUNet_raw" / NAME, ["c0", "c1", "c2"])
    dataset = Nnunet(NAME)
    dataset.ready()
    file = tmp_path / "own" / NAME / "nnUNetPlans.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(dataset._plans))
    return file


def edited(file: Path, changed: Any) -> None:
    plans = json.loads(file.read_text(encoding="utf-8"))
    changed(plans)
    file.write_text(json.dumps(plans), encoding="utf-8")


def test_prepare_refuses_such_plans_and_keeps_nothing(own: Path, tmp_path: Path) -> None:
    edited(own, change(*TWO, "spacing", to=[1e5, 1e5]))
    before = sorted((tmp_path / "data" / "prepared").rglob("prepared.json"))
    with pytest.raises(ValueError, match=r"nnUNetPlans\.json cannot be used: spacing .* leaves .* correct the entry"):
        Nnunet(NAME).prepare()
    assert sorted((tmp_path / "data" / "prepared").rglob("prepared.json")) == before
    edited(own, change(*TWO, "spacing", to=[1.0, 1.0]))
    edited(own, change(*ARCHITECTURE, "dropout_op_kwargs", to={"p": 1.0}))
    with pytest.raises(ValueError, match="drops every feature"):
        Nnunet(NAME).prepare()


def test_prepare_says_what_is_odd_and_so_does_every_record(own: Path) -> None:
    edited(own, change(*TWO, "batch_size", to=100_000))
    dataset = Nnunet(NAME)
    assert any(line.startswith("note: the plan's batch of 100,000") for line in dataset.prepare())
    assert any(text.startswith("the plan's batch of 100,000") for text in dataset.caveats)


def test_plans_of_a_preset_are_named_as_not_used(own: Path) -> None:
    assert not any("Plans.json in" in line for line in Nnunet(NAME).prepare())
    preset = own.with_name("nnUNetResEncUNetMPlans.json")
    preset.write_text("{}")
    (note,) = [line for line in Nnunet(NAME).prepare() if "Plans.json in" in line]
    assert note == (
        f"note: nnUNetResEncUNetMPlans.json in {own.parent} is not used, nnUNetPlans.json is; to use it, copy it to "
        "nnUNetPlans.json there"
    )
    own.unlink()
    assert any("is not used, nnU-Net's default plan is" in line for line in Nnunet(NAME).prepare())


def test_plans_of_a_preset_can_be_used_as_the_note_says(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that nnU-Net's own planner of the preset makes."""
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners as presets,
    )

    from atso_bench.datasets._volumes import plan
    from atso_bench.datasets._volumes.check import check_cases

    own.unlink()
    preset = partial(presets.nnUNetPlannerResEncM, plans_name="nnUNetPlans")
    dataset = Nnunet(NAME)
    with monkeypatch.context() as patch:
        patch.setattr(default_experiment_planner, "ExperimentPlanner", preset)
        plans = plan.make_plans(dataset.raw, check_cases(dataset.raw)[0])
    assert "ResidualEncoderUNet" in plans["configurations"]["2d"]["architecture"]["network_class_name"]
    own.write_text(json.dumps(plans), encoding="utf-8")
    assert any(f"plans from {own}" in line for line in Nnunet(NAME).prepare())
