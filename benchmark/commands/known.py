"""The commands about methods and datasets: ``list`` and ``prepare``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from atso_bench.benchmark import places
from atso_bench.benchmark.commands.common import Json, plainly, say_json
from atso_bench.benchmark.options import CONFIGURATION, Plugins

_LETTERS = "In the descriptions above, S means the labelled cases and R the unlabelled ones.\n"
RECIPE = """recipe           Training constants, the same for all methods; defaults depend on configuration and budget.
    recipe.patch=[48,48]  size of a training patch: voxels (or pixels) along each axis
    recipe.batch=8  patches in an optimiser step, labelled and unlabelled together
    recipe.labelled_share=0.5  share of the labelled patches in a batch that has others too
    recipe.extra_unlabelled=false  true: labelled patches fill the batch, and unlabelled ones come on top
    recipe.lr, recipe.momentum, recipe.nesterov, recipe.weight_decay, recipe.clip  of stochastic gradient descent
    recipe.mirror  average predictions of the test set over mirrored inputs
    recipe.mirror_pseudo  the same when pseudo labels are written
  volumes only
    recipe.width=8  features in the network's first stage
    recipe.augmentation=batched  nnU-Net's transforms on whole batches; nnunet: its own code, sample by sample
  street scenes only
    recipe.encoder=resnet50, recipe.output_stride=16, recipe.decoder=256  of DeepLabV3+
    recipe.weights=none  initial weights of the encoder: none, imagenet, or a file (.safetensors, .pth)
    recipe.weights_sha256  hash that the weights file must have; default: the hash that it has now
    recipe.scales=[0.5,2]  range of the random scale
    recipe.ohem_threshold=0.7, recipe.ohem_kept=0.1  hard example mining on true labels; threshold null: all pixels
    recipe.evaluation=whole  or sliding, with recipe.window, recipe.stride, recipe.shift"""


def list_(
    kind: Annotated[str, typer.Argument(help="methods or datasets")],
    json_: Json = False,
    plugins: Plugins = None,
) -> None:
    """List the methods with their options, or the datasets and whether their data are ready."""
    with plainly():
        from atso_bench.benchmark import registry

        if kind not in ("methods", "datasets"):
            raise ValueError(f"list takes `methods` or `datasets`, got {kind!r}")
        every = [*registry.names(kind), *(_own() if kind == "datasets" else ())]
        if json_:
            say_json([(_method if kind == "methods" else _dataset)(name) for name in every])
            return
        for name in every:
            for line in (_of_method if kind == "methods" else _of_dataset)(name):
                typer.echo(line)
        if kind == "methods":
            typer.echo(_LETTERS + RECIPE)
        else:
            typer.echo(f"data: {places.data().path} ({places.data().why})")


def _own() -> list[str]:
    """The user's own datasets, but for those that have a name here."""
    from atso_bench.benchmark import registry

    folders = {getattr(registry.dataset(name), "folder", "") for name in registry.names("datasets")}
    return [name for name in registry.own_datasets() if name not in folders]


def _kind(name: str) -> Any:
    """The class of a dataset."""
    from atso_bench.benchmark import registry

    return type(registry.dataset(name))


def _summary(name: str) -> str:
    from atso_bench.benchmark import registry

    return _first_line(_kind(name)) if name in registry.names("datasets") else "your own"


def _of_method(name: str) -> Iterator[str]:
    from atso_bench.benchmark import registry

    found = registry.load("methods", name)
    yield f"{name:20} {_first_line(found)} [{', '.join(found.groups)}]"
    for option, field in found.model_fields.items():
        yield f"    {name}.{option}={field.default}  {field.description or ''}{_choices(field)}"
    for preset, values in found.presets.items():
        stands = ", ".join(f"{option}={value}" for option, value in values.items())
        yield f"    {name}.preset={preset}  {stands}"


def _of_dataset(name: str) -> Iterator[str]:
    yield f"{name:20} {_summary(name)}"
    yield f"    {_presence(name)}"


def _method(name: str) -> dict[str, Any]:
    from atso_bench.benchmark import registry

    found = registry.load("methods", name)
    options = {option: {"default": f.default, "description": f.description} for option, f in found.model_fields.items()}
    return {
        "name": name,
        "summary": _first_line(found),
        "groups": found.groups,
        "options": options,
        "presets": found.presets,
    }


def _dataset(name: str) -> dict[str, Any]:
    from atso_bench.benchmark import registry

    found = registry.dataset(name)
    there, hint = found.is_ready()
    return {
        "name": name,
        "summary": _summary(name),
        "configurations": found.configurations,
        "ready": there,
        "hint": hint,
    }


def prepare(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a dataset (see `list datasets`), name or id of an nnU-Net dataset, or frames-NAME."
        ),
    ],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder or archive that holds the data.", exists=True)
    ] = None,
    configuration: Annotated[str, typer.Option(help=CONFIGURATION)] = "",
    plugins: Plugins = None,
) -> None:
    """Import a dataset, check every file and preprocess it for `run`. If given again, verify what is there."""
    with plainly():
        from atso_bench.benchmark import registry, split_notes

        dataset = registry.dataset(name, configuration)
        for line in dataset.prepare(source, typer.echo):
            typer.echo(line)
        for note in split_notes.of_test(len(dataset.test)):
            typer.echo(f"note: {note}")


def _first_line(kind: Any) -> str:
    return (getattr(kind, "summary", "") or kind.__doc__ or "").strip().splitlines()[0]


def _choices(field: Any) -> str:
    """The values of an option that takes one of a few words."""
    words = [word for word in get_args(field.annotation) if isinstance(word, str)]
    return f" ({', '.join(words)})" if words else ""


def _presence(name: str) -> str:
    from atso_bench.benchmark import registry

    there, hint = registry.dataset(name).is_ready()
    return f"ready: {hint}" if there else hint
