"""Ray: a real cluster of two nodes (``make ray-test``)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_cluster
from cluster_runs import GRID, command, facts, prepared, until

pytestmark = pytest.mark.ray
PROGRAM = str(Path(sys.executable).with_name("atso-bench"))
LONG = ["-m", "supervised", "-f", "10", "-d", "phantom", "-o", "recipe.width=4", "--device", "cpu", "--workers", "0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("ray", reason="`make ray-test` installs Ray")
    return prepared(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def cluster(data: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Two nodes of one core."""
    with ray_cluster.nodes([1, 1], data, tmp_path_factory.mktemp("ray")) as found:
        yield found


@pytest.fixture
def mortal(data: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Two nodes of one core, of which one may die: the head, whose death is the cluster's, has none."""
    with ray_cluster.nodes([0, 1, 1], data, tmp_path) as found:
        yield found


@pytest.fixture
def environment(cluster: dict[str, Any], data: dict[str, str]) -> dict[str, str]:
    return {**data, "RAY_ADDRESS": cluster["address"]}


def started(out: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    with (out / "told.log").open("w") as told:
        return subprocess.Popen(
            [PROGRAM, "run", *LONG, *words, "--out", str(out), "--on", "ray"],
            env=environment,
            stdout=told,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a background shell has ignored
        )


def log(out: Path) -> str:
    files = list(out.glob("logs/*.log"))
    return files[0].read_text() if files else ""


def holder(out: Path) -> int:
    """The process that has the run, by the file lock that it holds."""
    (lock,) = (file for file in out.glob("stages/claims/*") if file.is_file())
    inode = lock.stat().st_ino
    for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])
    return 0


def test_a_cluster_makes_what_one_process_makes(environment: dict[str, str], tmp_path: Path) -> None:
    out, plain = tmp_path / "cluster", tmp_path / "plain"
    done = command("run", *GRID, "--out", out, "--on", "ray", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 nodes, 2 cores" in done.stdout
    assert "M0" in done.stdout
    alone = command("run", *GRID, "--out", plain, env=environment)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert facts(out) == facts(plain)
    assert len(list(out.glob("logs/*.log"))) == 4
    for file in (out / "records").rglob("*.json"):
        record = json.loads(file.read_text())
        assert record["phases"][0]["reused"] == (record["spec"]["method"] != "supervised")
    assert "3 of 3 runs are done" in command("status", out, env=environment).stdout


def test_a_run_whose_process_is_killed_goes_on_from_its_checkpoint(environment: dict[str, str], tmp_path: Path) -> None:
    driver = started(tmp_path, environment, "--budget", "smoke:1000000")
    try:
        until(lambda: list(tmp_path.glob("stages/**/progress.pt")), tmp_path)
        os.kill(holder(tmp_path), signal.SIGKILL)
        until(lambda: "its process has died; it goes on" in (tmp_path / "told.log").read_text(), tmp_path)
        until(lambda: resumed(tmp_path), tmp_path)
    finally:
        stop(driver)


def resumed(out: Path) -> bool:
    """Whether a second beginning of M0 was not at step 0."""
    starts = re.findall(r": running\nM0 +(\d+)/", log(out))
    return len(starts) == 2 and int(starts[1]) > 0


def stop(driver: subprocess.Popen[str]) -> int:
    driver.send_signal(signal.SIGINT)
    try:
        return driver.wait(300)  # 60 s are the runs', some more Ray's on a busy machine
    finally:
        driver.kill()


def test_a_run_whose_node_dies_goes_on_on_another(mortal: dict[str, Any], data: dict[str, str], tmp_path: Path) -> None:
    environment = {**data, "RAY_ADDRESS": mortal["address"]}
    driver = started(tmp_path, environment, "--budget", "smoke:1000000")
    try:
        until(lambda: list(tmp_path.glob("stages/**/progress.pt")), tmp_path)
        raylet = parent(holder(tmp_path))
        assert raylet in mortal["raylets"][1:]
        os.kill(raylet, signal.SIGKILL)
        until(lambda: resumed(tmp_path), tmp_path)
    finally:
        stop(driver)


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def test_ctrl_c_saves(environment: dict[str, str], tmp_path: Path) -> None:
    driver = started(tmp_path, environment, "--budget", "smoke:1000000")
    until(lambda: re.search(r"M0 +[1-9]\d*/1000000 steps", log(tmp_path)), tmp_path)
    assert stop(driver) == 130
    assert re.search(r"stopped in phase 'M0' at step \d+ of 1000000; the same command continues", log(tmp_path))
    assert list(tmp_path.glob("stages/**/progress.pt"))
    assert not list(tmp_path.rglob("*.failed.json"))


def test_a_run_that_fails_is_a_record_and_is_not_tried_again(environment: dict[str, str], tmp_path: Path) -> None:
    done = command("run", *GRID, "-o", "recipe.lr=1e38", "--out", tmp_path, "--on", "ray", env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(list(tmp_path.rglob("*.failed.json"))) == 3
    assert "3 of 3 runs failed" in done.stderr
    for each in tmp_path.glob("logs/*.log"):
        assert each.read_text().count(": running") == 1


@pytest.mark.parametrize("wrong", ["versions", "folder"])
def test_another_version_or_folder_is_refused(
    wrong: str, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that has other versions than the nodes, or writes its order where they do not look."""
    script = tmp_path / "driver.py"
    patch = {
        "versions": "order.software = lambda: {'torch': '0.1'}",
        "folder": "order.Order.write = lambda self: self.folder.mkdir(parents=True)",
    }[wrong]
    script.write_text(
        f"from atso_bench.benchmark.engines import order\n{patch}\nfrom atso_bench.benchmark.cli import app\napp()\n"
    )
    words = [sys.executable, script, "run", *LONG, "--budget", "smoke", "--out", tmp_path / "out", "--on", "ray"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 2, done.stdout + done.stderr
    assert {"versions": "instead of 0.1", "folder": "must be one folder that all machines share"}[wrong] in done.stderr


def test_a_command_outside_of_the_cluster_has_runs_made_there(
    cluster: dict[str, Any], data: dict[str, str], tmp_path: Path
) -> None:
    words = [
        "run",
        *LONG,
        "--budget",
        "smoke",
        "--out",
        tmp_path,
        "--on",
        "ray",
        "--ray",
        f"address={cluster['outside']}",
    ]
    done = command(*words, env=data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 nodes, 2 cores" in done.stdout
    assert len(list((tmp_path / "records").rglob("seed*.json"))) == 1


def test_part_of_a_gpu_must_be_asked_for_twice(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["run", *LONG, "--budget", "smoke", "--out", tmp_path, "--on", "ray", "--ray", "num_gpus=0.5"]
    done = command(*words, env=environment)
    assert done.returncode == 2
    assert "add --share-gpus" in done.stderr
