"""Every method and dataset file that is found fulfils the protocol that the rest of the house knows it by."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from atso_bench.benchmark import registry
from atso_bench.benchmark.task import Dataset
from atso_bench.benchmark.trainer import Method

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ("atso_bench", __name__)
PROTOCOLS: dict[str, Any] = {"methods": Method, "datasets": Dataset}
FOUND = [(kind, name) for kind in PROTOCOLS for name in registry.names(kind)]


def lacks(kind: Any, protocol: Any) -> list[str]:
    """What a class has not of a protocol: members, or parameters of its verbs. mypy says more (see below)."""
    members = {name for name in (*vars(protocol), *protocol.__annotations__) if not name.startswith("_")}
    there = {name for one in kind.__mro__ for name in (*vars(one), *getattr(one, "__annotations__", {}))}
    makers = [
        inspect.getsource(vars(one)["__init__"])
        for one in kind.__mro__
        if one.__module__.startswith(PACKAGE) and "__init__" in vars(one)
    ]
    there |= set(re.findall(r"self\.(\w+)", "".join(makers)))
    absent = sorted(members - there)
    for name in sorted(members - set(absent)):
        wanted, given = vars(protocol).get(name), getattr(kind, name, None)
        if inspect.isfunction(wanted) and inspect.isfunction(given):
            own = inspect.signature(given).parameters
            takes_all = any(one.kind is one.VAR_KEYWORD for one in own.values())
            absent += [
                f"{name}({one})" for one in inspect.signature(wanted).parameters if one not in own and not takes_all
            ]
    return absent


@pytest.mark.parametrize(("kind", "name"), FOUND)
def test_every_file_has_what_its_protocol_asks_for(kind: str, name: str) -> None:
    assert lacks(registry.load(kind, name), PROTOCOLS[kind]) == []


def test_what_is_missing_is_named() -> None:
    class Half:
        configurations = groupings = ("a",)
        summary = source = name = track = ""

        def __init__(self, configuration: str = "a") -> None:
            self.configuration = configuration

        def prepare(self) -> list[str]:
            return []

    missing = lacks(Half, Dataset)
    assert {"is_ready", "ready", "task", "prepare(source)", "prepare(say)"} < set(missing)
    assert not {"configuration", "name", "prepare"} & set(missing)


# mypy knows types too; from scratch it reads torch first, which takes a while


def checked(folder: Path, text: str) -> tuple[int, str]:
    file = folder / "seams.py"
    file.write_text(text, encoding="utf-8")
    words = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)
    return done.returncode, done.stdout


def seam(kind: str, name: str, number: int) -> str:
    """A function that mypy accepts if the class of that file fulfils its protocol."""
    found, protocol = registry.load(kind, name), PROTOCOLS[kind]
    made = f"m{number}.{found.__name__}(configuration='')" if kind == "datasets" else "found"
    return f"""
import {found.__module__} as m{number}
from {protocol.__module__} import {protocol.__name__}
def f{number}(found: m{number}.{found.__name__}) -> {protocol.__name__}: return {made}
"""


@pytest.mark.slow
def test_mypy_finds_every_file_to_fulfil_its_protocol(tmp_path: Path) -> None:
    code, said = checked(tmp_path, "".join(seam(*each, number) for number, each in enumerate(FOUND)))
    assert code == 0, said


@pytest.mark.slow
def test_mypy_would_say_so(tmp_path: Path) -> None:
    text = """
from atso_bench.benchmark.task import Dataset
from atso_bench.datasets.hippocampus import Hippocampus
class Wrong(Hippocampus):
    pool: list[int] = []  # type: ignore[assignment]
def f() -> Dataset: return Wrong()
"""
    code, said = checked(tmp_path, text)
    assert code == 1
    assert 'pool: expected "tuple[str, ...]", got "list[int]"' in said


@pytest.mark.slow
def test_mypy_holds_the_registry_to_the_protocols(tmp_path: Path) -> None:
    """Nothing of it is ``Any``."""
    text = """
from atso_bench.benchmark import registry
registry.dataset("phantom").nonsense
registry.method("atso", {}).nonsense
"""
    _, said = checked(tmp_path, text)
    assert '"Dataset" has no attribute "nonsense"' in said
    assert '"Method" has no attribute "nonsense"' in said
