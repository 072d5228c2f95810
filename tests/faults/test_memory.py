"""Memory stays within the bounds that docs/performance.md states, and what does not fit is refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atso_bench.benchmark.machine import cgroups, memory
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.training.labels import as_label, largest
from atso_bench.datasets._volumes import predictor, sums

CPU = torch.device("cpu")


def opened(dataset: Any, patch: list[int] | None = None) -> Any:
    recipe = {} if patch is None else {"patch": patch}
    return dataset.task(dataset.pool[:2], (*dataset.pool, *dataset.test), Budget.parse("smoke"), recipe)


@pytest.mark.parametrize("name", ["tiny", "tiny_3d"])
@pytest.mark.parametrize("patch", [None, [8, 16, 16]])
def test_logits_are_the_same_however_few_planes_are_kept(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str, patch: list[int] | None
) -> None:
    dataset = request.getfixturevalue(name)
    task = opened(dataset, patch and patch[-2 if name == "tiny" else -3 :])
    network = task.network().eval()
    monkeypatch.setitem(predictor._VOXELS, "cpu", 5 * 8 * 16 * 16)  # batches of tiles with several first planes
    for case_id in (dataset.pool[0], dataset.test[0]):
        image = task.images[case_id]
        found = []
        for room, piece in ((1 << 28, 1 << 26), (0, 1)):
            monkeypatch.setattr(sums, "ROOM", room)
            monkeypatch.setattr(sums, "PIECE", piece)
            found.append(list(task.slabs(network, image, CPU, mirror=False)))
        (whole,), thin = found
        assert len(thin) == image.array.shape[1]
        assert torch.equal(whole, torch.cat(thin, 1))


def test_of_a_long_volume_only_the_planes_of_a_tile_are_kept(tiny_3d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = opened(tiny_3d, [8, 16, 16])
    monkeypatch.setattr(sums, "ROOM", 0)
    kept = []
    make = sums.Sums._make
    monkeypatch.setattr(sums.Sums, "_make", lambda self, shape, device: kept.append(shape) or make(self, shape, device))
    properties = {"shape_after_cropping_and_before_resampling": [90, 20, 20], "shape_before_cropping": [90, 20, 20]}
    image = type(task.images[tiny_3d.pool[0]])(np.zeros((1, 90, 20, 20), np.float32), properties)
    planes = [slab.shape[1] for slab in task.slabs(task.network(), image, CPU, mirror=False)]
    assert sum(planes) == 90
    assert kept == [(3, 8, 20, 20)]


def test_logits_that_are_no_numbers_are_no_labels(tiny: Any) -> None:
    task = opened(tiny)
    network = task.network()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    with pytest.raises(RuntimeError, match="diverged"):
        list(task.slabs(network, task.images[tiny.pool[0]], CPU, mirror=False))
    assert network.training  # as it was


def test_the_largest_logit_wins_and_of_equals_the_first() -> None:
    logits = torch.randint(0, 4, (6, 5, 7)).half()
    assert (largest(logits) == logits.float().numpy().argmax(0)).all()
    single = logits.float()
    largest(single)
    assert torch.equal(single, logits.float())  # what it is given stays


@pytest.mark.parametrize("soft", [False, True])
def test_labels_do_not_depend_on_the_pieces_that_logits_come_in(soft: bool) -> None:
    logits = torch.randn(3, 9, 4, 5)
    whole = as_label([logits], (9, 4, 5), 3, soft)
    assert whole.dtype == (np.float16 if soft else np.uint8)
    assert (whole == as_label(logits.split(2, dim=1), (9, 4, 5), 3, soft)).all()
    if soft:
        assert np.allclose(whole.astype(np.float32).sum(0), 1, atol=2e-3)
        assert (whole == logits.softmax(0).half().numpy()).all()


def test_what_does_not_fit_into_memory_is_refused_before_it_begins(
    tiny_3d: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = opened(tiny_3d)
    image = task.images[tiny_3d.pool[0]]
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    with pytest.raises(
        MemoryError, match=r"predicting \d+ x \d+ x \d+ voxels of 3 classes takes .* GB .*0.0001 GB are free"
    ):
        task.slabs(task.network(), image, CPU, mirror=False)

    def never() -> Iterator[torch.Tensor]:
        raise AssertionError("nothing is predicted")
        yield

    with pytest.raises(MemoryError, match=r"soft labels, .* 50 classes, takes"):
        as_label(never(), (100, 200, 200), 50, soft=True)


def test_free_memory_is_what_machine_and_containers_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    meminfo, own, groups = tmp_path / "meminfo", tmp_path / "own", tmp_path / "groups"
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(cgroups, "OWN", own)
    monkeypatch.setattr(cgroups, "CGROUPS", groups)
    assert memory.available() is None
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 800 kB\n")
    assert memory.available() == 800 * 1024
    inner = groups / "pod" / "job"
    inner.mkdir(parents=True)
    own.write_text("0::/pod/job\n")
    assert memory.available() == 800 * 1024  # no controller
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("5\n")
    assert memory.available() == 800 * 1024
    (inner.parent / "memory.max").write_text("500000\n")
    (inner.parent / "memory.current").write_text("400000\n")
    (inner.parent / "memory.stat").write_text("anon 300000\ninactive_file 50000\nactive_file 50000\n")
    assert memory.available() == 150_000
    (inner / "memory.max").write_text("6\n")
    assert memory.available() == 1

    old = groups / "memory" / "docker"
    old.mkdir(parents=True)
    own.write_text("3:cpu,cpuacct:/docker\n2:memory:/docker\n")
    (old / "memory.limit_in_bytes").write_text("70\n")
    (old / "memory.usage_in_bytes").write_text("90\n")
    assert memory.available() == 0
    own.write_text("2:memory:/somewhere/that/is/not/mounted/here\n")
    assert memory.available() == 800 * 1024


def test_too_little_memory_ends_a_command_with_its_message_alone(capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    from atso_bench.benchmark.commands.common import plainly

    with pytest.raises(typer.Exit) as ended, plainly():
        memory.check(1 << 60, "this")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.startswith("error: this takes 1.15e+09 GB of memory, but only")
