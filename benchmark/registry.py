"""Finds methods and datasets by their file names, or by the names of other packages' entry points."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark import places, plugins
from atso_bench.benchmark.declared import declared

if TYPE_CHECKING:
    from torch import nn

    from atso_bench.benchmark.task import Dataset
    from atso_bench.benchmark.trained import Reopens, Trained
    from atso_bench.benchmark.trainer import Method

_OPEN = {"nnunet": r"Dataset\d{3}_[\w.-]+|\d{1,3}", "frames": r"frames-[A-Za-z0-9][A-Za-z0-9._-]*"}
"""Files in ``datasets/`` that stand for any dataset of a kind, and what these are called."""
_TO = "-to-"
"""Between the names of a pair's source and target."""


_NEEDED = {
    "methods": ("fit", "model_dump", "model_fields"),
    "datasets": ("configurations", "summary", "task", "prepare"),
}
"""What a class must have to be one, as far as it can be told from the class alone."""


def names(kind: str) -> list[str]:
    """Names of the files in that folder and in plug-ins, spelled with hyphens; a leading underscore hides a helper.

    Raises:
        ValueError: if a plug-in is not there, or has the name of another.
    """
    plugins.check()
    package = importlib.import_module(f"atso_bench.{kind}")
    found = {module.name.replace("_", "-") for module in pkgutil.iter_modules(package.__path__)}
    known = {name for name in found if not name.startswith("-")}
    if twice := sorted(known & {*plugins.entries(kind)}):
        brought = plugins.entries(kind)[twice[0]].value
        raise ValueError(f"entry point {twice[0]} = {brought}: there is a {kind[:-1]} {twice[0]} already; rename it")
    return sorted({*known, *plugins.entries(kind)})


def check_name(kind: str, name: str) -> None:
    """Refuse a name that nothing has; nothing is imported for it.

    Raises:
        LookupError: naming what there is.
        ValueError: if it is a file.
    """
    known = names(kind)
    if name in known:
        return
    if name.endswith(".py"):
        raise ValueError(
            f"{name!r}: --{kind[:-1]} takes a name, not a file; put the file into a folder FOLDER/{kind}, give "
            f"--plugins FOLDER, and name it without .py (CONTRIBUTING.md)"
        )
    together = f"; groups: {', '.join(['all', *_all_groups()])}" if kind == "methods" else ""
    if kind == "methods":
        hint = did_you_mean(name, [*known, *_all_groups()])
    else:
        hint = f" Did you mean {close!r}?" if (close := _like(name, [*known, *own_datasets()])) else ""
    raise LookupError(f"there is no {kind[:-1]} {name!r}.{hint} Available: {', '.join(known)}{together}")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`` Did you mean 'atso'?``, or nothing where no word is close."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def load(kind: str, name: str) -> type[Any]:
    """The one public class of ``<kind>/<name>.py``, or what the entry point of that name brings.

    Raises:
        LookupError: if there is no such file; the message names what there is.
        ValueError: if it cannot be imported, or does not define exactly one public class of the kind.
    """
    if name not in names(kind):
        check_name(kind, name)
    found = _imported(kind, name)
    made = found if isinstance(found, type) else _only_class(found)
    if missing := [needed for needed in _NEEDED[kind] if not hasattr(made, needed)]:
        derive = "derive it from Settings of methods/_settings.py" if kind == "methods" else "see CONTRIBUTING.md"
        raise ValueError(f"{made.__module__}.{made.__name__} is no {kind[:-1]}, it has no {missing[0]}; {derive}")
    return made


def _imported(kind: str, name: str) -> Any:
    point = plugins.entries(kind).get(name)
    module = f"atso_bench.{kind}.{name.replace('-', '_')}"
    try:
        return point.load() if point else importlib.import_module(module)
    except Exception as error:  # whatever a stranger's file does when it is imported
        where = point.value if point else getattr(importlib.util.find_spec(module), "origin", module)
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"the {kind[:-1]} {name} cannot be imported from {where}: {said}") from error


def _only_class(module: ModuleType) -> type[Any]:
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    public = [c for c in own if not c.__name__.startswith("_")]
    if len(public) != 1:
        raise ValueError(f"{module.__file__} must define exactly one public class, but defines {len(public)}")
    return public[0]


def own_datasets() -> list[str]:
    """The names of the user's own datasets that are there."""
    return [*places.own_volumes(), *places.own_frames()]


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
    found = None if method in plugins.entries("methods") else declared(method)
    return found.groups if found else tuple(getattr(load("methods", method), "groups", ()))


def check_words(methods: Sequence[str], datasets: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse misspelled names and options before anything heavy is imported.

    Raises:
        LookupError: if there is no method or dataset of a name.
        ValueError: if a built-in method has no such option.
    """
    for name in methods:
        check_name("methods", name)
    for name in datasets:
        if not _file(name):
            dataset(name)  # its error says what there is
    for name, given in options.items():
        known = declared(name) if plugins.is_built_in("methods", name) else None
        for option in given if known else ():
            if option not in (words := (*known.options, "preset")):  # type: ignore[union-attr]
                raise ValueError(
                    f"{name}.{option}: there is no such option.{did_you_mean(option, words)} "
                    f"options of {name}: {', '.join(words)}"
                )


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
    if pair := _pair(name):
        source, target = dataset(pair[0]), dataset(pair[1], configuration)
        both: Dataset = importlib.import_module(target.joint).joined(source, target)
        return both
    owner = _file(name) or name
    kind = load("datasets", owner)
    if configuration not in ("", *kind.configurations):
        raise ValueError(
            f"--configuration of {name} must be one of {', '.join(kind.configurations)}, got {configuration!r}"
        )
    own = {"name": name} if owner != name else {}
    made: Dataset = kind(configuration=configuration or kind.configurations[0], **own)
    return made


def pair_name(source: str, target: str) -> str:
    """The dataset whose labels are the source's and whose unlabelled and test cases are the target's."""
    return f"{source}{_TO}{target}"


def _file(name: str) -> str:
    """The file in ``datasets/`` that a name stands for, of a pair its target's; empty for none."""
    if pair := _pair(name):
        return _file(pair[1])
    return name if name in names("datasets") else _owner(name)


def _pair(name: str) -> tuple[str, str] | None:
    """Source and target of ``A-to-B``, each of which is a dataset; None for a dataset's own name."""
    known = names("datasets")
    if name in known:
        return None
    parts = name.split(_TO)
    halves = ((_TO.join(parts[:place]), _TO.join(parts[place:])) for place in range(1, len(parts)))
    return next((half for half in halves if all(one in known or _owner(one) for one in half)), None)


def trained(name: str, portable: Mapping[str, Any]) -> Trained:
    """What predicts with a network that was trained on the dataset of that name, which need not be there.

    Raises:
        LookupError: if that kind of dataset cannot be used without its data.
    """
    kind = load("datasets", _file(name) or name)
    if not hasattr(kind, "trained"):
        raise LookupError(f"{kind.__module__} has no `trained`, so its models cannot predict or be exported")
    reopened: type[Reopens] = kind
    return reopened.trained(portable)


def mean_of(networks: Sequence[nn.Module]) -> nn.Module:
    """The model that is several networks together, as methods make it."""
    made: nn.Module = importlib.import_module("atso_bench.methods._pseudo").mean_of(networks)
    return made


def _owner(name: str) -> str:
    """The file that stands for a user's dataset of this name; empty if none does."""
    return next((file for file, pattern in _OPEN.items() if re.fullmatch(pattern, name)), "")
