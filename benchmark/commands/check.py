"""The command ``check``: the contract of methods."""

from __future__ import annotations

from typing import Annotated

import typer

from atso_bench.benchmark.commands.common import plainly
from atso_bench.benchmark.options import Plugins


def check(
    methods: Annotated[list[str], typer.Argument(help="Names of methods, your own among them (--plugins).")],
    plugins: Plugins = None,
) -> None:
    """Hold the contract against a method: seeds, budget, hidden labels, resuming. Exit code 1 if it does not obey.

    It trains on a toy on the CPU, and needs a minute.
    """
    with plainly():
        from atso_bench.benchmark import registry

        names = registry.expand(methods)
        registry.check_words(names, [], {})
        import torch

        from atso_bench.benchmark.contract.report import broken

        torch.set_num_threads(1)  # tiny tensors
        failed = sum(broken(name, typer.echo) > 0 for name in names)
    raise typer.Exit(int(failed > 0))
