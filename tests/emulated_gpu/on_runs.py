"""On two emulated GPUs: what is learnt, resumed, labelled and survived there is what it would be on a CPU."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_cuda
import grids
import kinds
import pytest
import torch
from toy import ToyDataset

from atso_bench.benchmark import registry, remedies
from atso_bench.benchmark.engines.task import settle
from atso_bench.benchmark.forecast import plan
from atso_bench.benchmark.machine.devices import devices, sharing
from atso_bench.benchmark.spec import Budget, RunSpec
from atso_bench.benchmark.store.record import Record, failure_path
from atso_bench.benchmark.task import Pool, TrainData
from atso_bench.benchmark.training import loop, residence
from atso_bench.datasets._volumes import sums
from atso_bench.datasets._volumes.predictor import BatchedPredictor

CUDA = torch.device("cuda:0")


@pytest.fixture(autouse=True)
def emulation() -> Any:
    return fake_cuda.install()


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without autocast: the emulated device computes with the CPU's kernels then."""
    monkeypatch.setattr(loop, "autocast", lambda device: torch.autocast(device.type, enabled=False))


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[], Path]:
    names = map(str, range(1000))
    return lambda: tmp_path / next(names)


def toy(shape: tuple[int, ...] = (16, 16)) -> tuple[Any, TrainData]:
    data = ToyDataset(shape)
    task = data.task(data.pool[:4], data.pool, Budget.parse("smoke"), {})
    return task, TrainData(Pool(data.pool[:4], task.images, task.labels), Pool(data.pool[4:10], task.images))


def specs(*seeds: int) -> list[RunSpec]:
    return [RunSpec("toy", "supervised", "10", seed, Budget.parse("4")) for seed in seeds]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that know the toy: forks, of a process that has not begun to use CUDA."""
    assert not torch.cuda.is_initialized()
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": ToyDataset())
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: fork)


def environments(results: Path) -> list[dict[str, Any]]:
    return [Record.read(results / "records" / spec.path).environment for spec in specs(0, 1, 2, 3)]


def test_several_processes_share_a_gpu_and_the_records_say_so(tmp_path: Path, processes: None) -> None:
    named = ["cuda:0", "cuda:0", "cuda:1"]
    assert grids.run(specs(0, 1, 2, 3), tmp_path, named) == 0
    found = environments(tmp_path)
    assert {environment["device"] for environment in found} == {*named}
    for environment in found:
        assert environment["together"] == {"cuda:0": 2, "cuda:1": 1}[environment["device"]]
        assert (environment["precision"], environment["gpu"]) == ("bfloat16", "Fake GPU")


def test_where_one_process_loses_its_device_the_others_do_its_runs(
    tmp_path: Path, processes: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    one_step = loop.Training._one_step

    def losing(training: loop.Training, batch: Any) -> None:
        if training.means.device.index == 1:
            fake_cuda.lose_the_device()
        one_step(training, batch)

    monkeypatch.setattr(loop.Training, "_one_step", losing)
    assert grids.run(specs(0, 1, 2, 3), tmp_path, ["cuda:0", "cuda:1"]) == 1
    said = capfd.readouterr().out
    assert "2 (cuda:1): stopped: DeviceLostError: the device is lost to this process: CUDA error" in said
    done = [spec for spec in specs(0, 1, 2, 3) if (tmp_path / "records" / spec.path).exists()]
    assert len(done) == 3
    assert [failure_path(tmp_path, spec).exists() for spec in specs(0, 1, 2, 3)].count(True) == 1


@pytest.mark.parametrize("shape", [(16, 16), (12, 12, 12)], ids=["2d", "3d"])
@pytest.mark.parametrize("name", kinds.METHODS)
def test_a_device_learns_what_a_cpu_learns_bit_for_bit(
    name: str, shape: tuple[int, ...], exact: None, folders: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random numbers of a step come from the CPU's generator in both; a GPU has its own."""
    found = [kinds.weights(kinds.fit(name, *toy(shape), folders(), device)) for device in ("cpu", "cuda")]
    assert torch.equal(*found)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_batches_views_losses_and_gradients_are_a_cpus(kind: str, exact: None, tmp_path: Path) -> None:
    task, data = kinds.opened(kind, tmp_path)
    drawn = task.draws(data.labelled, 4).read()
    found = []
    for device in (torch.device("cpu"), CUDA):
        torch.manual_seed(7)
        batch = {name: part.clone() for name, part in drawn.items()}
        image, label = task.draws(data.labelled, 4).finish(batch, device)
        strong = task.strong(image)
        torch.manual_seed(7)
        model = task.network().to(device).train()
        task.loss(model(strong), label).backward()
        slopes = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        found.append([part.cpu() for part in (image, label, strong, torch.cat(slopes))])
    for here, there in zip(*found, strict=True):
        assert torch.equal(here, there)


