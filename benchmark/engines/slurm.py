"""SLURM: arrays of jobs, submitted with sbatch. Nothing has to be installed for it, and no process stays behind."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atso_bench.benchmark.engines.command import DRY_RUN, SHARE_GPUS
from atso_bench.benchmark.engines.graph import Task
from atso_bench.benchmark.engines.order import Order
from atso_bench.benchmark.store.files import write_text

settings: Mapping[str, str] = {}
"""Any option of sbatch may be given."""

MOST = 1000
"""Jobs in an array; the clusters' own bound, MaxArraySize, is 1001 unless they changed it."""
DEFAULTS = {"signal": "B:USR1@120", "open-mode": "append", "requeue": "", "kill-on-invalid-dep": "yes"}


@dataclass(frozen=True)
class Array:
    """An array of jobs.

    Attributes:
        name: for files and queues.
        tasks: by the jobs' numbers.
        after: the name of the array of which each job waits for the one of its own number.
    """

    name: str
    tasks: dict[int, Task] = field(default_factory=dict)
    after: str = ""

    @property
    def numbers(self) -> str:
        """As sbatch takes them: ``0-3,5``."""
        runs = itertools.groupby(enumerate(self.tasks), key=lambda pair: pair[1] - pair[0])
        ends = [(found[0][1], found[-1][1]) for found in (list(each) for _, each in runs)]
        return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ends)


def arrays(tasks: Sequence[Task], most: int = MOST) -> list[Array]:
    """Shared beginnings, then the runs behind them in arrays whose numbers agree with theirs, and the others."""
    behind: dict[str, list[Task]] = {}
    for task in tasks:
        for name in task.after:
            behind.setdefault(name, []).append(task)
    found = []
    firsts = [task for task in tasks if task.first]
    for number, chunk in enumerate(_chunks(firsts, most)):
        first = Array(f"first{number}", dict(enumerate(chunk)))
        found.append(first)
        rows = itertools.zip_longest(*(behind[task.name] for task in chunk))
        for row, members in enumerate(rows):
            waiting = {place: task for place, task in enumerate(members) if task is not None}
            found.append(Array(f"behind{number}-{row}", waiting, after=first.name))
    alone = [task for task in tasks if not task.first and not task.after]
    found += [Array(f"alone{number}", dict(enumerate(chunk))) for number, chunk in enumerate(_chunks(alone, most))]
    return found


def _chunks(tasks: Sequence[Task], most: int) -> list[Sequence[Task]]:
    return [tasks[start : start + most] for start in range(0, len(tasks), most)]


def run(tasks: Sequence[Task], order: Order, settings: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Write the job scripts and submit them; the jobs go on when this command has ended.

    Raises:
        ValueError: if there is no sbatch, or it refuses.
    """
    if SHARE_GPUS in settings:
        raise ValueError(
            "--share-gpus is for ray; a SLURM cluster shares GPUs as it is configured: --slurm gres=shard:1"
        )
    dry = DRY_RUN in settings
    if not dry and not shutil.which("sbatch"):
        raise ValueError("there is no sbatch here; give the command on a login node, or with --dry-run")
    wanted = {key: value for key, value in settings.items() if key != DRY_RUN}
    (order.results / "logs").mkdir(parents=True, exist_ok=True)
    ids: dict[str, str] = {}
    for array in arrays(tasks, _most(dry)):
        script = write_script(array, order, wanted)
        if dry:
            say(f"{script}: {len(array.tasks)} jobs" + (f", each after its own of {array.after}" * bool(array.after)))
            continue
        ids[array.name] = _submit(script, ids.get(array.after, ""))
        write_text(order.folder / "submitted.json", json.dumps(ids))
        say(f"submitted {array.name}: job {ids[array.name]}, {len(array.tasks)} tasks")
    logs = order.results / "logs"
    if dry:
        say("nothing was submitted; `sbatch` takes these files, those behind others with --dependency=aftercorr:ID")
    else:
        say(f"`atso-bench status {order.results}` says how far they are; what they say is in {logs}")


def write_script(array: Array, order: Order, settings: Mapping[str, str]) -> Path:
    """The script of an array, and beside it the names of its tasks by number."""
    folder = order.folder.absolute()
    keys = folder / f"{array.name}.keys"
    last = max(array.tasks)
    write_text(keys, "".join(f"{array.tasks[k].name if k in array.tasks else ''}\n" for k in range(last + 1)))
    given = {**DEFAULTS, **settings}
    options = {
        "job-name": f"atso-bench-{array.name}",
        "output": str(folder / "slurm-%A.out").replace("%A", "\0").replace("%", "%%").replace("\0", "%A"),
        **given,
        "array": array.numbers + given.get("array", ""),
    }
    lines = [f"#SBATCH --{key}" + f"={shlex.quote(value)}" * bool(value) for key, value in options.items()]
    out = order.results.absolute()
    values = {
        "KEYS": keys,
        "LOGS": out / "logs",
        "FOLDER": folder,
        "FIRST": "yes" if array.name.startswith("first") else "",
        "LIMIT": settings.get("time", "the cluster's"),
    }
    facts = [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
    command = shlex.join([*_program(), "run", "--out", str(out), "--job", order.id, "--only"])
    body = Path(__file__).with_name("slurm.sh").read_text(encoding="utf-8")
    script = folder / f"{array.name}.sh"
    write_text(script, "\n".join(["#!/bin/bash", *lines, "", *facts, f'run() {{ exec {command} "$1"; }}', "", body]))
    script.chmod(0o755)
    return script


def _program() -> list[str]:
    """This program, as a job may call it, whatever its PATH."""
    beside = Path(sys.executable).with_name("atso-bench")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "atso_bench.benchmark.cli"]


def _most(dry: bool) -> int:
    """How many jobs an array may have on this cluster."""
    if dry or not shutil.which("scontrol"):
        return MOST
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False).stdout
    sizes = [line.partition("=")[2].strip() for line in shown.splitlines() if line.startswith("MaxArraySize")]
    return min(MOST, int(sizes[0]) - 1) if sizes and sizes[0].isdecimal() and int(sizes[0]) > 1 else MOST


def _submit(script: Path, after: str) -> str:
    """The array's id.

    Raises:
        ValueError: with what sbatch says.
    """
    words = ["sbatch", "--parsable", *([f"--dependency=aftercorr:{after}"] if after else []), str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"sbatch refuses {script}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip().partition(";")[0]
