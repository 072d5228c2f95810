"""What is measured of a GPU, in the order of its worth. Each section has seconds, and may fail alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tasks
import torch
import volumes
from bench_step import bare
from measuring import of_steps, timed
from tasks import CUDA, SMALL

from atso_bench.benchmark import registry
from atso_bench.benchmark.machine.gpus import driver, gpus
from atso_bench.benchmark.training.average import MovingAverage
from atso_bench.datasets._frames.loss import StreetLoss

EMULATED = os.environ.get("FAKE_CUDA") == "1"
ROOT = Path(__file__).resolve().parents[2]
ATSO_BENCH = (sys.executable, "-m", "atso_bench.benchmark.cli")
FOUR = "supervised,self-learning,mean-teacher,atso"


@dataclass(frozen=True)
class Frame:
    """Where figures go, what was found before, and how much time is left."""

    out: Path
    end: float
    found: dict[str, Any]

    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


def device(frame: Frame) -> dict[str, Any]:
    """The card, its driver, and what it can at best."""
    side, size = (256, 1 << 20) if SMALL else (8192, 1 << 31)
    a, b = (torch.randn(side, side, device=CUDA, dtype=torch.bfloat16) for _ in range(2))
    x = torch.empty(size, dtype=torch.uint8, device=CUDA)
    y = torch.empty_like(x)
    here = {pin: torch.empty(size >> 5, dtype=torch.uint8, pin_memory=pin) for pin in (True, False)}
    there = torch.empty_like(here[True], device=CUDA)
    shared = os.statvfs("/dev/shm")
    return {
        "name": gpus()[0].name,
        "GB": gpus()[0].memory / 1e9,
        "capability": gpus()[0].capability,
        "driver's CUDA": driver(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "architectures": torch.cuda.get_arch_list(),
        "shared memory GB": shared.f_blocks * shared.f_frsize / 1e9,
        "bfloat16 TFLOP/s": 2 * side**3 / timed(lambda: a @ b) / 1e9,
        "copy TB/s": 2 * x.numel() / timed(lambda: y.copy_(x)) / 1e9,
        "pinned GB/s": there.numel() / timed(lambda: there.copy_(here[True], non_blocking=True)) / 1e6,
        "pageable GB/s": there.numel() / timed(lambda: there.copy_(here[False])) / 1e6,
        "launch us": timed(lambda: [there[:1].add_(1) for _ in range(1000)]),
    }


def tests(frame: Frame) -> dict[str, Any]:
    """Those that are marked for GPUs."""
    marked = [str(path) for path in ROOT.glob("tests/*/test_*.py") if "\n@pytest.mark.gpu" in path.read_text("utf-8")]
    asked = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *marked]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=max(5, frame.left()), check=False)
    return {"exit code": done.returncode, "end": done.stdout.splitlines()[-12:]}


def steps(frame: Frame) -> dict[str, Any]:
    """A step, its data included: against a bare one, with 0, 4 and 12 loaders, and of every method."""
    rows: dict[str, Any] = {}
    measure = partial(of_steps, emulated=EMULATED)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("2d", "3d_fullres"):
            made = tasks.medical(kind)
            rows[f"{kind} bare"] = {"ms": timed(bare(tasks.training("supervised", *made, Path(folder), 0), CUDA), 2)}
            for workers in (0,) if SMALL else (0, 4, 12):
                training = tasks.training("supervised", *made, Path(folder), workers)
                rows[f"{kind} supervised, {workers} loaders"] = measure(training, 0 if SMALL else 2)
        for kind, made in {"2d": tasks.medical("2d"), "frames": tasks.streets()}.items():
            for method in ("imitate", *registry.names("methods")):
                if frame.left() < (0 if SMALL else 150):
                    return {**rows, "stopped before": f"{kind} {method}"}
                try:
                    training = tasks.training(method, *made, Path(folder), 0 if SMALL else 8)
                    rows[f"{kind} {method}"] = measure(training, 0 if SMALL else 1)
                except Exception as error:  # one method's failure is a figure too
                    rows[f"{kind} {method}"] = {"error": f"{type(error).__name__}: {error}"[:500]}
                torch.cuda.empty_cache()
    return rows


def augmentation(frame: Frame) -> dict[str, Any]:
    """Patches a second: the device's half, a loader's half by one core, and nnU-Net's loader by one core."""
    rows = {}
    for kind, batch in (("2d", 8),) if SMALL else (("2d", 64), ("2d", 366), ("3d_fullres", 9)):
        task, _ = tasks.medical(kind)
        draw = task.draws(volumes.labelled(task), batch)
        drawn = {name: part.pin_memory() for name, part in draw.read().items()}
        with tempfile.TemporaryDirectory() as folder:
            transforms = volumes.nnunets_transforms(draw.geometry)
            theirs = volumes.nnunets_loader(task, Path(folder), batch, transforms)
            nnunet = _seconds(theirs.generate_train_batch)
        finish = timed(lambda draw=draw, drawn=drawn: draw.finish(drawn, CUDA))
        rows[f"{kind}, batch {batch}"] = {
            "device patches/s": 1e3 * batch / finish,
            "loader patches/s": batch / _seconds(draw.read),
            "nnU-Net patches/s": batch / nnunet,
            "batch MB": sum(part.nbytes for part in drawn.values()) / 1e6,
        }
    return rows


