"""Finds methods and datasets by their file names."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from atso_bench.benchmark.task import Dataset
    from atso_bench.benchmark.trained import Reopens, Trained
    from atso_bench.benchmark.trainer import Method

_OPEN = {"nnunet": r"Dataset\d{3}_[\w.-]+|\d{1,3}", "frames": r"frames-[A-Za-z0-9][A-Za-z0-9._-]*"}
"""Files in ``datasets/`` that stand for any dataset of a kind, and what these are called."""


def names(kind: str) -> list[str]:
    """Names of the files in that folder, spelled with hyphens; a leading underscore hides a helper."""
    package = importlib.import_module(f"atso_bench.{kind}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))


def load(kind: str, name: str) -> type[Any]:
    """The one public class of ``<kind>/<name>.py``.

    Raises:
        LookupError: if there is no such file; the message names what there is.
        TypeError: if the file does not define exactly one public class.
    """
    known = names(kind)
    if name not in known:
        close = _like(name, [*known, *(own_datasets() if kind == "datasets" else ())])
        hint = f" Did you mean {close!r}?" if close else ""
        together = f"; groups: {', '.join(['all', *_all_groups()])}" if kind == "methods" else ""
        raise LookupError(f"there is no {kind[:-1]} {name!r}.{hint} Available: {', '.join(known)}{together}")
    module = importlib.import_module(f"atso_bench.{kind}.{name.replace('-', '_')}")
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    public = [c for c in own if not c.__name__.startswith("_")]
    if len(public) != 1:
        raise TypeError(f"{module.__name__} must define exactly one public class, but defines {len(public)}")
    return public[0]


def own_datasets() -> list[str]:
    """The names of the user's own datasets that are there."""
    kinds = (load("datasets", file) for file in _OPEN if file in names("datasets"))
    return [name for kind in kinds for name in kind.own()]


def _like(name: str, known: Sequence[str]) -> str:
    """The known name that was probably meant, which may be the second half of it; empty if there is none."""
    spelled = {each.partition("_")[2].lower(): each for each in known if "_" in each}
    spelled |= {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), spelled, n=1)
    return spelled[close[0]] if close else ""


def expand(methods: Sequence[str]) -> list[str]:
    """Names of methods, in which ``all`` and the names of groups stand for their members; each once."""
    found: dict[str, None] = {}
    for name in methods:
        members = [] if name in names("methods") else [m for m in names("methods") if name in ("all", *groups(m))]
        found.update(dict.fromkeys(members or [name]))
    return list(found)


def _all_groups() -> list[str]:
    return sorted({group for name in names("methods") for group in groups(name)})


def groups(method: str) -> tuple[str, ...]:
    """The groups that a method says it belongs to."""
    return tuple(getattr(load("methods", method), "groups", ()))


def method(name: str, options: dict[str, Any]) -> Method:
    """The method ``name`` with these options; the rest has its defaults.

    Raises:
        ValueError: if an option does not exist or has a wrong value.
    """
    kind = load("methods", name)
    try:
        made: Method = kind(**options)
        return made
    except ValueError as error:  # pydantic's ValidationError is one
        if not hasattr(error, "errors"):
            raise
        wrong = [f"{name}.{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()]
        presets = [f"preset ({', '.join(kind.presets)})"] if getattr(kind, "presets", {}) else []
        fields = ", ".join([*kind.model_fields, *presets]) or "none"
        raise ValueError("\n".join([*wrong, f"options of {name}: {fields}"])) from None


def dataset(name: str, configuration: str = "") -> Dataset:
    """The dataset of that file name, or the user's own of that name or id; its first configuration by default."""
    owner = _owner(name)
    kind = load("datasets", owner)
    if configuration not in ("", *kind.configurations):
        raise ValueError(
            f"--configuration of {name} must be one of {', '.join(kind.configurations)}, got {configuration!r}"
        )
    own = {"name": name} if owner != name else {}
    made: Dataset = kind(configuration=configuration or kind.configurations[0], **own)
    return made


def trained(name: str, portable: Mapping[str, Any]) -> Trained:
    """What predicts with a network that was trained on the dataset of that name, which need not be there.

    Raises:
        LookupError: if that kind of dataset cannot be used without its data.
    """
    kind = load("datasets", _owner(name))
    if not hasattr(kind, "trained"):
        raise LookupError(f"{kind.__module__} has no `trained`, so its models cannot predict or be exported")
    reopened: type[Reopens] = kind
    return reopened.trained(portable)


def mean_of(networks: Sequence[nn.Module]) -> nn.Module:
    """The model that is several networks together, as methods make it."""
    made: nn.Module = importlib.import_module("atso_bench.methods._pseudo").mean_of(networks)
    return made


def _owner(name: str) -> str:
    """The file in ``datasets/`` that a dataset's name belongs to."""
    owner = next((file for file, pattern in _OPEN.items() if re.fullmatch(pattern, name)), "")
    return name if name in names("datasets") or not owner else owner
