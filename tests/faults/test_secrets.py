"""Nothing of the environment, of its user or of the machine's name enters what a run leaves."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from toy import ToyDataset, ToyTask
from typer.testing import CliRunner

from atso_bench.benchmark import registry
from atso_bench.benchmark.cli import app
from atso_bench.benchmark.store import environment
from atso_bench.reports.data.rows import shell

SECRETS = {
    "HF_TOKEN": "sentinel-token",
    "AWS_SECRET_ACCESS_KEY": "sentinel-aws",
    "WANDB_API_KEY": "sentinel-wandb",
    "HTTPS_PROXY": "http://sentinel-user:sentinel-password@proxy.example:3128",
    "https_proxy": "http://sentinel-user:sentinel-password@proxy.example:3128",
    "PIP_INDEX_URL": "https://sentinel-user:sentinel-password@index.example/simple",
    "GIT_ASKPASS": "sentinel-askpass",
    "USER": "sentinel-name",
    "LOGNAME": "sentinel-name",
    "HOSTNAME": "sentinel-host",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is nobody's, in which all happens; ``--dataset toy`` is the toy."""
    home = tmp_path / "sentinel-home"
    home.mkdir()
    for name, value in {**SECRETS, "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "gethostname", lambda: "sentinel-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "sentinel-name")
    real = registry.dataset
    monkeypatch.setattr(registry, "dataset", lambda name, c="2d": ToyDataset() if name == "toy" else real(name, c))
    return home


def run(home: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    words = [
        "run",
        "-m",
        "self-learning",
        "-f",
        "10",
        "-d",
        "toy",
        "--budget",
        "14",
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    words += ["--out", str(home / "results"), *more]
    monkeypatch.setattr(environment.sys, "argv", [str(home / "bin" / "atso-bench"), *words])
    return CliRunner().invoke(app, words).exit_code


def told(results: Path) -> dict[str, str]:
    """Every file, with its name."""
    files = [path for path in results.rglob("*") if path.is_file()]
    return {str(path.relative_to(results)): path.read_bytes().decode("latin-1") for path in files}


def assert_nothing_is_told(results: Path) -> None:
    files = told(results)
    assert any(name.startswith("records") for name in files)
    for name, text in files.items():
        assert "sentinel" not in text + name, name


def test_a_run_leaves_no_secret_no_name_and_no_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(home, monkeypatch, "--profile") == 0
    assert_nothing_is_told(home / "results")
    (path,) = (home / "results" / "records").rglob("seed*.json")
    command = json.loads(path.read_text(encoding="utf-8"))["environment"]["command"]
    assert command[0] == "atso-bench"
    assert command[command.index("--out") + 1] == "~/results"
    assert "--out ~/results" in (home / "results" / "report" / "index.html").read_text(encoding="utf-8")


def test_a_failed_run_leaves_none_either(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*given: Any, **more: Any) -> Any:
        raise OSError(28, "No space left on device", str(home / "results" / "stages" / "x"))

    monkeypatch.setattr(ToyTask, "loss", failing)
    run(home, monkeypatch)
    assert_nothing_is_told(home / "results")
    (path,) = (home / "results" / "records").rglob("*.failed.json")
    cause = json.loads(path.read_text(encoding="utf-8"))
    assert "~/results/stages/x" in cause["message"]
    assert any("~/results/stages/x" in line for line in cause["traceback"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me", "~"),
        ("/home/me/a", "~/a"),
        ("/home/mere/a", "/home/mere/a"),
        ("a /home/me/b, '/home/me/c'", "a ~/b, '~/c'"),
        ("https://name:word@host/x", "https://host/x"),
        ("http://name@host:80 and s3://k:s@b/", "http://host:80 and s3://b/"),
        ("mail me@host or a:b@c", "mail me@host or a:b@c"),
        ("labelled=/home/me/list.txt", "labelled=~/list.txt"),
    ],
)
def test_homes_and_passwords_are_left_out(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert environment.discreet(text) == shown


@pytest.mark.parametrize("home", ["/", "", "relative"])
def test_a_home_that_is_no_persons_changes_no_path(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    assert environment.discreet("/data/relative/x") == "/data/relative/x"


def test_a_command_with_a_home_is_ready_for_the_readers_shell(tmp_path: Path) -> None:
    words = ["printf", "%s\n", "~/my results", "labelled=~/a'b", "~/", "a ~/b", "$(touch x)", "~root/x"]
    done = subprocess.run(
        ["sh", "-c", shell(words)], env={"HOME": "/home/me"}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shown = ["/home/me/my results", "labelled=/home/me/a'b", "/home/me/", "a ~/b", "$(touch x)", "~root/x"]
    assert done.stdout.splitlines() == shown
    assert not list(tmp_path.iterdir())
