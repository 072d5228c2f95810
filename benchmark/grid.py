"""Which runs a grid holds, and running those that are not done."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import Budget, LabelFraction, RunSpec
from atso_bench.benchmark.store import asked

if TYPE_CHECKING:
    from atso_bench.benchmark.engines.order import Order
    from atso_bench.benchmark.task import Dataset

UPPER_BOUND = ("supervised", LabelFraction("100"))


@dataclass(frozen=True)
class Options:
    """``--option`` by what it is for: ``recipe.batch=8``, ``atso.subsets=4``."""

    methods: dict[str, dict[str, Any]]
    recipe: dict[str, Any]

    @classmethod
    def parse(cls, texts: Sequence[str], methods: Sequence[str]) -> Options:
        """Read ``NAME.OPTION=VALUE``; the value is JSON or else a string.

        Raises:
            ValueError: if the text has another form, or ``NAME`` is neither ``recipe`` nor a method of this grid.
        """
        found: dict[str, dict[str, Any]] = {}
        for text in texts:
            target, equals, value = text.partition("=")
            name, dot, option = target.partition(".")
            if not (equals and dot and option):
                raise ValueError(f"--option must be NAME.OPTION=VALUE, such as atso.subsets=4, got {text!r}")
            if name not in ("recipe", *methods):
                raise ValueError(
                    f"--option {text!r}: {name!r} is neither 'recipe' nor one of the methods, {', '.join(methods)}"
                )
            found.setdefault(name, {})[option.replace("-", "_")] = _value(value)
        return cls({k: v for k, v in found.items() if k != "recipe"}, found.get("recipe", {}))


def make_specs(
    datasets: Sequence[str],
    methods: Sequence[str],
    fractions: Sequence[str],
    seeds: Sequence[int],
    budget: Budget,
    options: Options,
    *,
    upper_bound: bool = False,
    half_budget: bool = False,
    folds: int = 0,
    **common: Any,
) -> list[RunSpec]:
    """All combinations; methods that share M0 follow each other, and datasets have their full names.

    With ``folds`` one fold comes after the other, each whole.

    ``common`` are fields of ``RunSpec``; a list in ``lists`` may be the name of one that the dataset knows.
    """
    configuration, given = common.pop("configuration", ""), common.pop("lists", {})
    known = {dataset: registry.dataset(dataset, configuration) for dataset in datasets}
    cells: list[tuple[str, str, LabelFraction, int, Budget]] = [
        (dataset, method, _fraction(known[dataset], fraction), seed, budget)
        for dataset, fraction, seed, method in product(datasets, fractions, seeds, methods)
    ]
    if upper_bound:
        method, fraction = UPPER_BOUND
        cells += [(dataset, method, fraction, seed, budget) for dataset, seed in product(datasets, seeds)]
    if half_budget:
        half, places = budget.halved, product(datasets, fractions, seeds)
        cells += [(name, UPPER_BOUND[0], _fraction(known[name], part), seed, half) for name, part, seed in places]
    if nameless := [dataset for dataset, found in known.items() if not found.name]:
        raise ValueError(f"{nameless[0]} is not one dataset: {known[nameless[0]].is_ready()[1]}")
    recipes = {name: dataset.settled(options.recipe) for name, dataset in known.items()}
    if "split_by" in common and all(common["split_by"] == dataset.groupings[0] for dataset in known.values()):
        common.pop("split_by")  # spelled out, it is no other run
    # a wrong option is an error before anything runs; a default that is spelled out is no other run
    chosen = {
        method: registry.method(method, options.methods.get(method, {})).model_dump(exclude_defaults=True)
        for method in dict.fromkeys(cell[1] for cell in cells)
    }
    specs = []
    parts = range(1, folds + 1) if folds else (0,)
    for fold, (name, method, fraction, seed, steps) in product(parts, dict.fromkeys(cells)):
        dataset = known[name]
        specs.append(
            RunSpec(
                dataset.name,
                method,
                fraction,
                seed,
                steps,
                configuration=dataset.configuration,
                options=chosen[method],
                recipe=recipes[name],
                lists=_lists(dataset, fraction, given, common.get("validation", 0.0) or folds),
                folds=folds,
                fold=fold,
                **common,
            )
        )
    return specs


def _fraction(dataset: Dataset, text: str) -> LabelFraction:
    """What a fraction means: with labels from elsewhere, 100 % stands for those of the dataset itself (an oracle)."""
    fraction = LabelFraction(text)
    elsewhere = dataset.labels_from if fraction == "100" else ()
    return LabelFraction(f"{len(elsewhere)}cases") if elsewhere else fraction


def _lists(dataset: Dataset, fraction: str, given: Mapping[str, Any], apart: float) -> dict[str, list[str]]:
    """The lists that are given, by their names too; without any, the one that the configuration's protocol has.

    With all labels there is nothing to choose. A protocol's list that does not fit (other frames, other fractions, a
    part of the pool set ``apart`` as V or in folds) gives way to a drawn split, as the record then says.
    """
    if isinstance(named := given.get("labelled"), str):
        parts = dataset.published_parts(named)  # a published split has its own pool and test set
        given = {**{part: list(ids) for part, ids in parts.items()}, **given}
    if fraction == "100":
        return {part: ids for part, ids in given.items() if part != "labelled"}
    if not given and dataset.default_list and not apart:
        with contextlib.suppress(LookupError, ValueError):
            return {"labelled": list(dataset.published(dataset.default_list, fraction))}
    return {
        part: list(dataset.published(ids, fraction) if isinstance(ids, str) else ids) for part, ids in given.items()
    }


def run_grid(specs: Sequence[RunSpec], order: Order, devices: Sequence[str]) -> int:
    """Do the runs on all devices of this machine, a process for each; returns how many failed.

    Which runs they are is written down first, so that a report can name those that never came to an end.
    """
    from atso_bench.benchmark.engines import local

    data = note_asked(specs, order)
    return local.run(specs, order, devices, lambda dataset, configuration: data[dataset, configuration])


def note_asked(specs: Sequence[RunSpec], order: Order) -> dict[tuple[str, str], str]:
    """Write down which runs were asked for; returns the content hash of each dataset and configuration."""
    data = {key: registry.dataset(*key).identity for key in {(spec.dataset, spec.configuration) for spec in specs}}
    asked.write(order.results, specs, data, order.generation)
    return data


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # of thousands of brackets
        return text
