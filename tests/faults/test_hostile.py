"""Files that want to run something, or to see the machine: nothing runs, and the message is clear."""

from __future__ import annotations

import ast
import copy
import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plans import made

from atso_bench.datasets._volumes.plan import read_plans
from atso_bench.datasets._volumes.trusted import check_plans
from atso_bench.datasets.nnunet import Nnunet

ROOT = Path(__file__).resolve().parents[2]
NAME = "Dataset703_Hostile"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A data root with a raw dataset, and nnU-Net's plans of it, with a cascade as nnU-Net plans one."""
    root = tmp_path_factory.mktemp("planned")
    plans = made(root, NAME)
    plans["configurations"]["3d_lowres"] = {**plans["configurations"]["3d_fullres"], "next_stage": "3d_cascade_fullres"}
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return root, plans


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every position in a JSON tree."""
    yield path
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield from places(value, (*path, key))


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    tree = copy.deepcopy(tree)
    if not path:
        return value
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return tree


INERT = {"plans_name", "experiment_planner_used", "data_identifier", "next_stage", "previous_stage", "inherits_from"}
"""Names that are kept and never looked up among classes or functions."""
EVIL = ["os.system", "builtins.eval", "torch.hub.load"]


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_at_any_place_of_a_plan_gets_to_nnunet(
    planned: tuple[Path, dict[str, Any]], evil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, plans = planned
    monkeypatch.setenv("ATSO_BENCH_DATA", str(root))
    raw, path = Nnunet(NAME).raw, tmp_path / "nnUNetPlans.json"
    looked_up: list[Any] = []
    monkeypatch.setattr("pydoc.locate", looked_up.append)
    monkeypatch.setattr("nnunetv2.utilities.find_class_by_name.recursive_find_python_class", looked_up.append)
    tried = 0
    for place in places(plans):
        if "3d_fullres" in place:  # the same entries as 2d
            continue
        path.write_text(json.dumps(replaced(plans, place, evil)))
        tried += 1
        try:
            read_plans(path, raw, "2d")
        except ValueError:
            continue
        assert place[-1] in INERT, f"{evil} is taken at {place}"
    assert tried > 100
    assert not looked_up


def test_no_unknown_entry_is_taken_at_any_place_of_a_plan(planned: tuple[Path, dict[str, Any]]) -> None:
    plans = planned[1]
    check_plans(plans)
    objects = [place for place in places(plans) if isinstance(_at(plans, place), dict)]
    assert len(objects) > 15
    for place in objects:
        if place in (("configurations",), ("foreground_intensity_properties_per_channel",)):
            continue
        with pytest.raises(ValueError, match=r"trusted|must hold"):
            check_plans(replaced(plans, (*place, "hook"), "os.system"))


@pytest.mark.parametrize("value", [10**400, 1.0, True, None, "\ud800"], ids=["huge", "1.0", "true", "null", "half"])
def test_a_value_of_another_type_is_one_line_at_any_place_of_a_plan(
    planned: tuple[Path, dict[str, Any]], value: Any
) -> None:
    found = [told for place in places(planned[1]) if place and (told := refused(replaced(planned[1], place, value)))]
    assert len(found) > 100
    assert not [told for told in found if "\n" in told]


def refused(plans: Any) -> str:
    try:
        check_plans(plans)
    except ValueError as error:
        return str(error)
    return ""


def _at(tree: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        tree = tree[key]
    return tree


def test_a_plan_that_wants_to_run_a_command_runs_none_when_it_is_used(
    planned: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from atso_bench.benchmark.cli import app

    root, plans = planned
    marker, own = tmp_path / "marker", tmp_path / "preprocessed" / NAME
    own.mkdir(parents=True)
    arguments = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    evil = {**arguments, "nonlin": "os.system", "nonlin_kwargs": {"command": f"touch {marker}"}}
    (own / "nnUNetPlans.json").write_text(
        json.dumps(replaced(plans, ("configurations", "2d", "architecture", "arch_kwargs"), evil))
    )
    monkeypatch.setenv("ATSO_BENCH_DATA", str(root))
    monkeypatch.setenv("nnUNet_preprocessed", str(own.parent))
    result = CliRunner().invoke(app, ["prepare", NAME])
    assert result.exit_code == 2
    assert "arch_kwargs.nonlin is 'os.system', which is none of the names or values that are trusted" in result.output
    assert not marker.exists()


# -- arrays that hold code --------------------------------------------------------------------------------------------


def _evil(inputs: Any, output: Any, offset: Any) -> None:
    import os
    from pathlib import Path

    Path(os.environ["MARKER"]).mkdir()
    output[:] = inputs[0]


def test_an_array_file_that_holds_code_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import blosc2

    from atso_bench.datasets._volumes.arrays import open_array

    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))
    numbers = blosc2.asarray(np.ones((4, 4), np.float32), urlpath=str(tmp_path / "numbers.b2nd"), mode="w")
    blosc2.lazyudf(_evil, (numbers,), np.float32, shape=(4, 4)).save(urlpath=str(tmp_path / "code.b2nd"))
    blosc2.lazyexpr("numbers + 1", {"numbers": numbers}).save(urlpath=str(tmp_path / "formula.b2nd"))
    blosc2.SChunk(data=bytes(100), urlpath=str(tmp_path / "bytes.b2nd"), mode="w")
    source = {"local_abspath": str(tmp_path / "numbers.b2nd"), "urlpath": None, "caterva2_env": False}
    elsewhere = {"urlpath": str(tmp_path / "elsewhere.b2nd"), "meta": {"proxy-source": source}}
    blosc2.asarray(np.ones(4), mode="w", **elsewhere)
    if marker.exists():
        marker.rmdir()
    assert open_array(tmp_path / "numbers.b2nd")[:].sum() == 16
    for name in ("code", "formula", "bytes", "elsewhere"):
        with pytest.raises(OSError, match=f"{name}.b2nd does not hold an array of numbers"):
            open_array(tmp_path / f"{name}.b2nd")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 1000])
def test_an_array_file_that_is_none_is_an_error_with_its_path(tmp_path: Path, content: bytes) -> None:
    from atso_bench.datasets._volumes.arrays import open_array

    (tmp_path / "a.b2nd").write_bytes(content)
    with pytest.raises(OSError, match=r"a\.b2nd"):
        open_array(tmp_path / "a.b2nd")
    with pytest.raises(FileNotFoundError):
        open_array(tmp_path / "b.b2nd")


def test_the_floor_of_blosc2_is_the_version_that_refuses_stored_code() -> None:
    floors = re.findall(r'"blosc2>=([\d.]+); python_version (\S+) \'3\.11\'"', (ROOT / "pyproject.toml").read_text())
    assert floors == [("4.14", ">="), ("4.3", "<")]  # the last for Python 3.10, where open_array alone refuses
    locked = re.findall(
        r"^blosc2==([\d.]+) ; python_full_version (\S+)", (ROOT / "requirements.lock").read_text(), re.M
    )
    assert {sign: version for version, sign in locked}[">="].startswith("4.14")
    installed = tuple(map(int, importlib.metadata.version("blosc2").split(".")[:2]))
    assert installed >= (4, 3)


# -- what no file of ours calls ---------------------------------------------------------------------------------------

BUILTINS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "blosc2.open", "blosc2.load"}
METHODS = {"extractall", "extract", "unpack_archive", "load_pickle", "read_pickle", "getoutput", "set_safe_mode"}
MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
FOLDERS = ("benchmark", "datasets", "methods", "reports")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def dangers(source: str) -> Iterator[str]:
    """Calls that run what a file or a text says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom) and not all(alias.name.endswith("Error") for alias in node.names):
                names |= {(node.module or "").split(".")[0]}  # an error of theirs may be caught
            yield from sorted(names & MODULES)
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        name, settings = call.rsplit(".", 1)[-1], {word.arg: ast.unparse(word.value) for word in node.keywords}
        if call in BUILTINS or name in METHODS:
            yield call
        if call == "torch.load" and settings.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if name == "load" and call.split(".")[0] == "yaml":
            yield call
        if settings.get("shell", "False") != "False":
            yield "shell"
        if settings.get("allow_pickle", "False") != "False":
            yield "allow_pickle"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_ours_runs_what_a_file_says(path: Path) -> None:
    found = list(dangers(path.read_text(encoding="utf-8")))
    assert not found, f"{path.name} uses {', '.join(found)}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "torch.load(f)", "torch.load(f, weights_only=False)",
        "yaml.load(f)",
        "np.load(f, allow_pickle=True)", "eval(x)", "exec(x)", "os.system(x)", "subprocess.run(x, shell=True)",
        "tar.extractall(x)", "blosc2.open(x)", "shutil.unpack_archive(x)",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(source: str) -> None:
    assert list(dangers(source))


def test_no_variable_of_the_environment_is_expanded_in_a_path_of_a_file() -> None:
    for path in FILES:
        if path.name != "description.py":  # it compares, to refuse
            assert "expandvars" not in path.read_text(encoding="utf-8"), path
