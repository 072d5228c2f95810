"""Which method a phase belongs to: the code and options that determine it, and when all methods share it."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import inspect
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark import plugins
from atso_bench.benchmark.spec import digest

if TYPE_CHECKING:
    from torch import nn

LIBRARY = tuple(f"atso_bench.benchmark.training.{name}" for name in ("average", "boxes", "heads"))
"""What methods compute with, beside the helpers in their own folder."""


def of(method: Any) -> dict[str, Any]:
    """What every phase of a method's own depends on: its name, its code and all its options.

    Options that the method names in ``after_training`` are left out: they are read when all training is done.
    """
    late = getattr(method, "after_training", ())
    fields = {name: getattr(method, name) for name in getattr(type(method), "model_fields", ())}  # a dump may lack some
    options = {name: value for name, value in {**fields, **method.model_dump()}.items() if name not in late}
    return {"method": name(type(method)), "code": code(type(method)), "options": options}


def name(kind: type) -> str:
    """The registered name of a method's class, spelled with hyphens; elsewhere its module's."""
    return plugins.entered(kind) or kind.__module__.rpartition(".")[2].replace("_", "-")


def code(kind: type) -> str:
    """Hash of the code of a method: its file, and the files of ``methods/`` that it imports, directly or not.

    Of a method that another package brings, the files of that package count as well. ``LIBRARY`` counts where it is
    imported. Comments, docstrings and blank lines do not count.

    Raises:
        ValueError: if there is no source to read.
    """
    try:
        return _code(kind.__module__, Path(inspect.getfile(kind)))
    except (OSError, TypeError) as error:
        raise ValueError(f"{kind.__name__} has no source file, so its phases cannot be told from others'") from error


@functools.cache
def _code(name: str, place: Path) -> str:
    waiting = {name: place}
    package = name.partition(".")[0]
    room = "atso_bench.methods" if package == "atso_bench" else package
    seen: dict[str, str] = {}
    while waiting:
        module, file = waiting.popitem()
        source = file.read_text(encoding="utf-8")
        seen[module] = bare(source)
        waiting |= {found: path for found, path in _files(_imported(source, module), room) if found not in seen}
    return digest(seen, length=24)


def bare(source: str) -> str:
    """Python source without comments, docstrings and blank lines; the same in every version of Python."""
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for text in _docstrings(ast.parse(source)):
        first, last = text.lineno - 1, text.end_lineno or text.lineno
        before, behind = lines[first].encode()[: text.col_offset], lines[last - 1].encode()[text.end_col_offset :]
        if not before.strip() and not behind.strip():  # else there is code beside it
            lines[first:last] = [""] * (last - first)
    return "\n".join(line for line in map(str.rstrip, lines) if line)


def _docstrings(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:  # type: ignore[arg-type]
            yield node.body[0]  # type: ignore[attr-defined]


def _imported(source: str, module: str) -> Iterator[str]:
    """Full names of what a module imports, anywhere in it; ``from a import b`` gives ``a`` and ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _files(modules: Iterator[str], room: str) -> Iterator[tuple[str, Path]]:
    """Those that count, with their files: ``LIBRARY``, our methods, and what lies in the same room."""
    for module in modules:
        if module in LIBRARY or f"{module}.".startswith(("atso_bench.methods.", f"{room}.")):
            with contextlib.suppress(ModuleNotFoundError):  # a name inside a module
                found = importlib.util.find_spec(module)
                if found and found.origin:
                    yield module, Path(found.origin)


def build(model: nn.Module, *, learning: bool) -> str:
    """Hash of what a network is beside its weights: its modules, their settings, and hooks.

    Two networks of equal weights and equal build compute the same; a wrapper, a changed setting or a hook shows.

    Args:
        model: the network.
        learning: count which parameters learn, too.
    """
    return digest([[place, *_facts(module, learning)] for place, module in model.named_modules()], length=24)


def _facts(module: nn.Module, learning: bool) -> list[Any]:
    settings = {
        key: repr(value) if isinstance(value, _PLAIN) else _called(value)
        for key, value in vars(module).items()
        if not key.startswith("_") and key not in _SWITCHED
    }
    hooks = {
        key: list(map(_called, value.values()))
        for key, value in vars(module).items()
        if key.endswith("_hooks") and value  # dictionaries of functions
    }
    learns = [parameter.requires_grad for parameter in module.parameters(recurse=False)] if learning else []
    return [f"{type(module).__module__}.{type(module).__qualname__}", module.extra_repr(), settings, hooks, learns]


def _called(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


_SWITCHED = {"training", "deep_supervision"}
"""What each pass through a network sets by itself, as it trains or evaluates."""
_PLAIN = (bool, int, float, str, tuple, list, type(None))