@pytest.mark.parametrize("kind", ["2d", "3d_fullres"])
def test_data_on_the_device_train_as_from_loaders(
    kind: str, exact: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, data = kinds.opened(kind, tmp_path)
    found, used = [], []
    monkeypatch.setattr(loop, "held", lambda *given: used.append(residence.held(*given)) or used[-1])
    for share in (0.4, 0.0):
        monkeypatch.setattr(residence, "SHARE", share)
        found.append(kinds.weights(kinds.fit("mean-teacher", task, data, tmp_path / str(share))))
    assert [each is not None for each in used] == [True, False]
    assert torch.equal(*found)


def test_a_forecasts_peak_is_each_runs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "dataset", lambda name, configuration="": ToyDataset())
    methods = ("supervised", "cps", "supervised")
    wanted = [RunSpec("toy", method, "10", 0, Budget.parse("4")) for method in methods]
    peaks = [found.device_bytes for found in plan.forecast(wanted, tmp_path, "cuda", 0)]
    assert peaks[0] == peaks[2] < peaks[1]
    assert plan.fitting(CUDA, 20 << 30) == 3
    assert plan.fitting(CUDA, 200 << 30) == 1


def test_frames_are_predicted_in_single_precision(tmp_path: Path) -> None:
    """Of logits in bfloat16 the two largest are often equal, and the class would be the first of them."""
    task, data = kinds.frames()
    seen, model = [], task.network().to(CUDA)
    model.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    image = data.labelled.images[data.labelled.ids[0]]
    for mirror in (False, True):
        list(task.slabs(model, image, CUDA, mirror=mirror))
    assert set(seen) == {torch.float32}


def test_a_training_goes_on_from_a_checkpoint_amid_a_window_of_losses(
    exact: None, folders: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "STEPS", 9)
    whole = kinds.weights(kinds.fit("mean-teacher", *toy(), folders()))
    folder, one_step = folders(), loop.Training._one_step
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def stopping(training: loop.Training, batch: Any) -> None:
        training.losses.window = 4
        if training.done == 5:
            raise KeyboardInterrupt
        one_step(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_one_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            kinds.fit("mean-teacher", *toy(), folder)
    assert torch.equal(kinds.weights(kinds.fit("mean-teacher", *toy(), folder)), whole)


def test_the_second_device_is_used_alone(folders: Callable[[], Path]) -> None:
    settle("cuda:1", 1)
    try:
        before = torch.cuda.memory_allocated(0)
        torch.cuda.reset_peak_memory_stats(0)
        model = kinds.fit("atso", *toy(), folders(), "cuda:1")
        assert {str(parameter.device) for parameter in model.parameters()} == {"cuda:1"}
        assert torch.cuda.max_memory_allocated(0) == before
        assert torch.cuda.max_memory_allocated(1) > 0
    finally:
        torch.cuda.set_device(0)


def test_a_process_for_each_of_several_on_one_gpu() -> None:
    named = devices("cuda:0*2,cuda:1,cpu")
    assert named == ["cuda:0", "cuda:0", "cuda:1", "cpu"]
    assert [sharing(named, name) for name in named] == [2, 2, 1, 1]
    assert sharing(devices("cuda,cuda:0"), "cuda") == 2
    assert devices("auto") == ["cuda:0", "cuda:1"]
    with pytest.raises(ValueError, match=r"--device cuda:2: torch .* finds 2 CUDA devices"):
        devices("cuda:2")


def predictor() -> tuple[BatchedPredictor, torch.nn.Module, torch.Tensor]:
    made = BatchedPredictor(CUDA)
    made.configuration_manager = SimpleNamespace(patch_size=(8, 16, 16))
    made.label_manager = SimpleNamespace(num_segmentation_heads=2)
    made.allowed_mirroring_axes = (0, 1)
    torch.manual_seed(0)
    return made, torch.nn.Conv3d(1, 2, 3, padding=1), torch.randn(1, 10, 24, 24)


def predicted() -> torch.Tensor:
    made, network, image = predictor()
    return torch.cat(list(made.slabs(network, image, mirror=True)), 1)


def test_a_device_without_room_for_the_sums_of_a_volume_has_them_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, make = predicted(), sums.Sums._make

    def full(self: sums.Sums, shape: Any, device: torch.device) -> None:
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        make(self, shape, device)

    monkeypatch.setattr(sums.Sums, "_make", full)
    assert torch.equal(predicted(), whole)


def test_a_device_without_room_for_a_pass_gets_it_from_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, forward, tries = predicted(), BatchedPredictor._internal_maybe_mirror_and_predict, []

    def once(self: BatchedPredictor, tiles: torch.Tensor) -> torch.Tensor:
        tries.append(1)
        if len(tries) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, tiles)

    monkeypatch.setattr(BatchedPredictor, "_internal_maybe_mirror_and_predict", once)
    assert torch.equal(predicted(), whole)


def test_too_little_memory_of_the_device_says_what_to_do() -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8, device=CUDA)
    assert "recipe.batch" in remedies.message(caught.value)
