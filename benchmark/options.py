"""The options that ``run`` and ``plan`` share, and the grid of runs that they span."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from atso_bench.benchmark import plugins
from atso_bench.benchmark.machine.devices import devices as named_devices
from atso_bench.benchmark.machine.devices import words as named_words
from atso_bench.benchmark.machine.processor import cores
from atso_bench.benchmark.spec import BUDGETS, PARITIES, Budget, LabelFraction, RunSpec

if TYPE_CHECKING:
    from atso_bench.benchmark import grid

METHODS = "Methods, or groups: all, baselines, generations, consistency. Separate several with commas, or repeat."
CONFIGURATION = (
    "Volumes: 2d (default) or 3d_fullres. Street scenes: 512x1024 (default), or a published protocol: unimatch-801, "
    "cps-800. Other frames: the crop, 512x512 or 321x321."
)
PLUGINS = (
    "Folder with methods/ and datasets/ of your own, one file each (CONTRIBUTING.md); repeatable. Also "
    "ATSO_BENCH_PLUGINS."
)


def _join(given: list[Path] | None) -> list[Path] | None:
    plugins.join(given or [])
    return given


Plugins = Annotated[list[Path] | None, typer.Option("--plugins", help=PLUGINS, callback=_join, is_eager=True)]
_LIST_NAME = re.compile(r"[A-Za-z][\w-]*")
MOST_SEEDS = 1000
"""In a range."""
_STEPS = ", ".join(f"{name} ({steps})" for name, steps in BUDGETS.items())


@dataclass
class GridOptions:
    """Command-line options; lists repeat or take commas."""

    method: Annotated[list[str], typer.Option("--method", "-m", help=METHODS)] = field(default_factory=list)
    fraction: Annotated[
        list[str],
        typer.Option("--fraction", "-f", help="Labelled share of the training cases: 10 (percent), 1/16, or 16cases."),
    ] = field(default_factory=list)
    dataset: Annotated[
        list[str],
        typer.Option(
            "--dataset",
            "-d",
            help="Name of a dataset (see `list datasets`), name or id of an nnU-Net dataset, or frames-NAME.",
        ),
    ] = field(default_factory=lambda: ["phantom"])
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            help="Transfer: learn from the labels of this dataset, adapt to --dataset, whose labels are hidden.",
        ),
    ] = field(default_factory=list)
    seed: Annotated[
        list[str],
        typer.Option("--seed", "-s", help="Seed of the split, the initial weights and the batches: 0,1,2 or 0-4."),
    ] = field(default_factory=lambda: ["0"])
    budget: Annotated[
        str,
        typer.Option(
            help=f"Optimiser steps of a run: {_STEPS}, one of them with other steps (small:3000), or a number."
        ),
    ] = "small"
    parity: Annotated[
        str,
        typer.Option(
            help="What has the budget. total: all trainings of a method together; line: those that lead to its result, "
            "one after another; phase: each training; time: every method has the time that supervised training takes "
            "for them on this machine."
        ),
    ] = "total"
    configuration: Annotated[str, typer.Option(help=CONFIGURATION)] = ""
    option: Annotated[
        list[str],
        typer.Option(
            "--option",
            "-o",
            help="Option of a method or of the recipe: atso.subsets=4, recipe.batch=8 (see `list methods`).",
        ),
    ] = field(default_factory=list)
    upper_bound: Annotated[bool, typer.Option("--upper-bound", help="Add supervised training with all labels.")] = False
    half_budget: Annotated[
        bool,
        typer.Option(
            "--half-budget", help="Add supervised training with half the steps, to see whether steps or labels bind."
        ),
    ] = False
    validation: Annotated[float, typer.Option(help="Percent of the training cases to set apart as validation set.")] = (
        0.0
    )
    scored: Annotated[str, typer.Option(help="Set to score on: test, or validation (for tuning).")] = "test"
    split_list: Annotated[
        list[str],
        typer.Option(
            "--split-list",
            help="Case list: PART=FILE, where PART is pool, labelled, validation or test, and FILE is text with a case "
            "on each line (docs/data.md); or a published one: labelled=unimatch, labelled=ua-mt-8.",
        ),
    ] = field(default_factory=list)
    split_by: Annotated[
        str, typer.Option(help="What a split keeps whole. Street scenes: frame (default) or city; volumes: patient.")
    ] = ""
    folds: Annotated[
        int,
        typer.Option(
            min=0,
            help="For few labelled cases: deal them into so many folds (5), each of which is the test set once. Scores "
            "are pooled over folds; each run is made so many times.",
        ),
    ] = 0
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda or cuda:1; several with commas run one process each, cuda:0*4 four on one GPU."
        ),
    ] = "auto"
    workers: Annotated[
        int, typer.Option(min=-1, help="Loader processes for each device; -1: as many as the cores allow.")
    ] = -1

    plugins: Plugins = None
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[GRID]", help="YAML file with these options; those on the command line go before it."),
    ] = field(default=None, metadata={"saved": False})
    save: Annotated[
        Path | None, typer.Option("--save", help="Write these options to a YAML file, and do nothing else.")
    ] = field(default=None, metadata={"saved": False})
    given: list[str] = field(default_factory=list, metadata={"saved": False, "option": False})

    def complete(self) -> GridOptions:
        """With what the grid file says where the command line says nothing.

        Raises:
            ValueError: if the file is wrong.
        """
        if self.file is None:
            return self
        from atso_bench.benchmark import grid_file

        found = grid_file.read(self.file, GridOptions())
        return replace(self, **{name: value for name, value in found.items() if name not in self.given})

    def saved(self) -> bool:
        """Whether the options were to be written to a file, and have been.

        Raises:
            ValueError: if one of them is wrong.
        """
        if self.save is None:
            return False
        from atso_bench.benchmark import grid_file
        from atso_bench.benchmark.store.files import write_text

        self.check()
        write_text(self.save, grid_file.text(self))
        typer.echo(f"saved; make these runs with: atso-bench run {self.save}")
        return True

    def check(self) -> None:
        """Refuse what is misspelled before anything heavy is imported.

        Raises:
            ValueError: if an option is wrong.
            LookupError: if a method or dataset does not exist.
        """
        from atso_bench.benchmark import registry

        for name, value, allowed in (
            ("--parity", self.parity, PARITIES),
            ("--scored", self.scored, ("test", "validation")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}")
        given = {"method": self.method, "fraction": self.fractions(), "dataset": self.datasets(), "seed": self.seed}
        for name, texts in given.items():
            if not _split(texts):
                raise ValueError(f"--{name} is empty; give at least one {name}")
        Budget.parse(self.budget, self.parity)  # type: ignore[arg-type]
        for text in self.fractions():
            LabelFraction(text)
        self.seeds()
        methods = registry.expand(_split(self.method))
        registry.check_words(methods, self.datasets(), self._options(methods).methods)
        named_words(self.device)

    def datasets(self) -> list[str]:
        """Names of datasets; with ``--source`` of its pairs with them."""
        from atso_bench.benchmark import registry

        named = _split(self.dataset)
        sources = _split(self.source)
        return [registry.pair_name(source, one) for source in sources for one in named] if sources else named

    def fractions(self) -> list[str]:
        """Label fractions; with ``--source`` all labels unless others are named."""
        return _split(self.fraction) or (["100"] if self.source else [])

    def seeds(self) -> list[int]:
        """Seeds in the order given; ``0-4`` is a range.

        Raises:
            ValueError: if one is no seed.
        """
        return list(dict.fromkeys(seed for text in _split(self.seed) for seed in _seeds(text)))

    def _options(self, methods: Sequence[str]) -> grid.Options:
        from atso_bench.benchmark import grid

        bound = [grid.UPPER_BOUND[0]] if self.upper_bound or self.half_budget else []
        return grid.Options.parse(self.option, [*methods, *bound])

    def _lists(self) -> dict[str, Any]:
        from atso_bench.benchmark import splits

        lists: dict[str, Any] = {}
        for text in self.split_list:
            part, equals, file = text.partition("=")
            if not equals or part not in splits.PARTS:
                raise ValueError(
                    f"--split-list must be PART=FILE, with PART one of {', '.join(splits.PARTS)}, got {text!r}"
                )
            there = Path(file).is_file()
            if not there and not (part == "labelled" and _LIST_NAME.fullmatch(file)):  # else it is a list's name
                raise ValueError(
                    f"--split-list {text}: there is no file {file}; only labelled= takes the name of a built-in list"
                )
            lists[part] = list(splits.read_list(Path(file))) if there else file
        return lists

    def specs(self) -> list[RunSpec]:
        """The runs that these options span.

        Raises:
            ValueError: if an option is wrong.
            LookupError: if a method does not exist.
        """
        from atso_bench.benchmark import grid, registry

        self.check()
        methods = registry.expand(_split(self.method))
        return grid.make_specs(
            self.datasets(),
            methods,
            self.fractions(),
            self.seeds(),
            Budget.parse(self.budget, self.parity),  # type: ignore[arg-type]
            self._options(methods),
            upper_bound=self.upper_bound,
            half_budget=self.half_budget,
            configuration=self.configuration,
            validation=self.validation,
            scored=self.scored,
            lists=self._lists(),
            split_by=self.split_by,
            folds=self.folds,
        )

    def devices(self) -> list[str]:
        """The device of each process of the grid.

        Raises:
            ValueError: if a device is not there, or of no use.
        """
        return named_devices(self.device)

    def workers_for(self, devices: Sequence[str]) -> int:
        """On a GPU as many loaders as the cores allow, at most 8; on a CPU one, as the step itself needs the cores."""
        if self.workers >= 0:
            return self.workers
        each = cores() // len(devices)
        return max(0, min(1 if devices[0] == "cpu" else 8, each - 1))


def takes_grid(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the fields of ``GridOptions`` as its own options; it gets them as its first argument."""
    hints = get_type_hints(GridOptions, include_extras=True)
    named = [one for one in fields(GridOptions) if one.metadata.get("option", True)]
    shared = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=_default(one), annotation=hints[one.name])
        for one in named
    ]
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    own_hints = get_type_hints(command, include_extras=True)
    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own_hints[one.name])
        for one in list(inspect.signature(command).parameters.values())[1:]
    ]

    @functools.wraps(command)
    def wrapped(*, context: typer.Context, **given: Any) -> None:
        options = GridOptions(**{one.name: given.pop(one.name) for one in named}, given=_on_command_line(context))
        command(options, **given)

    wrapped.__signature__ = inspect.Signature([context, *shared, *own])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in (context, *shared, *own)}
    del wrapped.__wrapped__
    return wrapped


def _on_command_line(context: typer.Context) -> list[str]:
    """Names of the options that the user gave."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name != "DEFAULT"]


def _default(one: Any) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return inspect.Parameter.empty if one.default is MISSING else one.default


def _split(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(part.strip() for text in texts for part in text.split(",") if part.strip()))


def _seeds(text: str) -> range:
    """The seeds of a word: ``3``, or ``0-4`` with both ends."""
    first, dash, last = text.partition("-")
    ends = [first, last if dash else first]
    if not all(end.isdecimal() and int(end) < 1 << 32 for end in ends):
        raise ValueError(
            f"--seed must be a whole number from 0 to {(1 << 32) - 1}, or a range such as 0-4, got {text!r}"
        )
    if int(ends[1]) < int(ends[0]):
        raise ValueError(f"--seed {text}: a range goes upward, such as {ends[1]}-{ends[0]}")
    if int(ends[1]) - int(ends[0]) >= MOST_SEEDS:
        raise ValueError(f"--seed {text}: a range holds at most {MOST_SEEDS} seeds")
    return range(int(ends[0]), int(ends[1]) + 1)
