"""What the file of a method declares, read without importing it: a wrong word is answered before torch is there."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = "atso_bench.methods."


@dataclass(frozen=True)
class Declared:
    """Of the one public class of a file, with what it inherits.

    Attributes:
        groups: the groups that it belongs to.
        options: names of its options.
    """

    groups: tuple[str, ...]
    options: tuple[str, ...]


def declared(method: str) -> Declared | None:
    """What ``methods/<method>.py`` declares; None where only importing it can tell."""
    return _of_module(_PACKAGE + method.replace("-", "_"), "")


@functools.cache
def _of_module(module: str, name: str) -> Declared | None:
    """The class of that name, or the one public class."""
    found = importlib.util.find_spec(module)
    if not found or not found.origin:
        return None
    try:
        tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    public = [each for each in classes if each == name or not (name or each.startswith("_"))]
    return _of_class(classes[public[0]], classes, dict(_imported(tree))) if len(public) == 1 else None


def _of_class(node: ast.ClassDef, classes: dict[str, ast.ClassDef], imported: dict[str, str]) -> Declared | None:
    bases = [_base(ast.unparse(base), classes, imported) for base in node.bases]
    if None in bases:
        return None
    own = dict(_assigned(node))
    inherited = [base for base in bases if base is not None]
    groups = _words(own["groups"]) if "groups" in own else next((base.groups for base in inherited), ())
    fields = [name for name, note in _annotated(node) if "ClassVar" not in note and not name.startswith("_")]
    options = dict.fromkeys([*(name for base in inherited for name in base.options), *fields])
    return None if groups is None else Declared(groups, tuple(options))


def _base(name: str, classes: dict[str, ast.ClassDef], imported: dict[str, str]) -> Declared | None:
    if name in classes:
        return _of_class(classes[name], classes, imported)
    if imported.get(name, "").startswith(_PACKAGE):
        return _of_module(*imported[name].rsplit(".", 1))
    return Declared((), ()) if name == "BaseModel" else None


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for each in node.body:
        if isinstance(each, ast.Assign):
            yield from ((target.id, each.value) for target in each.targets if isinstance(target, ast.Name))
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.value is not None:
            yield each.target.id, each.value


def _annotated(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id, ast.unparse(each.annotation)


def _words(value: ast.expr) -> tuple[str, ...] | None:
    try:
        return tuple(ast.literal_eval(value))
    except (ValueError, TypeError):
        return None
