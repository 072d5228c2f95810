"""The main job on nnU-Net's data, small: raw volumes to records, every method, both configurations."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from atso_bench.benchmark import registry
from atso_bench.benchmark.export import export
from atso_bench.benchmark.machine.progress import silent
from atso_bench.benchmark.run import Bench, execute, model_file
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Record
from atso_bench.datasets.nnunet import Nnunet

RECIPE = {"width": 2, "batch": 2}
SPEC = RunSpec("phantom", "atso", "2cases", 0, Budget("smoke", 14), recipe=RECIPE)


@pytest.fixture
def use(monkeypatch):
    """Let ``--dataset phantom`` be this one."""
    return lambda dataset: monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d": dataset)


def bench(folder: Path) -> Bench:
    return Bench(folder, "cpu", 0, silent())


@pytest.mark.parametrize("method", registry.names("methods"))
def test_every_method_runs_on_planned_volumes_and_its_record_reads_back(method, use, tiny, tmp_path):
    use(tiny)
    record = execute(replace(SPEC, method=method), bench(tmp_path))
    assert Record.read(tmp_path / "records" / record.spec.path).cases.keys() == set(tiny.test)
    assert record.spent_steps == 14
    assert record.recipe["features"][0] == 2
    for scores in record.cases.values():
        assert set(scores) == {"organ", "lesion"}
    reference = tiny.reference(tiny.test[0])
    volume = (reference.label == 1).sum() * np.prod(reference.spacing) / 1000
    assert record.cases[tiny.test[0]]["organ"]["volume_reference_ml"] == pytest.approx(volume)


def test_three_dimensions(use, tiny_3d, tmp_path):
    use(tiny_3d)
    record = execute(replace(SPEC, configuration="3d_fullres", options={"generations": 1}), bench(tmp_path))
    assert len(record.recipe["patch"]) == 3
    assert record.spent_steps == 14


@pytest.mark.parametrize("method", registry.names("methods"))
def test_true_labels_outside_s_and_images_of_t_change_no_weight(method, tiny, tmp_path, monkeypatch):
    """Bit for bit, from raw files on: labels of R and T are noise in the second run, and T's images too."""
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path))
    models = []
    for number, noisy in ((520, False), (521, True)):
        folder = tmp_path / "nnUNet_raw" / f"Dataset{number}_Copy"
        shutil.copytree(tiny.raw.folder, folder)
        dataset = Nnunet(str(number))
        if noisy:
            for case in (*dataset.pool[2:], *dataset.test):
                _to_noise(folder / "labelsTr" / f"{case}.nii.gz", high=3)
            for case in dataset.test:
                _to_noise(folder / "imagesTr" / f"{case}_0000.nii.gz", high=900)
            dataset = Nnunet(str(number))
        monkeypatch.setattr(registry, "dataset", lambda name, configuration="2d", found=dataset: found)
        lists = {"labelled": list(dataset.pool[:2])}
        spec = replace(SPEC, method=method, dataset=dataset.name, lists=lists, options={})
        results = tmp_path / dataset.name  # a stage store of its own, so that no phase is shared
        execute(spec, bench(results))
        models.append(torch.load(model_file(results, spec), weights_only=True))
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


def _to_noise(path: Path, high: int) -> None:
    image = sitk.ReadImage(str(path))
    noise = np.random.default_rng(0).integers(0, high, image.GetSize()[::-1])
    new = sitk.GetImageFromArray(noise.astype(sitk.GetArrayViewFromImage(image).dtype))
    new.CopyInformation(image)
    sitk.WriteImage(new, str(path))


def test_an_export_holds_the_model_that_was_scored(use, tiny, tmp_path):
    use(tiny)
    record = execute(replace(SPEC, options={"generations": 1}), bench(tmp_path / "results"))
    command = export(record.spec.key, tmp_path / "model", tmp_path / "results")
    assert command.startswith("nnUNetv2_predict_from_modelfolder")
    stored = torch.load(model_file(tmp_path / "results", record.spec), weights_only=True)
    checkpoint = torch.load(tmp_path / "model" / "fold_0" / "checkpoint_final.pth", weights_only=True)
    assert all(torch.equal(value, checkpoint["network_weights"][name]) for name, value in stored.items())
    assert json.loads((tmp_path / "model" / "atso_bench.json").read_text())["score"] == pytest.approx(record.score)
    with pytest.raises(ValueError, match="not empty"):
        export(record.spec.key, tmp_path / "model", tmp_path / "results")
    with pytest.raises(ValueError, match="matches 0 records"):
        export("nothing", tmp_path / "other", tmp_path / "results")


def test_an_ensemble_is_not_exported_as_something_else(use, tiny, tmp_path):
    use(tiny)
    spec = replace(SPEC, options={"generations": 1, "final": "ensemble"})
    execute(spec, bench(tmp_path / "results"))
    with pytest.raises(ValueError, match="is an ensemble"):
        export(spec.key, tmp_path / "model", tmp_path / "results")


@pytest.mark.slow
def test_the_main_command_killed_three_times_ends_in_the_same_record(tmp_path):
    """``atso-bench run`` as a process of its own, SIGKILL after a while, thrice; against an undisturbed run."""
    environment = {**os.environ, "ATSO_BENCH_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    program = Path(sys.executable).with_name("atso-bench")
    words = ["run", "-m", "atso", "-f", "10", "--budget", "smoke:48", "--device", "cpu", "--workers", "1"]

    def command(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([program, *words, "--out", tmp_path / out], env=environment, start_new_session=True)

    assert command("whole").wait(600) == 0
    phases = len(list((tmp_path / "whole" / "stages").glob("*/*/phase.json")))
    for wanted in (1, phases // 2, phases - 1):
        process = command("killed")
        while len(list((tmp_path / "killed" / "stages").glob("*/*/phase.json"))) < wanted and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        assert not list((tmp_path / "killed" / "records").rglob("seed*.json"))
    assert command("killed").wait(600) == 0
    whole, killed = (next((tmp_path / name / "stages" / "models").glob("*.pt")) for name in ("whole", "killed"))
    first, second = (torch.load(path, weights_only=True) for path in (whole, killed))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    records = [Record.read(next((tmp_path / name / "records").rglob("seed*.json"))) for name in ("whole", "killed")]
    assert json.dumps(records[0].cases) == json.dumps(records[1].cases)
