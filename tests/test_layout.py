"""The house keeps its shape: imports point downward, never in a circle, and heavy packages come in late."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "atso_bench"
FOLDERS = ("benchmark", "datasets", "methods", "reports")
# The rest of benchmark/ is the floor.
ROOF = {
    *("cli", "commands", "options", "registry", "declared", "contract", "run", "grid", "done", "export"),
    *("forecast", "engines", "readiness", "grid_file", "scores", "python", "trackers"),
    *("advice", "finding", "models", "predict", "verify", "alike"),
}
LIGHT = {
    "cli",
    "options",
    "spec",
    "record",
    "registry",
    "grid",
    "headline",
}  # what `--help` and the reports need of benchmark/
# Rooms in their order: a file may import from its own room and from those before it.
ROOMS = {
    "reports": ("words", "data", "certainty", "figures", "pages"),
    "datasets": ("_shared", "_volumes", "_frames", "_drawn"),
}
APART = {("_volumes", "_frames"), ("_frames", "_volumes"), ("_volumes", "_drawn"), ("_frames", "_drawn")}
HEAVY = {"torch", "nnunetv2", "monai", "matplotlib", "seaborn", "pandas"}
TORCH = {"torch", "torchvision", "monai", "nnunetv2"}  # torch, and what imports it

FILES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


class Import(NamedTuple):
    """One imported module: its full name, and where in the file it stands."""

    name: str
    top_level: bool
    typing_only: bool


@functools.cache
def imports(file: Path) -> list[Import]:
    """Everything that a file imports, anywhere in it; `from a import b` counts as `a` and `a.b`: b may be a module."""
    found: list[Import] = []

    def visit(node: ast.AST, top_level: bool, typing_only: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, top_level, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = [PACKAGE, *file.parts[: len(file.parts) - node.level]] if node.level else []
            base = ".".join([*here, *filter(None, [node.module])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
            found.extend(Import(name, top_level, typing_only) for name in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in node.body:
                visit(statement, top_level, True)
            for statement in node.orelse:
                visit(statement, top_level, typing_only)
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for child in ast.iter_child_nodes(node):
                visit(child, top_level and not inside, typing_only)

    visit(ast.parse((ROOT / file).read_text("utf-8")), True, False)
    return found


def project_files(found: Iterable[Import]) -> set[Path]:
    """The project's own files among imports."""
    split = [item.name.split(".") for item in found]
    return {Path(*parts).with_suffix(".py") for package, *parts in split if package == PACKAGE and parts} & set(FILES)


def imports_for_reports(file: Path) -> list[Import]:
    """What writing a report makes Python import: all that a report's file names, and the top level of the floor."""
    own = file.parts[0] == "reports"
    return [item for item in imports(file) if not item.typing_only and (own or item.top_level)]


def part(file: Path) -> str:
    """The part of the house: floor, roof, or the folder's name."""
    if file.parts[0] != "benchmark":
        return file.parts[0]
    return "roof" if Path(file.parts[1]).stem in ROOF else "floor"


def is_allowed(file: Path, target: Path) -> bool:
    below = {"floor": {"floor"}, "roof": {"floor", "roof", "reports"}}.get(part(file), {"floor"})
    if part(target) in below:
        return True
    helper = part(target) == "reports" or any(name.startswith("_") for name in target.parts)
    return part(target) == part(file) and helper


def arrows() -> list[tuple[Path, Path]]:
    """Who imports whom, of the project's own files."""
    return [(file, target) for file in FILES for target in sorted(project_files(imports(file)))]


def test_imports_point_downward() -> None:
    wrong = [f"{file} may not import {target}" for file, target in arrows() if not is_allowed(file, target)]
    assert not wrong, "\n".join(wrong)


def room(file: Path) -> str:
    """The room of its folder that a file stands in; a file beside the rooms has its own name."""
    return file.parts[1] if len(file.parts) > 2 else file.stem


def test_rooms_import_from_the_rooms_before_them() -> None:
    wrong = []
    for file, target in arrows():
        order = ROOMS.get(file.parts[0], ())
        if file.parts[0] != target.parts[0] or not {room(file), room(target)} <= {*order}:
            continue
        if order.index(room(target)) > order.index(room(file)) or (room(file), room(target)) in APART:
            wrong.append(f"{file} may not import {target}")
    assert not wrong, "\n".join(wrong)


def test_the_projects_own_folders_are_imported_through_the_package() -> None:
    wrong = [f"{file}: {item.name}" for file in FILES for item in imports(file) if item.name.split(".")[0] in FOLDERS]
    assert not wrong, f"put {PACKAGE}. before it: {wrong}"


def test_no_file_imports_itself_in_a_circle() -> None:
    TopologicalSorter({file: project_files(imports(file)) for file in FILES}).prepare()  # its error names the circle


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    """So that `--help` answers at once."""
    light = [file for file in FILES if file.parts[0] == "benchmark" and file.stem in LIGHT]
    assert {file.stem for file in light} == LIGHT
    for file in [*light, *(file for file in FILES if file.parts[:2] == ("benchmark", "commands"))]:
        used = (item for item in imports(file) if item.top_level and not item.typing_only)
        heavy = {item.name for item in used if item.name.split(".")[0] in HEAVY}
        assert not heavy, f"{file} imports {heavy} at top level; import it in the function that uses it"


def test_reports_need_no_torch() -> None:
    """Neither themselves nor through the files that they import."""
    waiting = [file for file in FILES if file.parts[0] == "reports"]
    seen = set(waiting)
    while waiting:
        file = waiting.pop()
        found = imports_for_reports(file)
        torch = {item.name for item in found if item.name.split(".")[0] in TORCH}
        assert not torch, f"{file} imports {torch}, but reports are written on machines without torch"
        waiting.extend(project_files(found) - seen)
        seen.update(waiting)


def test_help_answers_without_the_heavy_packages() -> None:
    script = f"""
import sys
from atso_bench.benchmark.cli import app
app(["--help"], standalone_mode=False)
sys.exit(", ".join(sorted({HEAVY!r} & set(sys.modules))) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "src", capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, f"--help failed, or imported: {done.stderr}"
    assert "run" in done.stdout


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_package_holds_a_link_to_each_folder(folder: str) -> None:
    link = ROOT / "src" / PACKAGE / folder
    assert link.is_symlink(), f"{link} must be a symbolic link (on Windows: git config core.symlinks true)"
    assert link.readlink() == Path("..", "..", folder)


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
def test_top_level_folders_are_no_packages(folder: str) -> None:
    """An installed top-level `datasets` would overwrite other people's."""
    assert not list((ROOT / folder).rglob("__init__.py"))


def test_no_module_is_named_like_the_standard_library() -> None:
    assert not [file for file in FILES if {*file.parts[:-1], file.stem} & sys.stdlib_module_names]
