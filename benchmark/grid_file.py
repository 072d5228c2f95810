"""A grid in a file: the options of ``run`` and ``plan``, a dataclass, as YAML, by their names on the command line."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from atso_bench.benchmark import plugins
from atso_bench.benchmark.registry import did_you_mean
from atso_bench.benchmark.spec import digest
from atso_bench.benchmark.store.files import write_text

FOLDER = "grids"
"""In a results folder: the grid files that were run there."""


def read(path: Path, defaults: Any) -> dict[str, Any]:
    """The options that a file gives, by the names of the fields of ``defaults``.

    Args:
        path: of the YAML file.
        defaults: a dataclass with all options: its fields' defaults say of which kind they are.

    Raises:
        ValueError: if it is no such file, or an option or its value is wrong.
    """
    if not path.is_file():
        raise ValueError(f"there is no grid file {path}; options write one: atso-bench run ... --save {path}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: a grid file holds options, such as method: [supervised, atso]; got {raw!r}")
    known = {_spelled(one.name): one.name for one in fields(defaults) if one.metadata.get("saved", True)}
    found: dict[str, Any] = {}
    for key, value in raw.items():
        name = known.get(str(key).replace("_", "-"))
        if name is None:
            hint = did_you_mean(str(key), list(known))
            raise ValueError(f"{path}: there is no option {key!r}.{hint} It may hold: {', '.join(known)}")
        found[name] = _value(value, getattr(defaults, name), f"{path}: {key}")
    plugins.join(found.get("plugins") or [])
    return found


def _value(value: Any, default: Any, where: str) -> Any:
    """As the command line would give it."""
    if isinstance(default, bool):
        return _of(bool, value, where, "true or false")
    if isinstance(default, int):
        return _of(int, value, where, "a whole number")
    if isinstance(default, float):
        return float(_of((int, float), value, where, "a number"))
    if isinstance(default, str):
        return _text(value, where)
    if isinstance(value, dict):
        return [f"{key}={each if isinstance(each, str) else json.dumps(each)}" for key, each in value.items()]
    return [_text(each, where) for each in (value if isinstance(value, list) else [value])]


def _of(kind: Any, value: Any, where: str, words: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} takes {words}, got {value!r}")
    return value


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{where} takes words or numbers, got {value!r}")
    return str(value)


def text(options: Any) -> str:
    """The options that differ from their defaults, as a file has them."""
    found: dict[str, Any] = {}
    for one in fields(options):
        value = getattr(options, one.name)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.metadata.get("saved", True) and value != default:
            found[_spelled(one.name)] = list(map(str, value)) if isinstance(value, list) else value
    return "# atso-bench run FILE\n" + yaml.safe_dump(found, sort_keys=False, allow_unicode=True)


def keep(options: Any, results: Path, name: str) -> Path:
    """Write the grid beside its results; equal grids are one file."""
    said = text(options)
    path = results / FOLDER / f"{name}-{digest(said, 8)}.yaml"
    write_text(path, said)
    return path


def _spelled(name: str) -> str:
    return name.replace("_", "-")