def parts(frame: Frame) -> dict[str, Any]:
    """Milliseconds of single pieces: the k-th smallest of OHEM, losses, moving averages, predictions, layouts."""
    task, data = tasks.streets()
    height, width = task.recipe.patch
    batch = task.recipe.batch
    chances = torch.rand(batch * height * width, device=CUDA)
    k = len(chances) // 6
    rows = {
        "OHEM, kthvalue": timed(lambda: chances.kthvalue(k)),
        "OHEM, sort": timed(lambda: chances.sort().values[k - 1]),
        "OHEM, topk": timed(lambda: chances.topk(k, largest=False).values[-1]),
    }
    image = torch.randn(batch, 3, height, width, device=CUDA)
    label = torch.randint(0, 19, (batch, height, width), device=CUDA)
    logits = torch.randn(batch, 19, height, width, device=CUDA, requires_grad=True)
    loss = StreetLoss(0.7, 0.156)
    rows["loss of frames, there and back"] = timed(lambda: loss(logits, label).backward())
    rows["strong view of frames"] = timed(lambda: task.strong(image))
    teacher, student = task.network().to(CUDA), task.network().to(CUDA).train()
    rows["moving average, DeepLabV3+"] = timed(partial(MovingAverage(teacher, student).update, 0.99))
    for layout in (torch.contiguous_format, torch.channels_last):
        shown, network = image.to(memory_format=layout), student.to(memory_format=layout)
        rows[f"frames, forward and backward, {layout}"] = timed(lambda n=network, x=shown: _pass(task, n, x, label))
    frame_of = data.unlabelled.images[data.unlabelled.ids[0]]
    rows["a frame's prediction"] = timed(lambda: list(task.slabs(student, frame_of, CUDA, mirror=False)))
    for kind in ("2d", "3d_fullres"):
        medic, _ = tasks.medical(kind)
        model, case = medic.network().to(CUDA), next(iter(medic.images.values()))
        for mirror in (False, True):
            named = f"{kind}, a volume's prediction{', mirrored' * mirror}"
            rows[named] = timed(lambda t=medic, m=model, c=case, f=mirror: list(t.slabs(m, c, CUDA, mirror=f)))
    return {name: {"ms": value} for name, value in rows.items()}


def sharing(frame: Frame) -> dict[str, Any]:
    """Seconds of four small runs by one, two and four processes on the GPU at once."""
    rows = {}
    for number in (2,) if SMALL else (1, 2, 4):
        out = frame.out / f"sharing-{number}"
        asked = ("--method", "supervised", "--seed", "0,1,2,3", "--budget", "14" if SMALL else "small")
        rows[f"{number} at once"] = _grid(frame, out, *asked, "--fraction", "10", "--device", f"cuda:0*{number}")
    return rows


def grid(frame: Frame) -> dict[str, Any]:
    """Four methods on real data, with as many steps of the whole recipe as fit into what is left."""
    name = "phantom"
    if volumes.DATA == "hippocampus" and not SMALL:
        name = "hippocampus"
        source = ("--from", str(volumes.SOURCE))
        subprocess.run([*ATSO_BENCH, "prepare", name, *source], check=True, timeout=frame.left(), capture_output=True)
    rows = frame.found.get("steps") or {}
    each = (rows.get("2d supervised, 12 loaders") or {}).get("ms", 100.0) / 1e3
    number = 16 if SMALL else max(50, int((frame.left() - 75) / 4.5 / each))  # M0 once, and a teacher's passes
    asked = ("--dataset", name, "--fraction", "10" if name == "phantom" else "2", "--budget", str(number))
    return {"steps": number, **_grid(frame, frame.out / "grid", "--method", FOUR, *asked, "--device", "cuda")}


def _grid(frame: Frame, out: Path, *asked: str) -> dict[str, Any]:
    began = time.perf_counter()
    done = subprocess.run(
        [*ATSO_BENCH, "run", *asked, "--profile", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=max(10, frame.left()),
        check=False,
    )
    files = [path for path in (out / "records").rglob("seed*.json") if "failed" not in path.name]
    records = [json.loads(path.read_bytes()) for path in files]
    return {
        "s": time.perf_counter() - began,
        "exit code": done.returncode,
        "end": (done.stdout + done.stderr).splitlines()[-15:],
        "scores": {f"{each['spec']['method']} {each['spec']['seed']}": each["score"] for each in records},
        "peak GB": max((phase["device_bytes"] / 1e9 for each in records for phase in each["phases"]), default=None),
    }


def _pass(task: Any, network: torch.nn.Module, image: torch.Tensor, label: torch.Tensor) -> None:
    network.zero_grad(set_to_none=True)
    with torch.autocast("cuda", torch.bfloat16):
        loss = task.loss(network(image), label)
    loss.backward()


def _seconds(action: Callable[[], object]) -> float:
    """Mean time of a call on the host."""
    action()
    began, number = time.perf_counter(), 0
    while number < 2 or time.perf_counter() - began < 1:
        action()
        number += 1
    return (time.perf_counter() - began) / number


SECTIONS = (device, tests, steps, augmentation, parts, sharing, grid)
