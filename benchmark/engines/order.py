"""What a command asked for, in the form in which it travels to other processes and machines."""

from __future__ import annotations

import json
import platform
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atso_bench.benchmark import plugins
from atso_bench.benchmark.store import environment
from atso_bench.benchmark.store.files import write_json
from atso_bench.benchmark.training.execution import PLAIN, Execution

FOLDER = "jobs"


@dataclass(frozen=True)
class Order:
    """How the runs of one command are to be made.

    Attributes:
        results: the folder that holds ``records/``, ``stages/`` and so on.
        workers: loader processes of a run; -1 for as many as the cores allow.
        device: of a machine; ``auto`` is its first GPU, or the CPU where there is none.
        fresh: repeat finished runs and phases, unless a process of this order made them.
        profile: write where the time of each run went.
        execution: how torch carries out the work.
        id: names the command. That a machine finds this order in its own results folder shows that it is the same one.
        software: versions, commit and the code of plug-ins, which have to be the same everywhere.
        tensorboard: write event files beside the losses.
        plugins: plug-in folders, under the names that they have on all machines.
    """

    results: Path
    workers: int = 0
    device: str = "auto"
    fresh: bool = False
    profile: bool = False
    execution: Execution = PLAIN
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    software: dict[str, Any] = field(default_factory=lambda: software())
    tensorboard: bool = False
    plugins: list[str] = field(default_factory=lambda: list(map(str, plugins.folders())))

    @property
    def generation(self) -> str:
        """What marks the records and phases of this order, where only they count as done."""
        return self.id if self.fresh else ""

    @property
    def folder(self) -> Path:
        return self.results / FOLDER / self.id

    def write(self) -> Path:
        """Write it below ``results/jobs`` for the machines that shall carry it out."""
        path = self.folder / "order.json"
        write_json(path, {**asdict(self), "results": ""})
        return path


def read(results: Path, name: str) -> Order:
    """What ``Order.write`` wrote, on whichever machine.

    Raises:
        ValueError: if it is not there, or if this machine has other software.
    """
    path = results / FOLDER / name / "order.json"
    here = platform.node()
    if not path.is_file():
        raise ValueError(
            f"{here}: there is no {path}; --out must be one folder that all machines share, under the same name"
        )
    raw = json.loads(path.read_text(encoding="utf-8"))
    order = Order(**{**raw, "results": results, "execution": Execution(**raw["execution"])})
    plugins.join(order.plugins)
    must_match(order)
    return order


def must_match(order: Order) -> None:
    """Refuse a machine whose phases would have other keys, or other results.

    Raises:
        ValueError: naming the machine and what differs.
    """
    plugins.check()
    there, here = order.software, software()
    other = [
        f"{name} {here.get(name)} instead of {there.get(name)}"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if other:
        raise ValueError(
            f"{platform.node()} has other software than the machine that gave the command: {', '.join(other)}; "
            "install the same versions on both, or give the command again if that machine's are the right ones"
        )


def software() -> dict[str, Any]:
    """Versions of all that determines results, the commit, and hashes of the files in plug-in folders."""
    return {**environment.versions(), "commit": environment.commit(), **plugins.hashes()}
