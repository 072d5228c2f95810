"""The workflows of GitHub Actions call what there is, may do little, and stop by themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from typer.main import get_command

from atso_bench.benchmark.cli import app

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def workflow(file: Path) -> dict[Any, Any]:
    """YAML reads the word ``on`` as true."""
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {("on" if name is True else name): value for name, value in found.items()}


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(file)["jobs"].values() for step in job["steps"]]


def commands(file: Path) -> str:
    return "\n".join(step["run"] for step in steps(file) if "run" in step)


def test_there_is_one_for_the_cpu_and_one_for_the_gpu() -> None:
    assert [file.name for file in FILES] == ["ci.yml", "gpu.yml"]
    cpu, gpu = map(workflow, FILES)
    assert {"push", "pull_request"} == set(cpu["on"])
    assert {"workflow_dispatch", "schedule"} == set(gpu["on"]), "a pull request must not reach one's own machine"
    assert gpu["jobs"]["gpu"]["runs-on"] == ["self-hosted", "linux", "gpu"]


@every_file
def test_what_is_made_is_a_target_of_the_makefile(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    made = set(re.findall(r"\bmake ([a-z-]+)", commands(file)))
    assert made
    assert made <= targets


@every_file
def test_commands_and_options_of_the_suite_exist(file: Path) -> None:
    known: Any = get_command(app)
    lines = re.findall(r"atso-bench ([a-z]+)([^\n|]*)", commands(file))
    assert lines
    for name, rest in lines:
        options = {option for parameter in known.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options


@every_file
def test_nothing_may_be_written_and_everything_ends(file: Path) -> None:
    found = workflow(file)
    assert found["permissions"] == {"contents": "read"}
    assert "group" in found["concurrency"]
    for job in found["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 120
        assert "permissions" not in job
    assert "secrets." not in file.read_text(encoding="utf-8")


@every_file
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used)
    checkouts = [step for step in steps(file) if step.get("uses", "").startswith("actions/checkout")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_the_tests_run_on_every_supported_python() -> None:
    wanted = re.search(
        r'^requires-python = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert wanted
    minors = [f"3.{minor}" for minor in range(30) if f"3.{minor}" in SpecifierSet(wanted[1])]
    assert workflow(FILES[0])["jobs"]["test"]["strategy"]["matrix"]["python"] == minors
