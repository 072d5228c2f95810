"""The same command, seed and machine end in the same weights and scores; another library version is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import METHODS, fit
from records import single as make
from records import write
from toy import ToyDataset
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.run import Bench, execute, model_file
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.environment import versions
from atso_bench.benchmark.training import keys
from atso_bench.datasets.streets import Streets

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
BUDGET = Budget("4", 4)


def result(spec: RunSpec, folder: Path, workers: int) -> tuple[dict[str, torch.Tensor], str]:
    """Weights and scores."""
    record = execute(spec, Bench(folder, "cpu", workers, silent()))
    weights: dict[str, torch.Tensor] = torch.load(model_file(folder, spec), weights_only=True)
    return weights, json.dumps([record.cases, record.summary])


def assert_the_same_with_any_number_of_loaders(spec: RunSpec, folder: Path, numbers: tuple[int, ...]) -> None:
    (weights, scores), *others = [result(spec, folder / str(workers), workers) for workers in numbers]
    for other, other_scores in others:
        assert weights.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in weights.items())
        assert scores == other_scores


@pytest.mark.parametrize("name", METHODS)
def test_weights_and_scores_are_the_same_with_0_1_and_4_loaders(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": ToyDataset())
    few = {"generations": 1} if "generations" in registry.load("methods", name).model_fields else {}
    spec = RunSpec("toy", name, "10", 0, BUDGET, options=few)
    assert_the_same_with_any_number_of_loaders(spec, tmp_path, (0, 1, 4))


def test_volumes_are_the_same_with_1_and_4_loaders(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": tiny)
    spec = RunSpec(
        "phantom", "mean-teacher", "2cases", 0, replace(BUDGET, name="smoke"), recipe={"width": 2, "batch": 4}
    )
    assert_the_same_with_any_number_of_loaders(spec, tmp_path, (1, 4))


def test_street_scenes_are_the_same_with_1_and_4_loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("CITYSCAPES_DATASET", raising=False)
    streets = Streets(train=4, val=1, unlabelled=1, size=(32, 64))
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": streets)
    recipe = {"patch": [32, 48], "decoder": 8, "batch": 2, "encoder": "resnet18"}
    budget = replace(BUDGET, name="smoke")
    spec = RunSpec("streets", "mean-teacher", "2cases", 0, budget, "512x1024", recipe=recipe)
    assert_the_same_with_any_number_of_loaders(spec, tmp_path, (1, 4))


# Versions


def test_phases_of_other_library_versions_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first, _ = fit("self-learning", tmp_path)
    monkeypatch.setattr(keys, "versions", lambda: {**versions(), "torch": "0.0.1"})
    _, other, _ = fit("self-learning", tmp_path)
    assert not any(phase.reused for phase in other.phases)
    monkeypatch.undo()
    _, again, _ = fit("self-learning", tmp_path)
    assert all(phase.reused for phase in again.phases)
    assert [phase.key for phase in again.phases] == [phase.key for phase in first.phases]


def test_every_library_that_computes_something_is_among_the_versions() -> None:
    """Of reading, resampling, augmenting, networks, losses and scores."""
    computing = {"torch", "numpy", "scipy", "nnunetv2", "batchgeneratorsv2", "dynamic-network-architectures", "blosc2"}
    computing |= {"segmentation-models-pytorch", "timm", "pillow", "cityscapesscripts"}
    computing |= {"scikit-image", "SimpleITK", "nibabel", "acvl-utils", "batchgenerators"}  # what nnU-Net computes with
    assert versions().keys() >= {"atso-bench", *computing}


@pytest.mark.parametrize(("after", "word", "code"), [(0.70, "worse", 1), (0.90, "better", 0), (0.8001, "alike", 0)])
def test_compare_names_the_library_whose_version_differs_where_scores_do(
    after: float, word: str, code: int, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    now = {"python": "3.11.7", "versions": {"torch": "2.11.0"}, "platform": "Linux", "commit": "c0ffee"}
    write(old, make(score=0.8))
    write(new, make(score=after, environment=now))
    shown = CliRunner().invoke(app, ["compare", str(old), str(new)])
    assert shown.exit_code == code
    assert word in shown.output
    assert "torch: 2.10.0, now 2.11.0" in shown.output


def test_versions_that_changed_places_between_two_folders_are_named(tmp_path: Path) -> None:
    """Both folders were made with both versions, but no run with the same one."""
    old, new = tmp_path / "old", tmp_path / "new"
    made = [{"python": "3.11.7", "versions": {"torch": version}, "platform": "Linux"} for version in ("2.10", "2.11")]
    write(old, *(make(seed=seed, environment=made[seed]) for seed in (0, 1)))
    write(new, *(make(seed=seed, environment=made[1 - seed]) for seed in (0, 1)))
    shown = CliRunner().invoke(app, ["compare", str(old), str(new)])
    assert "torch: 2.10 and 2.11, now 2.11 and 2.10" in " ".join(shown.output.split())
